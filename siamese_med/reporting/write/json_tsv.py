"""What a machine reads: JSON and TSV for each patient and over the cohort; the same values as on the pages."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from siamese_med.reporting.data.cohort_index import CohortIndex, CohortRow
    from siamese_med.reporting.data.report_content import PatientReport, ReportPair

REPORT_FORMAT = 3
"""Version of report.json; it grows by one when a key changes its meaning or goes."""

REPORT_PAIR_COLUMNS = {
    "number": ("of the pair on the page", None),
    "role": ("newest, since_first, step or other: what the pair is to the patient's time line", None),
    "earlier": ("id of the earlier scan", None),
    "later": ("id of the later scan", None),
    "earlier_session": ("session of the earlier scan", None),
    "later_session": ("session of the later scan", None),
    "interval_days": ("from the earlier scan to the later one", "d"),
    "kind": ("rescan, follow_up or changed: what the study knows of the pair", None),
    "split": ("train, validation or test: what the patient was to the model", None),
    "status": ("the verdict, or wrong_patient where one of the scans is under alarm", None),
    "verdict": ("changed, no_change or not_comparable", None),
    "reasons": ("why there is no verdict", None),
    "similarity": ("of the two scans to the network, calibrated: how alike one person's scans are", None),
    "distance": ("of the two embeddings", None),
    "change_z": ("standard deviations above the pairs without change that the pair is held against", None),
    "change_p": ("how often a pair without change shows so much", None),
    "change_p_adjusted": (
        "the same, corrected for the other pairs of the patient (Holm): the verdict",
        None,
    ),
    "change_sign": ("1 where the later scan is brighter on the whole, -1 where it is darker", None),
    "volume_ml": ("of the voxels that the change map calls changed", "mL"),
    "growth_ml": ("what the enclosed tissue gained where local volume changed most", "mL"),
    "growth_p": ("how often a pair without change shows so much local volume change", None),
    "smallest_detectable_ml": ("the smallest change that this very pair would have shown, with 80 % power", "mL"),
    "stratum": ("contrast and scanner of the pairs without change that the pair is held against", None),
    "ncc": ("normalised cross-correlation, a baseline", None),
    "ncc_highpass": ("normalised cross-correlation of fine detail, a baseline", None),
    "mutual_information": ("normalised mutual information, a baseline", None),
    "ssim": ("structural similarity, a baseline", None),
    "pair_quality": ("of the pair's alignment: correlation ratio of the two scans, 0 to 1", None),
    "map": ("the change map, below the study's data folder", None),
}
"""What stands in pairs.tsv, and in which unit (SI, as BIDS wants)."""


def serialise_patient_report(patient: PatientReport) -> dict[str, Any]:
    """A patient's report as plain JSON values, without the pictures."""
    value = {"format": REPORT_FORMAT, "research_use_only": True, **asdict(patient)}
    for pair in value["pairs"]:
        for picture in pair["slices"]:
            del picture["panels"]
    return value


def serialise_cohort_index(overview: CohortIndex) -> dict[str, Any]:
    """The index as plain JSON values."""
    return {"format": REPORT_FORMAT, "research_use_only": True, **asdict(overview)}


def format_pairs_tsv(pairs: Iterable[ReportPair]) -> str:
    """All pairs of a patient, one a line."""
    lines = []
    for pair in pairs:
        fields = {name: getattr(pair, name) for name in REPORT_PAIR_COLUMNS}
        lines.append({**fields, "reasons": tuple(reason.word for reason in pair.reasons)})
    return format_tsv(tuple(REPORT_PAIR_COLUMNS), lines)


def build_pairs_frame(reports: Iterable[PatientReport]) -> pd.DataFrame:
    """All pairs of all patients: `subject`, then the columns of REPORT_PAIR_COLUMNS; `reasons` are lists of words."""
    import pandas as pd

    rows = [
        {"subject": report.subject, **{name: getattr(pair, name) for name in REPORT_PAIR_COLUMNS}}
        | {"reasons": [reason.word for reason in pair.reasons]}
        for report in reports
        for pair in report.pairs
    ]
    return pd.DataFrame(rows, columns=["subject", *REPORT_PAIR_COLUMNS])


def build_pairs_dictionary() -> dict[str, dict[str, str]]:
    """The data dictionary of pairs.tsv, as BIDS puts it beside a table."""
    return {
        name: {"Description": meaning, **({"Units": unit} if unit else {})}
        for name, (meaning, unit) in REPORT_PAIR_COLUMNS.items()
    }


def format_cohort_tsv(rows: Sequence[CohortRow]) -> str:
    """All patients, one a line, in the order of the index."""
    return format_tsv(
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


def format_tsv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
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
