"""Counting what became of all files of a catalogue, by group, outcome and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from siamese_med.ingestion.catalogue.tables import get_catalogue_tables
from siamese_med.ingestion.reasons import FILE_OUTCOMES
from siamese_med.study.tables import IngestAccount

if TYPE_CHECKING:
    from sqlalchemy import Connection


class FileTally(NamedTuple):
    """Number of contents of one group with equal outcome and number of paths (0: the file is no longer there)."""

    series: str
    outcome: str
    reason: str
    places: int
    files: int


def count_files(connection: Connection) -> list[FileTally]:
    """Count every file ever seen by group, outcome, reason and number of paths.

    The database does the counting, so that memory does not grow with the number of files.
    """
    from sqlalchemy import and_, func, literal_column, select

    file, path = (get_catalogue_tables()[name] for name in ("file", "path"))
    copies = select(path.c.sha256, path.c.claim, func.count().label("places")).group_by(path.c.sha256, path.c.claim)
    at = copies.subquery()
    joined = file.outerjoin(at, and_(file.c.sha256 == at.c.sha256, file.c.claim == at.c.claim))
    places = func.coalesce(at.c.places, literal_column("0"))  # no parameter: PostgreSQL would take two for two values
    by = (file.c.series, file.c.outcome, file.c.reason, places)
    return [FileTally(*row) for row in connection.execute(select(*by, func.count()).select_from(joined).group_by(*by))]


def build_account_from_tallies(counted: Iterable[FileTally]) -> IngestAccount:
    """Sum the tallies of all groups.

    A content counts once with its outcome, and as a duplicate for each further path.

    Examples
    --------
    >>> account = build_account_from_tallies([FileTally("series", "ingested", "", 2, 10)])
    >>> account.ingested, account.duplicate
    (10, 10)
    """
    outcomes: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for one in counted:
        further = one.files * max(one.places - 1, 0)
        outcomes.update({one.outcome: one.files})
        outcomes.update({"duplicate": further})
        words.update({one.reason: one.files} if one.reason else {})
        words.update({"duplicate": further} if further else {})
    return build_account(outcomes, words)


def build_account(outcomes: Mapping[str, int], words: Mapping[str, int]) -> IngestAccount:
    """Make an account from the numbers of files by outcome and by reason word.

    Examples
    --------
    >>> build_account({"ingested": 3, "skipped": 1}, {"localizer": 1}).files_seen
    4
    """
    counts = {name: outcomes.get(name, 0) for name in FILE_OUTCOMES}
    return IngestAccount(files_seen=sum(outcomes.values()), **counts, reasons=dict(sorted(words.items())))
