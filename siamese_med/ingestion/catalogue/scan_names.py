"""Names of scans: session numbers and scan ids, once given, never change; both are given before anything is decoded.

All names of a run are given in one transaction, in an order that depends on the input alone, so that an interrupted run
ends with the same names as an undisturbed one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.rows import NAME_TABLE, SESSION_TABLE, NameRow, SessionRow
from siamese_med.ingestion.inputs.sources import make_natural_sort_key
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms

MAX_DAYS_OF_STUDY = 1
"""Days that the dates of one study may lie apart: it may pass midnight."""


@dataclass(frozen=True)
class NameCandidate:
    """A volume that needs a name. `key`, `session_key` and `series` are HMACs; `order` sorts within a session."""

    key: str
    subject: str
    session_key: str
    session_label: str
    date: date | None
    suffix: str
    order: tuple[int, str, str]
    series: str


@dataclass(frozen=True)
class ScanName:
    """The id, subject and session of a scan. The id is unique, and is the file name without its ending."""

    id: str
    subject: str
    session: str


def assign_scan_names(
    candidates: Sequence[NameCandidate], catalogue: Catalogue, secret: Pseudonyms
) -> dict[str, ScanName]:
    """Give each candidate a name, and write new names to the catalogue.

    Names from earlier runs are kept. New sessions are numbered by date within the subject, undated ones last. A second
    scan of one session and suffix gets the BIDS entity `run-2`, and so on.

    Returns
    -------
    dict of str to ScanName
        The name of each candidate's `key`.
    """
    subjects = sorted({one.subject for one in candidates})
    known_sessions = catalogue.rows(SESSION_TABLE, "subject", subjects)
    candidates = part_sessions_by_day(candidates, known_sessions, secret)
    sessions, new_sessions = _sessions(candidates, known_sessions, secret)
    known = catalogue.rows(NAME_TABLE, "subject", subjects)
    given = {row["key"]: ScanName(row["id"], row["subject"], row["session"]) for row in known}
    runs = Counter(_without_run(name.id) for name in given.values())
    rows: list[NameRow] = []
    for one in sorted(candidates, key=lambda one: (one.subject, one.order, one.key)):
        if one.key in given:
            continue
        session = f"ses-{sessions[one.subject, one.session_key]:02d}"
        stem = f"{one.subject}_{session}_{one.suffix}"
        runs[stem] += 1
        given[one.key] = ScanName(_with_run(stem, runs[stem]), one.subject, session)
        name = given[one.key]
        rows.append({"key": one.key, "id": name.id, "subject": name.subject, "session": session, "series": one.series})
    catalogue.write({"session": new_sessions, "name": rows})
    return {one.key: given[one.key] for one in candidates}


def part_sessions_by_day(
    candidates: Sequence[NameCandidate], known: Sequence[SessionRow], secret: Pseudonyms
) -> list[NameCandidate]:
    """Part the visits of one Study Instance UID whose dates lie apart: some anonymisers write one UID for all studies.

    The session that is known, or else the first date, keeps the key. Visits that a label names are left as they are.
    """
    dates = {(row["subject"], row["key"]): row["date"] for row in known}
    parted = []
    for one in sorted(candidates, key=_by_date):
        shifted = secret.shifted(one.date, one.subject)
        first = dates.setdefault((one.subject, one.session_key), shifted)
        if not one.session_label and first and shifted and _lie_apart(first, shifted):
            one = replace(one, session_key=secret.label("session day", one.session_key, shifted))
            dates.setdefault((one.subject, one.session_key), shifted)
        parted.append(one)
    return parted


def _lie_apart(first: str, second: str) -> bool:
    days = date.fromisoformat(second) - date.fromisoformat(first)
    return abs(days.days) > MAX_DAYS_OF_STUDY


def _with_run(stem: str, run: int) -> str:
    """Insert the BIDS entity `run` before the suffix; the first of its kind needs none."""
    entities, _, suffix = stem.rpartition("_")
    return stem if run == 1 else f"{entities}_run-{run}_{suffix}"


def _without_run(scan: str) -> str:
    return re.sub(r"_run-\d+", "", scan)


def _sessions(
    candidates: Sequence[NameCandidate], known: list[SessionRow], secret: Pseudonyms
) -> tuple[dict[tuple[str, str], int], list[SessionRow]]:
    """Number all sessions, and make the rows of new ones: by date within the subject, undated ones last by label."""
    numbers = {(row["subject"], row["key"]): int(row["number"]) for row in known}
    last: defaultdict[str, int] = defaultdict(int)
    for (subject, _), number in numbers.items():
        last[subject] = max(last[subject], number)
    new: dict[tuple[str, str], NameCandidate] = {}
    for one in sorted(candidates, key=_by_date):
        if (one.subject, one.session_key) not in numbers:
            new.setdefault((one.subject, one.session_key), one)
    rows: list[SessionRow] = []
    for (subject, key), one in new.items():
        last[subject] += 1
        numbers[subject, key] = last[subject]
        shifted = secret.shifted(one.date, subject)
        rows.append({"subject": subject, "key": key, "number": last[subject], "date": shifted})
    return numbers, rows


def _by_date(one: NameCandidate) -> tuple[object, ...]:
    return one.subject, one.date is None, one.date or date.max, make_natural_sort_key(one.session_label), one.order
