"""What a machine reads: JSON and TSV for each patient and over the cohort; the same values as on the pages."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siamese_med.reporting.content import Pair, Patient
    from siamese_med.reporting.overview import Cohort, Row

FORMAT = 3
"""Version of report.json; it grows by one when a key changes its meaning or goes."""

PAIR_COLUMNS = (
    "number",
    "role",
    "earlier",
    "later",
    "earlier_session",
    "later_session",
    "interval_days",
    "kind",
    "split",
    "status",
    "verdict",
    "reasons",
    "similarity",
    "distance",
    "change_z",
    "change_p",
    "change_p_adjusted",
    "change_sign",
    "volume_ml",
    "growth_ml",
    "growth_p",
    "smallest_detectable_ml",
    "stratum",
    "ncc",
    "ncc_highpass",
    "mutual_information",
    "ssim",
    "pair_quality",
    "map",
)


def report(patient: Patient) -> dict[str, Any]:
    """A patient's report as plain JSON values, without the pictures."""
    value = {"format": FORMAT, "research_use_only": True, **asdict(patient)}
    for pair in value["pairs"]:
        for picture in pair["slices"]:
            del picture["panels"]
    return value


def cohort(overview: Cohort) -> dict[str, Any]:
    """The index as plain JSON values."""
    return {"format": FORMAT, "research_use_only": True, **asdict(overview)}


def pairs_tsv(pairs: Iterable[Pair]) -> str:
    """All pairs of a patient, one a line."""
    lines = []
    for pair in pairs:
        fields = {name: getattr(pair, name) for name in PAIR_COLUMNS}
        lines.append({**fields, "reasons": tuple(reason.word for reason in pair.reasons)})
    return tsv(PAIR_COLUMNS, lines)


def cohort_tsv(rows: Sequence[Row]) -> str:
    """All patients, one a line, in the order of the index."""
    return tsv(
        (
            "subject",
            "status",
            "visits",
            "pairs",
            "newest_visit",
            "alarms",
            "claimed",
            "interval_days",
            "change_z",
            "change_p",
            "volume_ml",
            "smallest_detectable_ml",
            "similarity",
            "lowest_similarity",
            "reasons",
        ),
        [asdict(row) for row in rows],
    )


def tsv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """Rows under a header, tab-separated; what is missing is n/a."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, dialect="excel-tab", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row[name]) for name in columns] for row in rows)
    return buffer.getvalue()


def _field(value: Any) -> str:
    """BIDS habits: n/a for what is missing, a comma between words."""
    if value is None or value == ():
        return "n/a"
    if isinstance(value, (tuple, list)):
        return ",".join(str(word) for word in value)
    return str(value)
