"""The catalogue: every file ever seen by the hash of its content, what became of it, and the scans.

SQLAlchemy Core, so that the URL may name SQLite or a database server. No path, name, identifier or date of the input is
stored: paths and series are HMACs, dates are shifted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import CatalogueError, EmptyInputError, InputError, SecretError
from siamese_med.ingestion.catalogue.added_columns import ADDED_COLUMNS, add_missing_columns, list_columns_there
from siamese_med.ingestion.catalogue.derived_flags import add_derived_flags
from siamese_med.ingestion.catalogue.file_tallies import build_account_from_tallies, count_files
from siamese_med.ingestion.catalogue.rows import (
    ALARM_TABLE,
    FILE_TABLE,
    META_TABLE,
    SCAN_TABLE,
    CatalogueTable,
    MetaRow,
    RowT,
    ScanRow,
)
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
from siamese_med.study.tables import IngestAccount, build_scan_table

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

FILE_COLUMNS = ("sha256", "size", "outcome", "reason", "scan")
"""Columns of the table of files that `read_file_table` returns."""

LAYOUT_VERSION = "3"
"""Version of the tables; it grows when one changes. A catalogue of another version is refused, not converted."""

DATES_MARK, DATES_IN_PAST = "dates", "past"
"""Row of `meta` of a catalogue whose dates are shifted into the past alone; older ones may have them in the future."""

INGEST_LOCK_FILE = ".ingest.lock"
"""Lock file below the data folder; whatever writes to the catalogue holds it."""

PAGE_OUTDATED_ROW: MetaRow = {"key": "shown", "value": "no"}
"""Row of `meta` that marks the ingest page as outdated.

It is written in one transaction with what the page lacks, so that the mark survives a killed run.
"""


class Catalogue:
    """An open catalogue, for the one ingest run that holds the lock. A new one is created where none exists."""

    def __init__(self, url: str, secret_mark: str) -> None:
        """Open or create the catalogue at an SQLAlchemy URL.

        Raises CatalogueError for another layout version, SecretError for another pseudonym secret, and
        DatabaseFailedError.
        """
        self.tables = get_catalogue_tables()
        self.engine = create_catalogue_engine(url)
        known = self._known()
        check_catalogue_layout(known)
        if known:
            check_catalogue_secret(known, secret_mark)
        self.tables["file"].metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for name in ADDED_COLUMNS:
                add_missing_columns(connection, self.tables[name])
        self.dates_in_past = not known or are_dates_in_past(known)
        if not known:
            marks = {"secret": secret_mark, "layout": LAYOUT_VERSION, DATES_MARK: DATES_IN_PAST}
            self.write({"meta": [{"key": key, "value": value} for key, value in marks.items()]})

    def _known(self) -> dict[str, str]:
        """Read the facts about the catalogue itself; empty for a new one, or where its creation was interrupted."""
        from sqlalchemy import inspect

        if not inspect(self.engine).has_table("meta"):
            return {}
        return {row["key"]: row["value"] for row in self.rows(META_TABLE)}

    def rows(self, table: CatalogueTable[RowT], column: str = "", values: Iterable[str] | None = None) -> list[RowT]:
        """Read the rows of a table: all, or those whose column has one of the values.

        Any number of values is allowed; they are asked for in batches.
        """
        with self.engine.connect() as connection:
            return fetch_rows(connection, table, column, values)

    def scans_of(self, series: Iterable[str]) -> list[ScanRow]:
        """Read the scans of some series, with the flags that follow from all scans, see `derived_flags`."""
        wanted, rows = set(series), add_derived_flags(self.rows(SCAN_TABLE), self.rows(ALARM_TABLE))
        return [row for row in rows if row["series"] in wanted]

    def write(
        self,
        rows: Mapping[str, Sequence[Mapping[str, object]]],
        gone: Iterable[str] = (),
        unbound: Iterable[ContentUnit] = (),
        unread: Iterable[str] = (),
    ) -> None:
        """Replace rows by their primary keys, and delete others, in one transaction.

        Parameters
        ----------
        rows
            New rows by table name.
        gone
            Ids of scans to delete, with their thumbnails.
        unbound
            Contents whose outcome no longer depends on the rules.
        unread
            Hashes that stood for files of unknown content.
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
        """Delete the paths of one input that are no longer there, and return their number.

        Their contents remain in the catalogue. `source` is the HMAC of the input, `present` holds the HMACs of its
        paths.
        """
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
        """Close the database connections; the catalogue cannot be used afterwards."""
        self.engine.dispose()


def mark_ingest_page_current(url: str) -> None:
    """Record that the ingest page shows everything in the catalogue; call it after the page was written."""
    engine = create_catalogue_engine(url)
    with engine.begin() as connection:
        replace_rows(connection, get_catalogue_tables()["meta"], [{**PAGE_OUTDATED_ROW, "value": "yes"}])
    engine.dispose()


def check_catalogue_layout(known: Mapping[str, str]) -> None:
    """Check that the meta rows belong to a catalogue of this layout version; an empty mapping passes.

    Raises CatalogueError for a catalogue of another layout.
    """
    if known and known.get("layout") != LAYOUT_VERSION:
        found = known.get("layout", "1")
        raise CatalogueError(
            f"the catalogue has layout {found} and this version needs {LAYOUT_VERSION}: "
            "ingest again into another --data"
        )


def are_dates_in_past(known: Mapping[str, str]) -> bool:
    """Tell from the meta rows whether all dates of a catalogue are shifted into the past."""
    return known.get(DATES_MARK) == DATES_IN_PAST


def check_catalogue_secret(known: Mapping[str, str], mark: str) -> None:
    """Check that the catalogue was made under this pseudonym secret, and raise SecretError where it was not.

    Two secrets in one catalogue would give a patient two pseudonyms, unnoticed.
    """
    if known.get("secret") != mark:
        raise SecretError("this catalogue was made under another pseudonym secret: name that one, or another --data")


def read_scan_table(url: str) -> pd.DataFrame:
    """Read all scans, sorted by id, with the columns of `study.tables.SCAN_COLUMNS`.

    Raises EmptyInputError where nothing was ingested yet.
    """
    with open_catalogue(url) as connection:
        return build_scan_table(
            add_derived_flags(select_rows(connection, SCAN_TABLE), select_rows(connection, ALARM_TABLE))
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
            columns = list_columns_there(connection, get_catalogue_tables()[name])
            stored = [type_coerce(column, String) if name == "scan" else column for column in columns]
            rows = connection.execute(select(*stored).order_by(next(iter(columns))))
            for row in rows:
                found.update(repr(tuple(row)).encode())
    return found.hexdigest()


def replace_wrong_patient_alarms(url: str, alarms: Mapping[str, str]) -> None:
    """Replace all wrong-patient alarms by these (content hash by scan id).

    An alarm holds only for this content of the scan. Nothing is written where the alarms are the same already.
    """
    with open_catalogue(url) as connection:
        if {row["scan"]: row["sha256"] for row in select_rows(connection, ALARM_TABLE)} == dict(alarms):
            return
    engine, table = create_catalogue_engine(url), get_catalogue_tables()["alarm"]
    with engine.begin() as connection:
        connection.execute(table.delete())
        replace_rows(connection, table, [{"scan": scan, "sha256": content} for scan, content in sorted(alarms.items())])
    engine.dispose()


def read_file_table(url: str) -> pd.DataFrame:
    """Read every distinct content ever seen, with the columns of `FILE_COLUMNS`.

    Sizes are in bytes. There is no path and no name. Raises EmptyInputError where nothing was ingested yet.
    """
    import pandas as pd

    rows = sorted(read_catalogue_rows(url, FILE_TABLE), key=lambda row: (row["sha256"], row["claim"]))
    return pd.DataFrame(rows, columns=list(FILE_COLUMNS))


def read_account(url: str) -> IngestAccount:
    """Count what became of every file ever seen; a second path to a known content is a duplicate.

    Raises EmptyInputError where nothing was ingested yet.
    """
    with open_catalogue(url) as connection:
        return build_account_from_tallies(count_files(connection))


def read_catalogue_rows(
    url: str, table: CatalogueTable[RowT], column: str = "", values: Iterable[str] | None = None
) -> list[RowT]:
    """Open an existing catalogue and read rows of one table, see `select_rows`.

    Raises EmptyInputError, CatalogueError, InputError or DatabaseFailedError.
    """
    with open_catalogue(url) as connection:
        return select_rows(connection, table, column, values)


def select_rows(
    connection: Connection, table: CatalogueTable[RowT], column: str = "", values: Iterable[str] | None = None
) -> list[RowT]:
    """Read rows of a table over an open connection: all, or those whose column has one of the values.

    Parameters
    ----------
    connection
        From `open_catalogue`.
    table
        One of the tables named in `catalogue.rows`.
    column, values
        Column to select by, and its wanted values; None selects all rows.

    Raises
    ------
    CatalogueError
        A row holds a path where none may be.
    """
    return fetch_rows(connection, table, column, values)


@contextmanager
def open_catalogue(url: str, secret_mark: str | None = None) -> Iterator[Connection]:
    """Connect to an existing catalogue; never creates one.

    With `secret_mark`, the catalogue must have been made under that pseudonym secret.

    Raises
    ------
    EmptyInputError
        There is no catalogue, or it is empty.
    CatalogueError, SecretError
        It has another layout, or was made under another secret.
    InputError
        It cannot be read.
    """
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
            known = {row["key"]: row["value"] for row in fetch_rows(connection, META_TABLE)}
            check_catalogue_layout(known)
            if secret_mark is not None:
                check_catalogue_secret(known, secret_mark)
            yield connection
    except DatabaseError as error:
        raise InputError("the catalogue cannot be read: restore it, or remove it and ingest again") from error
    finally:
        engine.dispose()
