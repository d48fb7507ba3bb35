"""The order of a patient's visits: one for pairs, lesions, training and reports."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def order_visits(dates: Mapping[str, str | None]) -> list[str]:
    """Order the visits of one patient by date; those without a date follow, by the numbers of their sessions.

    Parameters
    ----------
    dates
        Session to ISO date; None where the visit has none.

    Examples
    --------
    >>> order_visits({"ses-10": None, "ses-02": "2031-05-01", "ses-01": "2031-06-01", "ses-9": None})
    ['ses-02', 'ses-01', 'ses-9', 'ses-10']
    """

    def when(session: str) -> tuple[bool, str, int, str]:
        day, number = dates[session], _LAST_NUMBER.search(session)
        return (day is None, day or "", int(number.group(1)) if number else 0, session)

    return sorted(dates, key=when)


def find_visit_dates(scans: Iterable[tuple[str, object]]) -> dict[str, str | None]:
    """Find the date of each visit of one patient: the first of its scans that have one.

    Parameters
    ----------
    scans
        Session and ISO date of each scan; a date that is no text is none.

    Examples
    --------
    >>> find_visit_dates([("ses-01", None), ("ses-01", "2031-05-01"), ("ses-02", float("nan"))])
    {'ses-01': '2031-05-01', 'ses-02': None}
    """
    found: dict[str, str | None] = {}
    for session, day in scans:
        known = found.get(session)
        new = day if isinstance(day, str) and day else None
        found[session] = min(known, new) if known and new else known or new
    return found


def sort_scans_by_time(scans: Iterable[Any]) -> list[Any]:
    """Sort rows of the scan table by patient and visit, see `order_visits`; in a visit by date and by id."""
    patients: dict[str, list[Any]] = defaultdict(list)
    for scan in scans:
        patients[scan.subject].append(scan)
    in_order = []
    for _, mine in sorted(patients.items()):
        visits = order_visits(find_visit_dates((scan.session, scan.date) for scan in mine))
        for session in visits:
            in_order += sorted((scan for scan in mine if scan.session == session), key=_order_in_visit)
    return in_order


def _order_in_visit(scan: Any) -> tuple[bool, str, str]:
    dated = isinstance(scan.date, str)
    return (not dated, scan.date if dated else "", scan.id)
