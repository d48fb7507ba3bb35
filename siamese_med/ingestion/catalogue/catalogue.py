"""The catalogue: every file ever seen by the hash of its content, what became of it, and the scans.

SQLAlchemy Core, so that the URL may name SQLite or a server. No path, name, identifier or date of the input is in it:
paths and series appear as HMACs, dates shifted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from siamese_med.errors import CatalogueError, EmptyInputError, InputError, SecretError
from siamese_med.ingestion.catalogue.tables import (
    ContentUnit,
    create_catalogue_engine,
    delete_file_rows,
    delete_verdict_rows,
    fetch_rows,
    get_catalogue_tables,
    is_unread_unit,
    replace_rows,
)
from siamese_med.ingestion.catalogue.wrong_patient_flags import add_wrong_patient_flags
from siamese_med.ingestion.reasons import FILE_OUTCOMES
from siamese_med.study.tables import IngestAccount, build_scan_table

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

FILE_COLUMNS = ("sha256", "size", "outcome", "reason", "scan")
LAYOUT_VERSION = "3"
"""Grows when a table changes; a catalogue of another layout is refused, not converted."""

INGEST_LOCK_FILE = ".ingest.lock"
"""Below the data folder; whoever writes to the catalogue holds it."""

PAGE_OUTDATED_ROW = {"key": "shown", "value": "no"}
"""A row of `meta`: the ingest page lacks something; written with what it lacks, so that a killed run is seen."""


class Catalogue:
    """An open catalogue, for the one ingest run that holds the lock."""

    def __init__(self, url: str, secret_mark: str) -> None:
        self.tables = get_catalogue_tables()
        self.engine = create_catalogue_engine(url)
        known = self._known()
        check_catalogue_layout(known)
        if known:
            check_catalogue_secret(known, secret_mark)
        self.tables["file"].metadata.create_all(self.engine)
        if not known:
            marks = {"secret": secret_mark, "layout": LAYOUT_VERSION}
            self.write({"meta": [{"key": key, "value": value} for key, value in marks.items()]})

    def _known(self) -> dict[str, str]:
        """What the catalogue says of itself; nothing where it is new, also where its making was interrupted."""
        from sqlalchemy import inspect

        if not inspect(self.engine).has_table("meta"):
            return {}
        return {row["key"]: row["value"] for row in self.rows("meta")}

    def rows(self, table: str, column: str = "", values: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Rows of a table as dictionaries, all or those whose column is among the values."""
        with self.engine.connect() as connection:
            return fetch_rows(connection, self.tables[table], column, values)

    def scans_of(self, series: Iterable[str]) -> list[dict[str, Any]]:
        """The scan rows of some series, with the alarms that stand among their flags."""
        return add_wrong_patient_flags(self.rows("scan", "series", sorted(series)), self.rows("alarm"))

    def write(
        self,
        rows: Mapping[str, list[dict[str, Any]]],
        gone: Iterable[str] = (),
        unbound: Iterable[ContentUnit] = (),
        unread: Iterable[str] = (),
    ) -> None:
        """Replace rows by their primary keys, in one transaction with what goes.

        `gone`: scans; `unbound`: contents whose verdict holds by any rules; `unread`: what stood for files whose
        content was not known.
        """
        with self.engine.begin() as connection:
            delete_verdict_rows(connection, unbound)
            for name, many in rows.items():
                replace_rows(connection, self.tables[name], many)
            for one in gone:
                for table in (self.tables["scan"], self.tables["thumbnail"]):
                    connection.execute(table.delete().where(table.c.id == one))
            delete_file_rows(connection, unread)

    def forget_paths(self, source: str, present: set[str]) -> int:
        """Drop paths of one input that are no longer there, and say how many; their contents stay accounted for."""
        path = self.tables["path"]
        with self.engine.begin() as connection:
            columns = path.select().with_only_columns(path.c.key, path.c.sha256).where(path.c.input == source)
            gone = {key: digest for key, digest in connection.execute(columns).all() if key not in present}
            for key in gone:
                connection.execute(path.delete().where(path.c.key == key))
            delete_file_rows(connection, {digest for digest in gone.values() if is_unread_unit((digest, ""))})
            if gone:
                replace_rows(connection, self.tables["meta"], [PAGE_OUTDATED_ROW])
        return len(gone)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def mark_ingest_page_current(url: str) -> None:
    """Write down that the ingest page holds all that the catalogue does."""
    engine = create_catalogue_engine(url)
    with engine.begin() as connection:
        replace_rows(connection, get_catalogue_tables()["meta"], [{**PAGE_OUTDATED_ROW, "value": "yes"}])
    engine.dispose()


def check_catalogue_layout(known: Mapping[str, str]) -> None:
    """Raise CatalogueError where the meta rows are those of another version's catalogue."""
    if known and known.get("layout") != LAYOUT_VERSION:
        found = known.get("layout", "1")
        raise CatalogueError(
            f"the catalogue has layout {found} and this version needs {LAYOUT_VERSION}: "
            "ingest again into another --data"
        )


def check_catalogue_secret(known: Mapping[str, str], mark: str) -> None:
    """Raise SecretError for another secret: two in one catalogue would give a patient two pseudonyms unnoticed."""
    if known.get("secret") != mark:
        raise SecretError("this catalogue was made under another pseudonym secret: name that one, or another --data")


def read_scan_table(url: str) -> pd.DataFrame:
    """Every scan, sorted by id, with tables.SCAN_COLUMNS; raises EmptyInputError where nothing was ingested yet."""
    with open_catalogue(url) as connection:
        return build_scan_table(
            add_wrong_patient_flags(select_rows(connection, "scan"), select_rows(connection, "alarm"))
        )


def digest_scans(url: str) -> str:
    """Digest all that `read_scan_table` gives, as the database keeps it: equal digests mean equal scan tables.

    It takes a fraction of the time of `read_scan_table`, since no row is parsed or checked.

    Parameters
    ----------
    url
        SQLAlchemy URL of the catalogue.

    Returns
    -------
    str
        SHA-256, as hex.

    Raises
    ------
    EmptyInputError
        Where nothing was ingested yet.
    """
    from sqlalchemy import String, select, type_coerce

    found = hashlib.sha256()
    with open_catalogue(url) as connection:
        for name in ("scan", "alarm"):
            columns = get_catalogue_tables()[name].c
            stored = [type_coerce(column, String) if name == "scan" else column for column in columns]
            rows = connection.execute(select(*stored).order_by(next(iter(columns))))
            for row in rows:
                found.update(repr(tuple(row)).encode())
    return found.hexdigest()


def replace_wrong_patient_alarms(url: str, alarms: Mapping[str, str]) -> None:
    """Let the alarms of these scans (content by id) stand, and no others."""
    with open_catalogue(url) as connection:
        if {row["scan"]: row["sha256"] for row in select_rows(connection, "alarm")} == dict(alarms):
            return
    engine, table = create_catalogue_engine(url), get_catalogue_tables()["alarm"]
    with engine.begin() as connection:
        connection.execute(table.delete())
        replace_rows(connection, table, [{"scan": scan, "sha256": content} for scan, content in sorted(alarms.items())])
    engine.dispose()


def read_file_table(url: str) -> pd.DataFrame:
    """Every distinct content ever seen: hash, size, outcome, reason and scan; no path and no name."""
    import pandas as pd

    rows = sorted(read_catalogue_rows(url, "file"), key=lambda row: (row["sha256"], row["claim"]))
    return pd.DataFrame([{name: row[name] for name in FILE_COLUMNS} for row in rows], columns=list(FILE_COLUMNS))


def read_account(url: str) -> IngestAccount:
    """What became of every file ever seen; a second path to a known content is a duplicate."""
    with open_catalogue(url) as connection:
        return build_account_from_tallies(count_files(connection))


class FileTally(NamedTuple):
    """Contents of one group with one outcome that lie at equally many places: 0 where they are no longer there."""

    series: str
    outcome: str
    reason: str
    places: int
    files: int


def count_files(connection: Connection) -> list[FileTally]:
    """Every file ever seen, counted by the database."""
    from sqlalchemy import and_, func, literal_column, select

    file, path = (get_catalogue_tables()[name] for name in ("file", "path"))
    copies = select(path.c.sha256, path.c.claim, func.count().label("places")).group_by(path.c.sha256, path.c.claim)
    at = copies.subquery()
    joined = file.outerjoin(at, and_(file.c.sha256 == at.c.sha256, file.c.claim == at.c.claim))
    places = func.coalesce(at.c.places, literal_column("0"))  # no parameter: PostgreSQL would take two for two values
    by = (file.c.series, file.c.outcome, file.c.reason, places)
    return [FileTally(*row) for row in connection.execute(select(*by, func.count()).select_from(joined).group_by(*by))]


def build_account_from_tallies(counted: Iterable[FileTally]) -> IngestAccount:
    """The account over groups; a content counts once as what it became, and as a duplicate at each further place."""
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
    """An account from counts of outcomes and of reason words."""
    counts = {name: outcomes.get(name, 0) for name in FILE_OUTCOMES}
    return IngestAccount(files_seen=sum(outcomes.values()), **counts, reasons=dict(sorted(words.items())))


def read_catalogue_rows(
    url: str, table: str, column: str = "", values: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of one table of an existing catalogue, all or those whose column is among the values."""
    with open_catalogue(url) as connection:
        return select_rows(connection, table, column, values)


def select_rows(
    connection: Connection, table: str, column: str = "", values: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of a table by an open connection."""
    return fetch_rows(connection, get_catalogue_tables()[table], column, values)


@contextmanager
def open_catalogue(url: str, secret_mark: str | None = None) -> Iterator[Connection]:
    """A connection to an existing catalogue of this layout, and of this secret; looking never makes one."""
    from sqlalchemy import inspect
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import DatabaseError

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise EmptyInputError("there is no catalogue yet: run `siamese-med ingest INPUT` first")
    engine = create_catalogue_engine(url)
    try:
        if not inspect(engine).has_table("file"):
            raise EmptyInputError("the catalogue is empty: run `siamese-med ingest INPUT` first")
        with engine.connect() as connection:
            known = {
                row["key"]: row["value"] for row in fetch_rows(connection, get_catalogue_tables()["meta"], "", None)
            }
            check_catalogue_layout(known)
            if secret_mark is not None:
                check_catalogue_secret(known, secret_mark)
            yield connection
    except DatabaseError as error:
        raise InputError("the catalogue cannot be read: restore it, or remove it and ingest again") from error
    finally:
        engine.dispose()
