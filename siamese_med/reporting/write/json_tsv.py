"""Serialise reports for programs: JSON and TSV of each patient and of the cohort, with the values of the pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from siamese_med.reporting.data.report_content import NoVerdictReason, ReportPair, Slice
from siamese_med.study.score_columns import Column, reported_columns, score_columns
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from siamese_med.reporting.data.cohort_index import CohortIndex, CohortRow
    from siamese_med.reporting.data.lesion_content import LesionLine
    from siamese_med.reporting.data.report_content import PatientReport

REPORT_FORMAT = 5
"""Version of report.json and cohort.json; it is raised by one when a key changes its meaning or is removed."""


LESION_TSV_COLUMNS = (
    *("contrast", "lesion", "scan", "session", "day", "fate", "other", "volume_ml", "error_ml", "x_mm", "y_mm", "z_mm"),
    *("region", "fate_since_first", "percent_a_year"),
)
"""Columns of lesions.tsv."""


@dataclass(frozen=True)
class PairField:
    """One key of a pair in report.json, of which some are columns of pairs.tsv too.

    Parameters
    ----------
    type
        Of the value, for the JSON Schema.
    value
        From a pair of the report to the value.
    description, unit
        For the data dictionary; unit in SI.
    tabulated
        Whether it is a column of pairs.tsv and pairs.parquet.
    default
        What the JSON Schema gives as default, None for nothing.
    """

    type: Any
    value: Callable[[ReportPair], Any]
    description: str = ""
    unit: str | None = None
    tabulated: bool = True
    default: Any = None


@cache
def pair_fields() -> Mapping[str, PairField]:
    """Return the keys of a pair in report.json by name: what the page adds, and the columns of `PairScore`."""
    of_score = {one.report_name: _of_score(one) for one in score_columns() if one.report_name}
    columns = {one.name: one.report_name for one in score_columns()}
    return {
        "number": PairField(int, attrgetter("number"), "of the pair on the page"),
        "role": PairField(
            str,
            attrgetter("role"),
            "newest, since_first, step or other: what the pair is to the time line of its contrast",
        ),
        **{columns[name]: of_score[columns[name]] for name in ("scan_a", "scan_b")},
        "earlier_session": PairField(str, attrgetter("earlier_session"), "session of the earlier scan"),
        "later_session": PairField(str, attrgetter("later_session"), "session of the later scan"),
        "earlier_contrast": PairField(
            str | None, attrgetter("earlier_contrast"), "contrast of the earlier scan, as in the catalogue"
        ),
        "later_contrast": PairField(
            str | None, attrgetter("later_contrast"), "contrast of the later scan, as in the catalogue"
        ),
        **{columns[name]: of_score[columns[name]] for name in ("interval_days", "kind", "split")},
        "verdict": replace(of_score["verdict"], type=str, value=lambda pair: str(pair.verdict)),
        "status": PairField(
            str, attrgetter("status"), "the verdict, or wrong_patient where one of the scans is under alarm"
        ),
        "reasons": replace(
            of_score["reasons"], type=tuple[NoVerdictReason, ...], value=attrgetter("reasons"), default=None
        ),
        "identity_judged": PairField(bool, attrgetter("identity_judged"), tabulated=False),
        "brighter_ml": PairField(float, attrgetter("brighter_ml"), tabulated=False, default=0.0),
        "darker_ml": PairField(float, attrgetter("darker_ml"), tabulated=False, default=0.0),
        **{one.report_name: of_score[one.report_name] for one in reported_columns()},
        "slices": PairField(tuple[Slice, ...], attrgetter("slices"), tabulated=False, default=()),
        "slices_available": PairField(int, attrgetter("slices_available"), tabulated=False, default=0),
    }


def _of_score(column: Column) -> PairField:
    def value(pair: ReportPair) -> Any:
        return column.type.publish(getattr(pair.score, column.name))

    meaning = column.meaning
    default = column.default if isinstance(column.default, tuple) else None
    return PairField(column.type.published, value, meaning.description, meaning.unit, meaning.tabulated, default)


@cache
def pair_columns() -> Mapping[str, PairField]:
    """Return the columns of pairs.tsv and pairs.parquet by name, in order."""
    found = {name: field for name, field in pair_fields().items() if field.tabulated}
    order = list(found)
    order.insert(order.index("verdict"), order.pop(order.index("status")))  # readers look for it first
    return {name: found[name] for name in order}


def serialise_patient_report(patient: PatientReport) -> Mapping[str, Any]:
    """Convert a patient's report to the JSON values of report.json, without the pictures."""
    pairs = [pair_values(pair) for pair in patient.pairs]
    return {"format": REPORT_FORMAT, "research_use_only": True, **asdict(replace(patient, pairs=())), "pairs": pairs}


def pair_values(pair: ReportPair) -> Mapping[str, Any]:
    """Return a pair as report.json has it: JSON values by the names of `pair_fields`."""
    values = {name: _plain(field.value(pair)) for name, field in pair_fields().items()}
    for picture in values["slices"]:
        del picture["panels"]
    return values


def _plain(value: Any) -> Any:
    """The value with dataclasses as dictionaries, as `asdict` makes them within one."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def serialise_cohort_index(overview: CohortIndex) -> Mapping[str, Any]:
    """Convert the index to the JSON values of cohort.json."""
    return {"format": REPORT_FORMAT, "research_use_only": True, **asdict(overview)}


def format_pairs_tsv(pairs: Iterable[ReportPair]) -> str:
    """Format all pairs of a patient as TSV, one line for each pair."""
    return format_tsv(tuple(pair_columns()), (_cells(pair) for pair in pairs))


def build_pairs_frame(reports: Iterable[PatientReport]) -> pd.DataFrame:
    """Collect the pairs of all patients in one table.

    Returns
    -------
    DataFrame
        `subject`, then the columns of pairs.tsv; `reasons` are lists of words.
    """
    import pandas as pd

    rows = [
        {"subject": report.subject, **_cells(pair), "reasons": [reason.word for reason in pair.reasons]}
        for report in reports
        for pair in report.pairs
    ]
    return pd.DataFrame(rows, columns=["subject", *pair_columns()])


def _cells(pair: ReportPair) -> Mapping[str, Any]:
    found = {name: field.value(pair) for name, field in pair_columns().items()}
    return found | {"reasons": tuple(reason.word for reason in pair.reasons)}


def build_pairs_dictionary() -> Mapping[str, Mapping[str, str]]:
    """Build the data dictionary of pairs.tsv, a BIDS side-car: `Description` and, for quantities, `Units` by column."""
    return {
        name: {"Description": field.description, **({"Units": field.unit} if field.unit else {})}
        for name, field in pair_columns().items()
    }


def format_lesions_tsv(lines: Iterable[LesionLine]) -> str:
    """Format all lesions of a patient as TSV, one line for each lesion and scan; columns as in the lesion table."""
    rows = [
        {
            "contrast": line.contrast,
            "lesion": lesion.number,
            "scan": mark.scan,
            "session": load.session,
            "day": load.day,
            "fate": mark.fate,
            "other": mark.other,
            "volume_ml": mark.volume_ml,
            "error_ml": mark.error_ml,
            **dict(zip(("x_mm", "y_mm", "z_mm"), mark.centre_mm or (None,) * 3, strict=True)),
            "region": mark.region,
            "fate_since_first": lesion.fate,
            "percent_a_year": lesion.percent_a_year,
        }
        for line in lines
        for lesion in line.lesions
        for load in line.loads
        if (mark := lesion.of(load.scan)) and mark.fate != LesionFate.NOT_SHOWN
    ]
    return format_tsv(LESION_TSV_COLUMNS, rows)


def format_cohort_tsv(rows: Sequence[CohortRow]) -> str:
    """Format all patients as TSV, one line for each patient, in the order of the index."""
    return format_tsv(
        (
            "subject",
            "status",
            "visits",
            "pairs",
            "newest_visit",
            "alarms",
            "claimed",
            "contrasts",
            "uncertain",
            "unchanged",
            "not_compared",
            "contrast",
            "interval_days",
            "change_z",
            "change_p",
            "change_p_adjusted",
            "volume_ml",
            "beyond_rescan_ml",
            "change_ml",
            "smallest_detectable_ml",
            "similarity",
            "lowest_similarity",
            "reasons",
        ),
        [asdict(row) for row in rows],
    )


def format_tsv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    r"""Format rows as TSV with a header, as in BIDS: a missing value is n/a, and lists are joined by commas.

    Parameters
    ----------
    columns
        Names of the columns, in order; other keys of the rows are left out.
    rows
        One mapping for each line; each has all columns.

    Examples
    --------
    >>> format_tsv(["subject", "flags"], [{"subject": "sub-1", "flags": ("inverted", "oblique")}])
    'subject\tflags\nsub-1\tinverted,oblique\n'
    """
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
