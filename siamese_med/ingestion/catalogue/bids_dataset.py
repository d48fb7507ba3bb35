"""The scans folder as a BIDS derivative: tables and side-cars beside the images, derived from the catalogue alone.

Everything is derived again at the end of every run and only differences are written, so the next run repairs whatever
an interrupted run left.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from siamese_med.ingestion import contrast
from siamese_med.ingestion.catalogue.rows import ScanRow
from siamese_med.runtime import files
from siamese_med.study import bids

SIDECAR_FIELDS = {
    "modality": "Modality", "contrast": "Contrast", "scanner": "Scanner", "protocol": "Protocol", "flags": "Flags",
    "spacing_mm": "SpacingMillimetres", "shape": "Shape", "source": "SourceFormat",
}  # fmt: skip
"""Columns of the scan table that go into the JSON beside an image, and their names there.

No others do, but for `ContrastConfidence` where the image told the contrast, and how a DICOM image was acquired.
"""

SCAN_SUFFIXES = (*contrast.CONTRASTS, "MR", "PT", "scan")
"""Last parts of the names that ingest gives to scans."""

DERIVATIVE_FILE_PATTERN = re.compile(
    rf"sub-[a-z2-7]{{26}}(_ses-\d+(_{bids.ENHANCED_ENTITY})?(_run-\d+)?)?_"
    rf"(sessions\.tsv|scans\.tsv|({'|'.join(SCAN_SUFFIXES)})(\.json|(_mask|_lesions|_difference)?\.nii(\.gz)?))"
)
"""Names of files that only ingest makes, which may be deleted when no scan accounts for them."""


def write_bids_derivative(folder: Path, scans: Iterable[ScanRow]) -> None:
    """Update a folder of scans so that it matches the rows of the scan table.

    Missing or outdated texts (dataset_description.json, participants.tsv, sessions, scans and side-cars) are written,
    files of former scans are deleted. Files of other names, which a user may have put there, stay.

    Parameters
    ----------
    folder
        The `scans` folder of the data folder.
    scans
        All scans of the catalogue.
    """
    rows = sorted(scans, key=lambda row: row["id"])
    texts = _texts(rows)
    present = _present(folder)
    for name, text in texts.items():
        _write_changed(folder / name, text)
    given = {path for row in rows for path in (row["mask"], row["lesions"], row["difference"]) if path}
    masks = {path.removeprefix("scans/") for path in given}
    for name in present - texts.keys() - masks - {_within(row) for row in rows}:
        (folder / name).unlink(missing_ok=True)
        _remove_empty(folder, (folder / name).parent)


def _texts(rows: list[ScanRow]) -> dict[str, str]:
    """Every text of the derivative by its name in the folder."""
    texts = {"dataset_description.json": _json(bids.make_dataset_description("Scans as siamese-med ingested them"))}
    sessions: dict[str, dict[str, str | None]] = defaultdict(dict)
    visits: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        subject, session, name = row["subject"], row["session"], Path(row["path"]).name
        sessions[subject][session] = sessions[subject].get(session) or row["date"]
        visits[subject, session].append((name, _moment(row["date"])))
        texts[_within(row).removesuffix(".gz").removesuffix(".nii") + ".json"] = _side_car(row)
    texts["participants.tsv"] = _tsv(("participant_id",), [(subject,) for subject in sorted(sessions)])
    for subject, dates in sessions.items():
        lines = [(session, _moment(dates[session])) for session in sorted(dates, key=_number)]
        texts[f"{subject}/{subject}_sessions.tsv"] = _tsv(("session_id", "acq_time"), lines)
    for (subject, session), lines in visits.items():
        texts[f"{subject}/{session}/{subject}_{session}_scans.tsv"] = _tsv(("filename", "acq_time"), lines)
    return texts


def _within(row: ScanRow) -> str:
    return row["path"].removeprefix("scans/")


def _side_car(row: Mapping[str, object]) -> str:
    acquired = cast("Mapping[str, object]", row["acquisition"])
    content = {**acquired, **{name: row[column] for column, name in SIDECAR_FIELDS.items()}}
    sure = row["contrast_confidence"]
    return _json(content if sure is None else {**content, "ContrastConfidence": sure})


def _moment(day: str | None) -> str:
    """Format a date as BIDS requires, with a time of day: midnight, since it is not known."""
    return f"{day}T00:00:00" if day else "n/a"


def _number(session: str) -> tuple[int, str]:
    digits = session.removeprefix("ses-")
    return int(digits) if digits.isdigit() else 0, session


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _tsv(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join("\t".join(map(str, line)) + "\n" for line in (columns, *rows))


def _present(folder: Path) -> set[str]:
    """List files of ours below the folder; other names are a user's and stay."""
    found = (
        Path(top) / name
        for top, _, names in os.walk(folder)
        for name in names
        if DERIVATIVE_FILE_PATTERN.fullmatch(name)
    )
    return {path.relative_to(folder).as_posix() for path in found}


def _write_changed(path: Path, text: str) -> None:
    try:
        if path.read_bytes() == text.encode():
            return
    except (FileNotFoundError, NotADirectoryError):  # writing says what is wrong
        pass
    files.write_text_file_without_sync(path, text)


def _remove_empty(folder: Path, left: Path) -> None:
    while left != folder and not any(left.iterdir()):
        left.rmdir()
        left = left.parent
