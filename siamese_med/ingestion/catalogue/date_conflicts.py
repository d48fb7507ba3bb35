"""Scans whose dates contradict one another, so that no interval can be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date

from siamese_med.ingestion.catalogue.rows import ScanRow
from siamese_med.ingestion.date_traits import AGREEMENT_TRAIT, OFFSET_TRAIT, SOURCE_TRAIT, STUDY_DATE_TRAIT

MAX_YEARS_OF_PATIENT = 60
"""Years between two scans of one patient: more, and a date was shifted and another was not. Source: our choice."""

MAX_DAYS_OF_VISIT = 92
"""Days between two scans of one visit: some studies call months a visit; more is a wrong label. Source: our choice."""


def find_date_conflicts(rows: Iterable[ScanRow]) -> set[str]:
    """Find the scans whose dates contradict others.

    These are all scans of a patient whose dates are from several sources that are not known to agree, or differ by
    other numbers of days, or span more than MAX_YEARS_OF_PATIENT; those of a visit that spans more than
    MAX_DAYS_OF_VISIT; and those with one date of acquisition in several studies of different dates.
    """
    found: set[str] = set()
    for mine in _group((row for row in rows if row["date"]), lambda row: row["subject"]):
        groups = [mine] if _mixes_sources(mine) or _span(mine) > MAX_YEARS_OF_PATIENT * 365.25 else []
        groups += [some for some in _group(mine, lambda row: row["session"]) if _span(some) > MAX_DAYS_OF_VISIT]
        by_day = _group(mine, lambda row: str(row["date"]))
        groups += [some for some in by_day if len(_values(some, STUDY_DATE_TRAIT)) > 1]
        found |= {row["id"] for some in groups for row in some}
    return found


def _mixes_sources(rows: Sequence[ScanRow]) -> bool:
    """Whether dates are of sources that differ, as far as it is known of both."""
    offsets, agree = _values(rows, OFFSET_TRAIT), bool(_values(rows, AGREEMENT_TRAIT))
    several = len(_values(rows, SOURCE_TRAIT)) > 1
    return len(offsets) + agree > 1 or (several and not (agree and not offsets))


def _values(rows: Iterable[ScanRow], trait: str) -> set[str]:
    return {value for row in rows for value in row["person"].get(trait, ())}


def _span(rows: Iterable[ScanRow]) -> int:
    days = [date.fromisoformat(str(row["date"])) for row in rows]
    return (max(days) - min(days)).days


def _group(rows: Iterable[ScanRow], key: Callable[[ScanRow], str]) -> list[list[ScanRow]]:
    found: dict[str, list[ScanRow]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return list(found.values())
