"""The scans folder as a BIDS derivative: tables and side-cars beside the images, made from the catalogue alone.

Everything is derived anew at the end of every run and only what differs is written, so a killed run leaves nothing that
the next one does not put right.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from siamese_med.ingestion import contrast
from siamese_med.runtime import files
from siamese_med.study import bids

SIDECAR_FIELDS = {
    "modality": "Modality", "contrast": "Contrast", "scanner": "Scanner", "protocol": "Protocol", "flags": "Flags",
    "spacing_mm": "SpacingMillimetres", "shape": "Shape", "source": "SourceFormat",
}  # fmt: skip
"""Columns of the scan table that go into the JSON beside an image, and their names there; nothing else does."""

SCAN_SUFFIXES = (*contrast.CONTRASTS, "MR", "PT", "scan")
DERIVATIVE_FILE_PATTERN = re.compile(
    r"sub-[a-z2-7]{26}(_ses-\d+(_run-\d+)?)?_"
    rf"(sessions\.tsv|scans\.tsv|({'|'.join(SCAN_SUFFIXES)})(\.json|(_mask)?\.nii\.gz))"
)
"""Files that only ingest makes, so those that nothing accounts for may go."""


def write_bids_derivative(folder: Path, scans: Iterable[Mapping[str, Any]]) -> None:
    """Bring a folder of scans in line with the rows of the scan table: what lacks comes, what is left over goes."""
    rows = sorted(scans, key=lambda row: str(row["id"]))
    texts = _texts(rows)
    present = _present(folder)
    for name, text in texts.items():
        _write_changed(folder / name, text)
    masks = {str(row["mask"]).removeprefix("scans/") for row in rows if row["mask"]}
    for name in present - texts.keys() - masks - {_within(row) for row in rows}:
        (folder / name).unlink(missing_ok=True)
        _remove_empty(folder, (folder / name).parent)


def _texts(rows: list[Mapping[str, Any]]) -> dict[str, str]:
    """Every text of the derivative by its name in the folder."""
    texts = {"dataset_description.json": _json(bids.make_dataset_description("Scans as siamese-med ingested them"))}
    sessions: dict[str, dict[str, Any]] = defaultdict(dict)
    visits: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        subject, session, name = row["subject"], row["session"], Path(row["path"]).name
        sessions[subject][session] = sessions[subject].get(session) or row["date"]
        visits[subject, session].append((name, _moment(row["date"])))
        texts[_within(row).removesuffix(".nii.gz") + ".json"] = _side_car(row)
    texts["participants.tsv"] = _tsv(("participant_id",), [(subject,) for subject in sorted(sessions)])
    for subject, dates in sessions.items():
        lines = [(session, _moment(dates[session])) for session in sorted(dates, key=_number)]
        texts[f"{subject}/{subject}_sessions.tsv"] = _tsv(("session_id", "acq_time"), lines)
    for (subject, session), lines in visits.items():
        texts[f"{subject}/{session}/{subject}_{session}_scans.tsv"] = _tsv(("filename", "acq_time"), lines)
    return texts


def _within(row: Mapping[str, Any]) -> str:
    return str(row["path"]).removeprefix("scans/")


def _side_car(row: Mapping[str, Any]) -> str:
    return _json({name: row[column] for column, name in SIDECAR_FIELDS.items()})


def _moment(day: str | None) -> str:
    """BIDS asks for a time of day too; midnight stands for an unknown one."""
    return f"{day}T00:00:00" if day else "n/a"


def _number(session: str) -> tuple[int, str]:
    digits = session.removeprefix("ses-")
    return int(digits) if digits.isdigit() else 0, session


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _tsv(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    return "".join("\t".join(map(str, line)) + "\n" for line in (columns, *rows))


def _present(folder: Path) -> set[str]:
    """Files of ours below the folder; what a user put there has other names and stays."""
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
    except FileNotFoundError:
        pass
    files.write_text_file_without_sync(path, text)


def _remove_empty(folder: Path, left: Path) -> None:
    while left != folder and not any(left.iterdir()):
        left.rmdir()
        left = left.parent
