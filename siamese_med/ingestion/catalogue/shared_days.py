"""Days that an anonymiser wrote: several patients have all the scans of several visits on one true day.

Two scans of one day at different times are rescans, known to show no change. Where an anonymiser wrote one ordinary day
into every header, all visits would be that. True days are known to ingest alone, which has the secret: the catalogue
has shifted dates, which differ between patients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date

from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.rows import SCAN_TABLE, SESSION_TABLE, SessionRow
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.study.vocabulary import ScanFlag

MIN_PATIENTS_OF_SHARED_DAY = 3
"""So many patients with several visits on one day, and that day is taken for an anonymiser's.

Source: our choice. Two people may well be scanned twice on one day, for a study of rescans; if it was three, their
pairs of that day count as follow-ups, which costs examples and teaches nothing false.
"""


def flag_scans_of_shared_days(catalogue: Catalogue, secret: Pseudonyms) -> None:
    """Flag (`shared_day`) the scans of all visits that several patients have on one true day; flags are never removed.

    Parameters
    ----------
    catalogue
        The open catalogue, whose sessions and scans of this run were written.
    secret
        What the dates were shifted by.
    """
    shared = find_shared_days(catalogue.rows(SESSION_TABLE), secret)
    if not shared:
        return
    rows = catalogue.rows(SCAN_TABLE, "subject", sorted({subject for subject, _ in shared}))
    new = [row for row in rows if (row["subject"], row["date"]) in shared and ScanFlag.SHARED_DAY not in row["flags"]]
    catalogue.write({"scan": [{**row, "flags": sorted([*row["flags"], str(ScanFlag.SHARED_DAY)])} for row in new]})


def find_shared_days(sessions: Iterable[SessionRow], secret: Pseudonyms) -> Collection[tuple[str, str]]:
    """Find the patients, each with the shifted date, whose visits share a true day with those of other patients.

    Examples
    --------
    >>> from datetime import date
    >>> secret = Pseudonyms(bytes(32))
    >>> rows = [
    ...     {"subject": subject, "key": key, "number": 1, "date": secret.shifted(date(2015, 6, 1), subject)}
    ...     for subject in ("sub-a", "sub-b", "sub-c") for key in ("first", "second")
    ... ]
    >>> sorted(subject for subject, _ in find_shared_days(rows, secret)), find_shared_days(rows[:4], secret)
    (['sub-a', 'sub-b', 'sub-c'], set())
    """
    visits: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in sessions:
        if row["date"]:
            visits[row["subject"], row["date"]] += 1
    patients: defaultdict[date | None, set[tuple[str, str]]] = defaultdict(set)
    for (subject, shifted), number in visits.items():
        if number > 1:
            patients[secret.unshifted(shifted, subject)].add((subject, shifted))
    crowded = [found for found in patients.values() if len(found) >= MIN_PATIENTS_OF_SHARED_DAY]
    return set().union(*crowded)
