"""Which files an input names, and what it claims about them: a folder, a BIDS tree, a CSV manifest or one file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from siamese_med.errors import EmptyInputError, ManifestError, MissingFileError
from siamese_med.ingestion import bids, contrast, passing, patience, tags, walking
from siamese_med.ingestion.datasets import DERIVATIVES, DataSet, DataSets
from siamese_med.ingestion.labels import Labels, read_labels
from siamese_med.ingestion.walking import Walked

REQUIRED = ("subject", "session", "path")
OPTIONAL = "[,date][,changed][,mask]"
CHANGED = {"": None, "0": 0, "1": 1}
NIFTI = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz")
REPOSITORY = (".git", ".datalad")
"""Folders in which git, git-annex and DataLad keep their own files."""

NO_LABELS = Labels()


@dataclass(frozen=True)
class Claim:
    """What the input says of a file without the file's own word; part of a pseudonym, never written."""

    kind: str  # manifest, bids or name; the last two with the data set's name space where there are several
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
        return not self.by_place

    @property
    def in_bids(self) -> bool:
        """Whether a BIDS label names the subject."""
        return self.kind.partition(" ")[0] == "bids"

    @property
    def by_place(self) -> bool:
        """Whether only the place of the file tells its subject from others."""
        return self.kind.partition(" ")[0] == "name"


@dataclass(slots=True)
class Found:
    """One path of the input; `reason` where its name says enough, `listed` where a manifest's row names it.

    What name and side-cars claim is worked out when it is asked for, since DICOM files speak for themselves.
    """

    path: Path
    claimed: Callable[[Found], Claim]
    reason: str = ""
    listed: bool = False
    labels: Labels = NO_LABELS
    data_set: DataSet | None = None
    trouble: str = ""
    _claim: Claim | None = None

    @property
    def claim(self) -> Claim:
        """What the input says of the file; nothing, with a reason word as `trouble`, where that cannot be read now."""
        if self._claim is None:
            self._claim = self._asked()
        return self._claim

    def _asked(self) -> Claim:
        try:
            return patience.ask(self.claimed, self)
        except OSError as error:
            self.trouble = passing.word_of(error) or "unreadable_file"
            return Claim("name", str(self.path))

    def claimed_in(self, space: str) -> Claim:
        """What the input would say of the file, were that its data set's name space."""
        claim = self._asked()
        return replace(claim, kind=f"{claim.kind.partition(' ')[0]} {space}".strip())

    def forget_claim(self) -> None:
        """Work the claim out anew when it is asked for again, since its data set's name space changed."""
        self._claim = None


def collect(source: Path) -> list[Found]:
    """All files of the input in a fixed order; raises MissingFileError, EmptyInputError or ManifestError."""
    try:
        root = walking.check_path(source)
    except FileNotFoundError:
        root = Walked(str(source), "broken_link")
    if root.reason:
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
    """Every file below a folder that may be opened, in the order of its path's parts."""
    return [Path(one.path) for one in walking.walk(folder) if not one.reason]


def natural(label: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", label) if part)


@dataclass(frozen=True)
class _Place:
    """What all files of one folder share: the folders that may bear labels, the data set, and who tells the claim."""

    folders: tuple[str, ...]
    data_set: DataSet
    speaker: Callable[[Found], Claim]
    nobody: Callable[[Found], Claim]
    at_root: bool
    in_repository: bool
    labelled: bool


def _folder(source: Path) -> list[Found]:
    walked = walking.walk(source)
    described = [path.parent for one in walked if one.path.endswith(bids.DESCRIPTION) and (path := _description(one))]
    sets = DataSets({root.relative_to(source): bids.name_of(root) for root in described})
    outermost = {root for root in described if set(described).isdisjoint(root.parents)}
    speakers = {root: partial(_named, root=root, tree=bids.Tree(root)) for root in outermost}
    whole, nobody = partial(_named, root=source), partial(_nobody, root=source)
    places: dict[str, _Place] = {}
    found = []
    for one in walked:
        folder, _, name = one.path.rpartition(os.sep)
        folder = folder or os.sep  # the input may be the root of a container
        if folder not in places:
            above = (Path(folder), *Path(folder).parents)
            speaker = next((speakers[root] for root in above if root in outermost), whole)
            places[folder] = _place(above[0].relative_to(source), sets, speaker, nobody)
        found.append(_in_folder(one, name, places[folder]))
    _refuse_unclear(found, source, sets)
    return found


def _description(one: Walked) -> Path | None:
    path = Path(one.path)
    return path if path.name == bids.DESCRIPTION and not one.reason else None


def _place(folder: Path, sets: DataSets, speaker: Callable[[Found], Claim], nobody: Callable[[Found], Claim]) -> _Place:
    data_set = sets.of(folder)
    inside = len(data_set.folder.parts)
    folders = folder.parts[inside:] if folder.parts[:inside] == data_set.folder.parts else folder.parts
    repository = not set(folder.parts).isdisjoint(REPOSITORY)
    at_root, labelled = inside == len(folder.parts), any("sub-" in one for one in folders)
    return _Place(folders, data_set, speaker, nobody, at_root, repository, labelled)


def _in_folder(one: Walked, name: str, place: _Place) -> Found:
    """A path below an input folder, with its labels and with the reason for which it is no scan, if any."""
    path, data_set = Path(one.path), place.data_set
    if one.reason or place.in_repository:
        return Found(path, place.nobody, one.reason or "repository_file")
    if bids.is_side_car(path, name, data_set.described, place.at_root):
        return Found(path, place.nobody, "side_car", data_set=data_set)
    stem = bids.stem_of(path)
    labels = read_labels(place.folders, stem) if place.labelled or "sub-" in name else NO_LABELS
    reason = "non_image" if contrast.is_mask(stem) else labels.problem
    reason = "derivative" if DERIVATIVES in place.folders else reason
    return Found(path, place.speaker, reason, labels=labels, data_set=data_set)


def _refuse_unclear(found: list[Found], source: Path, sets: DataSets) -> None:
    """Note whose images lie in which data set, and refuse what one label names in places that may be two data sets."""
    labelled = [one for one in found if one.data_set and one.labels.subject and not one.reason]
    for one in labelled:
        if one.data_set and one.path.name.lower().endswith(NIFTI):
            sets.note(one.path.parent.relative_to(source), one.data_set, one.labels.subject)
    for one in labelled:
        if one.data_set and sets.is_unclear(one.data_set, one.labels.subject):
            one.reason, one.labels = "unclear_dataset", NO_LABELS


def plain(path: Path, root: Path) -> Found:
    """A file that no BIDS tree and no manifest speaks of."""
    if bids.is_side_car(path, path.name, described=False, at_root=False):
        return Found(path, partial(_nobody, root=root), "side_car")
    labels = read_labels(path.parent.relative_to(root).parts, bids.stem_of(path))
    reason = "non_image" if contrast.is_mask(bids.stem_of(path)) else labels.problem
    return Found(path, partial(_named, root=root), reason, labels=labels)


def _nobody(found: Found, root: Path) -> Claim:
    """Where nobody says whose a file is, its place stands for a patient: equal names never merge two of them."""
    kind = found.data_set.kind("name") if found.data_set else "name"
    return Claim(kind, str(found.path.relative_to(root).with_name(bids.stem_of(found.path))))


def _named(found: Found, root: Path, tree: bids.Tree | None = None) -> Claim:
    labels, stem = found.labels, bids.stem_of(found.path)
    if labels.subject:
        kind, who = found.data_set.kind("bids") if found.data_set else "bids", labels.subject
    else:
        place = _nobody(found, root)
        kind, who = place.kind, place.subject
    car = bids.side_car(found.path, stem)
    acquired = (tree.date(found.path, labels) if tree else None) or car.date
    word = contrast.from_suffix(stem)
    modality = car.modality or {"CT": "CT", "PET": "PT", "unknown": "unknown"}.get(word, "MR")
    return Claim(kind, who, labels.session, acquired, None, word, modality, car.scanner, car.protocol, car.flags)


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
    try:
        named = walking.check_path(path)
    except FileNotFoundError:
        message = f"{source} row {number} names a path that is not there: paths are relative to the manifest"
        raise ManifestError(message) from None
    label = cells.get("changed", "")
    if label not in CHANGED:
        raise ManifestError(f"{source} row {number}: 'changed' must be 0, 1 or empty")
    mask = _mask(source, number, cells.get("mask", ""))
    given = Claim(
        "manifest", cells["subject"], cells["session"], tags.day(cells.get("date", "")), CHANGED[label], mask=mask
    )
    speaker = partial(_by_manifest, given=given)
    walked = walking.walk(path) if not named.reason and path.is_dir() else [named]
    walked = walked or [Walked(named.path, "empty_folder")]
    return [Found(Path(one.path), speaker, one.reason, listed=True) for one in walked]


def _mask(source: Path, number: int, cell: str) -> tuple[str, int, int] | None:
    """Path, size and time of change; a mask that cannot be opened is left out with a flag later, like a broken one."""
    if not cell:
        return None
    path = source.parent / cell.replace("\0", "")
    try:
        named = walking.check_path(path)
    except FileNotFoundError:
        named = None
    if named is not None and named.reason:
        return str(path.absolute()), 0, 0
    if named is None or not path.is_file():
        raise ManifestError(f"{source} row {number} names a mask that is not there: paths are relative to the manifest")
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _by_manifest(found: Found, given: Claim) -> Claim:
    named = _named(found, found.path.parent)
    return replace(
        named, kind=given.kind, subject=given.subject, session=given.session, changed=given.changed,
        mask=given.mask, date=given.date or named.date,
    )  # fmt: skip
