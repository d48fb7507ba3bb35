"""Dates of scans in the tables of a BIDS dataset: scans.tsv and sessions.tsv."""

from __future__ import annotations

import csv
import io
import unicodedata
from datetime import date
from functools import cache
from pathlib import Path, PurePosixPath

from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.inputs.bids_labels import BidsLabels, normalise_unicode
from siamese_med.ingestion.inputs.bids_metadata import DATASET_DESCRIPTION_FILE, read_small_text

MAX_SHIFTED_YEARS = 100
"""Years by which dates of a shared dataset may have been shifted for de-identification."""


class BidsTree:
    """A dataset's folder. Its tables are read once and kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rows, self._content = cache(_rows), cache(read_small_text)

    def date(self, path: Path, labels: BidsLabels) -> date | None:
        """Find the acquisition date of a scan.

        Returns
        -------
        date or None
            `acq_time` of the file in scans.tsv, or of its session in sessions.tsv; None where neither has it.

        Raises
        ------
        OSError
            A table, or the dataset's description, cannot be read now.
        """
        self._content(self.root / DATASET_DESCRIPTION_FILE, "utf-8")
        subject, session = f"sub-{labels.subject}", f"ses-{labels.session}"
        for folder in (path.parent, *path.parents):
            for table in (f"{subject}_{session}_scans.tsv", f"{subject}_scans.tsv"):
                for row in _find_rows(self._table(folder, table), path.relative_to(folder)):
                    if day := _day(row):
                        return day
            for row in self._table(folder, f"{subject}_sessions.tsv"):
                if normalise_unicode(row.get("session_id", "")) == session and (day := _day(row)):
                    return day
            if folder == self.root:
                break
        return None

    def _table(self, folder: Path, name: str) -> list[dict[str, str]]:
        """Rows of a table, whose name may have composed or decomposed letters on disk."""
        spellings = {name, unicodedata.normalize("NFD", name)}
        return [row for one in sorted(spellings) for row in self._rows(folder / one)]


def _find_rows(rows: list[dict[str, str]], place: Path) -> list[dict[str, str]]:
    """Find the rows of a scans.tsv about a file, given its path below the table's folder.

    The path decides. The name alone counts where it is that of one row, which names no other session.
    """
    wanted = tuple(map(normalise_unicode, place.parts))
    named: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for row in rows:
        parts = PurePosixPath(normalise_unicode(row.get("filename", "")).replace("\\", "/")).parts
        if parts and parts[-1] == wanted[-1]:
            named.append((parts, row))
    exact = [row for parts, row in named if parts[-len(wanted) :] == wanted]
    if exact or len(named) != 1:
        return exact
    ((parts, row),) = named
    sessions, own = ({part for part in one[:-1] if part.startswith("ses-")} for one in (parts, wanted))
    return [row] if not sessions or sessions == own else []


def _day(row: dict[str, str]) -> date | None:
    """Return the date of a table's row; it may have been shifted by up to `MAX_SHIFTED_YEARS`."""
    return tags.parse_dicom_date(row.get("acq_time", ""), MAX_SHIFTED_YEARS)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(read_small_text(path, "utf-8-sig"), newline=""), delimiter="\t")
        return [{k: v for k, v in row.items() if k and isinstance(v, str)} for row in rows]
    except (UnicodeDecodeError, csv.Error):
        return []
