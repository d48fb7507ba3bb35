"""Which files an input names, and what it claims about them: a folder, a BIDS tree, a CSV manifest or one file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from siamese_med.errors import EmptyInputError, ManifestError, MissingFileError
from siamese_med.ingestion import bids, contrast, passing, patience, reading, tags

REQUIRED = ("subject", "session", "path")
OPTIONAL = "[,date][,changed][,mask]"
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
    flags: tuple[str, ...] = ()
    mask: tuple[str, int, int] | None = None  # path, size and time of change, so that another mask is another claim

    @property
    def given(self) -> bool:
        """Whether somebody said who it is; a bare file name is only a guess."""
        return self.kind != "name"


@dataclass(slots=True)
class Found:
    """One file of the input; `reason` where its name says enough, `listed` where a manifest's row names it.

    What name and side-cars claim is worked out when it is asked for, since DICOM files speak for themselves.
    """

    path: Path
    claimed: Callable[[Path], Claim]
    reason: str = ""
    listed: bool = False
    trouble: str = ""
    _claim: Claim | None = None

    @property
    def claim(self) -> Claim:
        """What the input says of the file; nothing, with a reason word as `trouble`, where that cannot be read now."""
        if self._claim is None:
            try:
                self._claim = patience.ask(self.claimed, self.path)
            except OSError as error:
                self.trouble = passing.word_of(error) or "unreadable_file"
                self._claim = Claim("name", str(self.path))
        return self._claim


def collect(source: Path) -> list[Found]:
    """All files of the input in a fixed order; raises MissingFileError, EmptyInputError or ManifestError."""
    if not source.exists():
        raise MissingFileError(f"no input at {source}: name a folder or a CSV manifest")
    if source.is_dir():
        found = _folder(source.absolute())
    elif source.suffix.lower() in (".csv", ".tsv") and source.is_file():
        found = _manifest(source)
    else:
        found = [plain(source, source.parent)]
    if not found:
        raise EmptyInputError(f"{source} holds no file: name a folder with DICOM or NIfTI files, or a CSV manifest")
    return found


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, also pipes and devices, in the order of its path's parts; links to folders are not."""
    return [Path(path) for path in _walked(str(folder))]


def _walked(folder: str) -> Iterator[str]:
    """A folder that may not be read is named itself, so that it is not lost; links to folders and devices are."""
    try:
        entries = patience.ask(_listed, folder)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(entry.path)
        elif entry.is_file() or _is_special(entry):
            yield entry.path


def _listed(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listed:
        return sorted(listed, key=lambda entry: entry.name)


def _is_special(entry: os.DirEntry[str]) -> bool:
    try:
        return reading.is_special(entry.stat())
    except OSError:
        return False


def natural(label: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", label) if part)


def _folder(source: Path) -> list[Found]:
    paths = files_below(source)
    roots = {path.parent for path in paths if path.name == bids.DESCRIPTION}
    outermost = {root for root in roots if roots.isdisjoint(root.parents)}  # derivatives describe themselves too
    speakers = {root: partial(_named, root=root, tree=bids.Tree(root)) for root in outermost}
    whole = partial(_named, root=source)
    if not speakers:
        return [_plain(path, source, whole) for path in paths]
    root_of: dict[Path, Path | None] = {}
    for folder in {path.parent for path in paths}:
        root_of[folder] = next((root for root in (folder, *folder.parents) if root in speakers), None)
    found = []
    for path in paths:
        root = root_of[path.parent]
        found.append(_plain(path, source, whole) if root is None else _in_tree(path, root, speakers[root]))
    return found


def _in_tree(path: Path, root: Path, speaker: Callable[[Path], Claim]) -> Found:
    relative = path.relative_to(root)
    if path.name.lower().endswith(bids.SIDE_CARS) or (len(relative.parts) == 1 and path.name in bids.ROOT_TEXTS):
        return Found(path, partial(_nobody, root=root), "side_car")
    if relative.parts[0] == "derivatives":
        return Found(path, speaker, "derivative")
    return Found(path, speaker, "non_image" if contrast.is_mask(_stem(path)) else "")


def plain(path: Path, root: Path) -> Found:
    """A file that no BIDS tree and no manifest speaks of."""
    return _plain(path, root, partial(_named, root=root))


def _plain(path: Path, root: Path, speaker: Callable[[Path], Claim]) -> Found:
    if path.name.lower().endswith(bids.SIDE_CARS) and _beside_an_image(path):
        return Found(path, partial(_nobody, root=root), "side_car")
    return Found(path, speaker, "non_image" if contrast.is_mask(_stem(path)) else "")


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
    return Claim(kind, who, session, acquired, None, word, modality, car.scanner, car.protocol, car.flags)


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
                raise ManifestError(f"{source} lacks the column {lacking[0]}: it needs {','.join(REQUIRED)}{OPTIONAL}")
            found = [one for number, row in enumerate(rows, 2) for one in _row(source, number, row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{source} is not a CSV file in UTF-8: it needs {','.join(REQUIRED)}{OPTIONAL}") from error
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
    mask = _mask(source, number, cells.get("mask", ""))
    given = Claim(
        "manifest", cells["subject"], cells["session"], tags.day(cells.get("date", "")), CHANGED[label], mask=mask
    )
    speaker = partial(_by_manifest, given=given)
    return [Found(one, speaker, listed=True) for one in (files_below(path) if path.is_dir() else [path])]


def _mask(source: Path, number: int, cell: str) -> tuple[str, int, int] | None:
    if not cell:
        return None
    path = source.parent / cell
    if not path.is_file():
        raise ManifestError(f"{source} row {number} names a mask that is not there: paths are relative to the manifest")
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _by_manifest(path: Path, given: Claim) -> Claim:
    named = _named(path, path.parent)
    return replace(
        named, kind=given.kind, subject=given.subject, session=given.session, changed=given.changed,
        mask=given.mask, date=given.date or named.date,
    )  # fmt: skip
