"""Which files an input names, and what it claims about them: a folder, a BIDS tree, a CSV manifest or one file."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from siamese_med.errors import EmptyInputError, ManifestError, MissingFileError
from siamese_med.ingestion import bids, contrast, tags

REQUIRED = ("subject", "session", "path")
CHANGED = {"": None, "0": 0, "1": 1}


@dataclass(frozen=True)
class Claim:
    """What the input says of a file without the file's own word; part of a pseudonym, never written."""

    kind: str  # manifest, bids or name
    subject: str
    session: str = ""
    date: date | None = None
    changed: int | None = None
    contrast: str = "unknown"
    modality: str = "unknown"
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether somebody said who it is; a bare file name is only a guess."""
        return self.kind != "name"


@dataclass(frozen=True)
class Found:
    """One file of the input; `text` where it is only a text beside the images, `reason` where its name says enough."""

    path: Path
    claim: Claim
    reason: str = ""


def collect(source: Path) -> list[Found]:
    """All files of the input in a fixed order; raises MissingFileError, EmptyInputError or ManifestError."""
    if not source.exists():
        raise MissingFileError(f"no input at {source}: name a folder or a CSV manifest")
    if source.is_dir():
        found = _folder(source)
    elif source.suffix.lower() in (".csv", ".tsv"):
        found = _manifest(source)
    else:
        found = [plain(source, source.parent)]
    if not found:
        raise EmptyInputError(f"{source} holds no file: name a folder with DICOM or NIfTI files, or a CSV manifest")
    return found


def files_below(folder: Path) -> list[Path]:
    """Every regular file below a folder, sorted; links to folders are not followed."""
    paths = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    return sorted(path for path in paths if path.is_file())


def natural(label: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", label) if part)


def _folder(source: Path) -> list[Found]:
    paths = files_below(source)
    trees = [bids.Tree(path.parent) for path in paths if path.name == bids.DESCRIPTION]
    return [_in_folder(path, source, trees) for path in paths]


def _in_folder(path: Path, source: Path, trees: list[bids.Tree]) -> Found:
    """A file in the outermost BIDS tree around it, since derivatives describe themselves too."""
    around = [tree for tree in trees if path.is_relative_to(tree.root)]
    return _in_tree(path, min(around, key=lambda tree: len(tree.root.parts))) if around else plain(path, source)


def _in_tree(path: Path, tree: bids.Tree) -> Found:
    relative = path.relative_to(tree.root)
    if path.name.lower().endswith(bids.SIDE_CARS) or (len(relative.parts) == 1 and path.name in bids.ROOT_TEXTS):
        return Found(path, _nobody(path, tree.root), "side_car")
    claim = _named(path, tree.root, tree)
    if relative.parts[0] == "derivatives":
        return Found(path, claim, "derivative")
    return Found(path, claim, "non_image" if contrast.is_mask(_stem(path)) else "")


def plain(path: Path, root: Path) -> Found:
    """A file that no BIDS tree and no manifest speaks of."""
    if path.name.lower().endswith(bids.SIDE_CARS) and _beside_an_image(path):
        return Found(path, _nobody(path, root), "side_car")
    return Found(path, _named(path, root), "non_image" if contrast.is_mask(_stem(path)) else "")


def _nobody(path: Path, root: Path) -> Claim:
    """Where nobody says whose a file is, its place stands for a patient: equal names never merge two of them."""
    return Claim("name", str(path.relative_to(root).with_name(_stem(path))))


def _beside_an_image(path: Path) -> bool:
    return any(path.with_name(_stem(path) + ending).is_file() for ending in (".nii", ".nii.gz"))


def _named(path: Path, root: Path, tree: bids.Tree | None = None) -> Claim:
    stem = _stem(path)
    subject, session = bids.subject_and_session(path, root)
    kind = "bids" if subject else "name"
    car = bids.side_car(path, stem)
    acquired = (tree.date(path, subject, session) if tree else None) or car.date
    word = contrast.from_suffix(stem)
    modality = car.modality or {"CT": "CT", "PET": "PT", "unknown": "unknown"}.get(word, "MR")
    who = subject or _nobody(path, root).subject
    return Claim(kind, who, session, acquired, None, word, modality, car.scanner, car.protocol)


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".nii", ".img", ".hdr", ".json", ".tsv", ".csv", ".bval", ".bvec", ".dcm"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def _manifest(source: Path) -> list[Found]:
    """Files that a manifest's rows name; a message names the row, never what is in it."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t" if source.suffix.lower() == ".tsv" else ",")
            columns = tuple(rows.fieldnames or ())
            lacking = [name for name in REQUIRED if name not in columns]
            if lacking:
                raise ManifestError(
                    f"{source} lacks the column {lacking[0]}: it needs {','.join(REQUIRED)}[,date][,changed]"
                )
            found = [one for number, row in enumerate(rows, 2) for one in _row(source, number, row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{source} is not a CSV file in UTF-8: it needs {','.join(REQUIRED)}[,date][,changed]"
        ) from error
    if not found:
        raise EmptyInputError(f"{source} names no file: give it one row for each scan")
    return found


def _row(source: Path, number: int, row: dict[str, str | None]) -> list[Found]:
    cells = {
        name: (cell or "").strip() for name, cell in row.items() if isinstance(name, str) and not isinstance(cell, list)
    }
    if not cells["subject"] or not cells["path"]:
        raise ManifestError(f"{source} row {number} has no subject or no path: fill both in")
    path = source.parent / cells["path"]
    if not path.exists():
        raise ManifestError(f"{source} row {number} names a path that is not there: paths are relative to the manifest")
    label = cells.get("changed", "")
    if label not in CHANGED:
        raise ManifestError(f"{source} row {number}: 'changed' must be 0, 1 or empty")
    given = Claim("manifest", cells["subject"], cells["session"], tags.day(cells.get("date", "")), CHANGED[label])
    return [_claimed(one, given) for one in (files_below(path) if path.is_dir() else [path])]


def _claimed(path: Path, given: Claim) -> Found:
    named = _named(path, path.parent)
    claim = replace(
        named, kind=given.kind, subject=given.subject, session=given.session, changed=given.changed,
        date=given.date or named.date,
    )  # fmt: skip
    return Found(path, claim)
