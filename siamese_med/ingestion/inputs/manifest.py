"""A CSV or TSV manifest: each row names files and may name their subject. Messages name the row, never its content."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from siamese_med.errors import EmptyInputError, ManifestError
from siamese_med.ingestion import contrast, contrast_finding
from siamese_med.ingestion.date_traits import HEADER, MANIFEST, list_date_traits
from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.inputs import folder_walk
from siamese_med.ingestion.inputs.bids_metadata import NIFTI_ENDINGS
from siamese_med.ingestion.inputs.claims import InputClaim, InputPath, MaskFile, claim_by_name, stat_mask
from siamese_med.ingestion.inputs.folder_walk import WalkedPath
from siamese_med.study.vocabulary import UNKNOWN, ContrastSource

REQUIRED_COLUMNS = ("subject", "session", "path")
"""Columns that a manifest must have; `path` is relative to the manifest and may name a folder.

The cells of `subject` (of DICOM files) and `session` may be empty."""

OPTIONAL_COLUMNS = ("date", "changed", "mask", "lesions", "difference", "since", "contrast")
OPTIONAL_COLUMNS_TEXT = "[,date][,changed][,mask][,lesions][,difference][,since][,contrast]"
"""The optional columns, as messages show them."""

CHANGED_BY_CELL = {"": None, "0": 0, "1": 1}
"""Meaning of the cells of `changed`: not known, no change, and change since the visit before."""

CONTRAST_BY_CELL = {word.lower(): word for word in contrast.CONTRASTS}
"""Accepted cells of `contrast`, in lower case; the word `unknown` says that it is not known, also not from a name."""


MISSING_WORDS = frozenset((
    "na", "n/a", "nan", "null", "none", "nil", "<na>", "#n/a", "#na", "#ref!", "#name?", "#value!", "#num!", "#null!",
    "#div/0!",
))  # fmt: skip
"""What programs write for a missing value, in small letters: as a subject, it would join all people that lack one."""

ROUNDED_NUMBER = re.compile(r"[+-]?\d([.,]\d+)?E\+\d+", re.I)
"""A long number as spreadsheets save it, 1.23457E+12: numbers of several people become one."""


def read_manifest(source: Path) -> list[InputPath]:
    """Read the files that a manifest's rows name.

    The file is UTF-8, separated by commas, or by tabs where its name ends in `.tsv`. A row that names a folder stands
    for all files below it. Where a row has no subject, the headers of its DICOM files name the patient.

    Returns
    -------
    list of InputPath
        In the order of the rows, each with `listed` set and the row's claim.

    Raises
    ------
    ManifestError
        A column is missing, a row is incomplete or names a missing path, or the file is no UTF-8 table.
    EmptyInputError
        The table has no row.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter=_separator(source))
            columns = tuple(rows.fieldnames or ())
            _check_columns(source, columns)
            lacking = [name for name in REQUIRED_COLUMNS if name not in columns]
            if lacking:
                raise ManifestError(
                    f"{source} lacks the column {lacking[0]}: it needs "
                    f"{','.join(REQUIRED_COLUMNS)}{OPTIONAL_COLUMNS_TEXT}{_explain_columns(columns)}"
                )
            found = [one for number, row in enumerate(rows, 2) for one in _row(source, number, row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{source} is not a CSV file in UTF-8: it needs {','.join(REQUIRED_COLUMNS)}{OPTIONAL_COLUMNS_TEXT}"
        ) from error
    if not found:
        raise EmptyInputError(f"{source} names no file: give it one row for each scan")
    return found


def _separator(source: Path) -> str:
    return "\t" if source.suffix.lower() == ".tsv" else ","


def _check_columns(source: Path, columns: Sequence[str]) -> None:
    """Refuse an optional column whose name is written otherwise, which would be left out, and one that comes twice."""
    for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS):
        alike = [one for one in columns if one.strip().lower() == name]
        if len(alike) > 1:
            raise ManifestError(f"{source} has the column {name} more than once: remove or rename all but one")
        if name in OPTIONAL_COLUMNS and alike and alike[0] != name:
            raise ManifestError(f"{source} has a column that may be {name}: write its name in small letters")


def _explain_columns(columns: Sequence[str]) -> str:
    """Return what spreadsheets do to the first line, where that is why a column is lacking."""
    if len(columns) == 1 and any(sign in columns[0] for sign in ";\t,"):
        return "; columns have to be separated by a comma, or by a tab in a .tsv file"
    if {name.strip().lower() for name in columns}.issuperset(REQUIRED_COLUMNS):
        return "; write the names in small letters, without spaces"
    return ""


def _check_cells(source: Path, number: int, row: Mapping[str | None, str | list[str] | None]) -> None:
    """Refuse a row that a stray quote joined with the next ones, which would be lost, and one with too many cells."""
    joined = re.compile(f"[\r\n].*{_separator(source)}|[\r\n]$")  # further rows, or the end of the file
    if any(joined.search(cell) for cell in row.values() if isinstance(cell, str)):
        raise ManifestError(f"{source} row {number} holds other rows in a cell: is a quote left open?")
    if any(cell.strip() for cell in row.get(None) or ()):
        raise ManifestError(f"{source} row {number} has more cells than the first line: put what has a comma in quotes")


def _row(source: Path, number: int, row: dict[str, str | None]) -> list[InputPath]:
    _check_cells(source, number, row)  # type: ignore[arg-type]
    cells = {
        name: (cell or "").strip() for name, cell in row.items() if isinstance(name, str) and not isinstance(cell, list)
    }
    if not cells["path"]:
        raise ManifestError(f"{source} row {number} has no path: fill it in")
    _check_labels(source, number, cells)
    path = source.parent / cells["path"]
    try:
        named = folder_walk.check_input_path(path)
    except FileNotFoundError:
        message = f"{source} row {number} names a path that is not there: paths are relative to the manifest"
        message += ", with / between folders" if "\\" in cells["path"] else ""
        raise ManifestError(message) from None
    label = cells.get("changed", "")
    if label not in CHANGED_BY_CELL:
        raise ManifestError(f"{source} row {number}: 'changed' must be 0, 1 or empty")
    given = InputClaim(
        "manifest",
        cells["subject"],
        cells["session"],
        _date(source, number, cells.get("date", "")),
        CHANGED_BY_CELL[label],
        mask=_mask(source, number, cells.get("mask", ""), "a mask"),
        lesions=_mask(source, number, cells.get("lesions", ""), "a mask of lesions"),
        difference=_mask(source, number, cells.get("difference", ""), "a mask of what changed"),
        since=_since(source, number, cells),
        contrast=_contrast(source, number, cells.get("contrast", "")),
    )
    make_claim = partial(_claim_by_manifest, given=given)
    walked = folder_walk.walk_folder(path) if not named.reason and path.is_dir() else [named]
    walked = walked or [WalkedPath(named.path, "empty_folder")]
    if not cells["subject"] and any(one.path.lower().endswith(NIFTI_ENDINGS) for one in walked):
        raise ManifestError(f"{source} row {number} has no subject: a NIfTI file names nobody, so fill it in")
    return [InputPath(Path(one.path), make_claim, one.reason, listed=True) for one in walked]


def _check_labels(source: Path, number: int, cells: dict[str, str]) -> None:
    """Refuse subjects and sessions that a program wrote, and that would join several people or visits."""
    for name in ("subject", "session"):
        if cells[name].casefold() in MISSING_WORDS:
            raise ManifestError(
                f"{source} row {number}: '{name}' is a word for a missing value, such as NA; leave the cell empty, or "
                f"name the {name}"
            )
        if ROUNDED_NUMBER.fullmatch(cells[name]):
            raise ManifestError(
                f"{source} row {number}: '{name}' is a long number that a spreadsheet has rounded; format the column "
                "as text, and fill it in again"
            )


def _date(source: Path, number: int, cell: str) -> date | None:
    """Return the date of a row. A date was written to be used, so an unreadable one does not count as missing."""
    found = tags.parse_dicom_date(cell)
    if cell and found is None:
        raise ManifestError(
            f"{source} row {number}: 'date' must be written as 2019-03-04 (year, month, day) or be empty"
        )
    return found


def _contrast(source: Path, number: int, cell: str) -> str:
    """Return the contrast that a row says; empty where it says none."""
    if cell and cell.lower() not in CONTRAST_BY_CELL:
        accepted = ", ".join(contrast.CONTRASTS)
        raise ManifestError(f"{source} row {number}: 'contrast' must be empty or one of {accepted}")
    return CONTRAST_BY_CELL[cell.lower()] if cell else ""


def _since(source: Path, number: int, cells: dict[str, str]) -> str:
    """Return the label of the visit that a mask of what changed compares with; empty for the visit before."""
    since = cells.get("since", "")
    if since and not cells.get("difference"):
        raise ManifestError(f"{source} row {number} has 'since' but no 'difference': name the mask of what changed")
    if since and since == cells["session"]:
        raise ManifestError(f"{source} row {number}: 'since' is its own session; it must be that of an earlier visit")
    return since


def _mask(source: Path, number: int, cell: str, what: str) -> MaskFile | None:
    """Return path, size and modification time (ns). A mask that cannot be opened gets a flag later."""
    if not cell:
        return None
    path = source.parent / cell.replace("\0", "")
    try:
        named = folder_walk.check_input_path(path)
    except FileNotFoundError:
        named = None
    if named is not None and named.reason:
        return str(path.absolute()), 0, 0
    if named is None or not path.is_file():
        raise ManifestError(f"{source} row {number} names {what} that is not there: paths are relative to the manifest")
    return stat_mask(path)


def _claim_by_manifest(found: InputPath, given: InputClaim) -> InputClaim:
    named = claim_by_name(found, found.path.parent)
    dated = list_date_traits([(MANIFEST, given.date), (HEADER, named.date)]) if given.date else named.date_traits
    claim = replace(
        named, kind=given.kind, subject=given.subject, session=given.session, changed=given.changed,
        mask=given.mask, lesions=given.lesions, difference=given.difference, since=given.since,
        date=given.date or named.date, date_traits=dated,
    )  # fmt: skip
    if not given.contrast:
        return claim
    modality = contrast_finding.determine_modality_of_contrast(given.contrast)
    return replace(
        claim, contrast=given.contrast, contrast_source=ContrastSource.SAID, contrast_confidence=None,
        modality=modality if modality != UNKNOWN else claim.modality,
    )  # fmt: skip
