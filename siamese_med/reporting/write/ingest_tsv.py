"""ingest.tsv: every series and every reason for which its files were not accepted, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting.write import json_tsv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siamese_med.study.tables import IngestInventory, SeriesAccount

INGEST_TSV_COLUMNS = (
    "subject",
    "session",
    "date",
    "series",
    "modality",
    "contrast",
    "contrast_source",
    "contrast_confidence",
    "slices",
    "outcome",
    "reason",
    "files",
    "scans",
    "flags",
    "hint",
)
"""Columns of ingest.tsv, in order."""


def format_ingest_tsv(inventory: IngestInventory) -> str:
    """Format the inventory as TSV: one line for each series and reason, and for each reason of files without a series.

    An empty reason means ingested. Cells that a spreadsheet would take for a formula get an apostrophe in front.
    """
    lines = [_line(series, reason, inventory) for series in inventory.series for reason in series.files or {"": 0}]
    lines += [_loose_line(word, inventory) for word in inventory.loose]
    return json_tsv.format_tsv(
        INGEST_TSV_COLUMNS, [{name: _harmless(cell) for name, cell in line.items()} for line in lines]
    )


def _line(series: SeriesAccount, reason: str, inventory: IngestInventory) -> Mapping[str, object]:
    accepted = not reason
    scans = series.scans if accepted else ()
    sure = [scan.contrast_confidence for scan in scans if scan.contrast_confidence is not None]
    return {
        "subject": series.subjects,
        "session": series.session,
        "date": series.date,
        "series": series.label,
        "modality": series.modality,
        "contrast": series.contrast,
        "contrast_source": tuple(sorted({scan.contrast_source for scan in scans})),
        "contrast_confidence": min(sure) if sure else None,
        "slices": series.slices or None,
        "outcome": "ingested" if accepted else inventory.outcomes.get(reason),
        "reason": reason or None,
        "files": series.files.get(reason, 0),
        "scans": tuple(scan.id for scan in scans),
        "flags": tuple(sorted({flag for scan in scans for flag in scan.flags})),
        "hint": inventory.hints.get(reason),
    }


def _loose_line(word: str, inventory: IngestInventory) -> Mapping[str, object]:
    known = {
        "outcome": inventory.outcomes.get(word),
        "reason": word,
        "files": inventory.loose[word],
        "hint": inventory.hints.get(word),
    }
    return {name: known.get(name) for name in INGEST_TSV_COLUMNS}


def _harmless(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would take for a formula (CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
