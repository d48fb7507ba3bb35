"""The tables of the catalogue, how rows are read, replaced and deleted, and what a failing database means."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from siamese_med.errors import DatabaseFailedError, InputError
from siamese_med.ingestion.catalogue import added_columns
from siamese_med.ingestion.catalogue.row_checks import check_catalogue_row
from siamese_med.ingestion.catalogue.rows import FILE_TABLE, CatalogueTable, RowT
from siamese_med.runtime.extras import require_extra
from siamese_med.runtime.files import make_no_space_error, translate_write_errors
from siamese_med.study.tables import SCAN_COLUMNS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Select, Table
    from sqlalchemy.engine import ExceptionContext

ContentUnit = tuple[str, str]
"""A content and the claim on it: SHA-256, and the claim's HMAC or an empty text."""

SHA256_HEX_CHARS = 64
"""Hexadecimal digits of a SHA-256."""

MAX_VALUES_PER_QUERY = 500
"""Values in one IN list; databases limit their number."""

LOCK_TIMEOUT_S = 30.0
"""Seconds to wait for another program that locks the database."""

SQLITE_PRIMARY_CODE_MASK = 0xFF
"""Bits of an SQLite error code that hold its primary code (sqlite.org/rescode.html)."""


def is_unread_unit(unit: ContentUnit) -> bool:
    """Tell whether a unit stands for a file of unknown content: it has an HMAC of the path in place of the SHA-256.

    Examples
    --------
    >>> is_unread_unit(("0" * 64, "")), is_unread_unit(("abcdefghijklmnopqrstuvwxyz", ""))
    (False, True)
    """
    return len(unit[0]) != SHA256_HEX_CHARS


@lru_cache(maxsize=1)
def get_catalogue_tables() -> dict[str, Table]:
    """Return the tables of the catalogue by name; their rows are typed in `catalogue.rows`.

    A `series` is a group of files that were judged together; `subject` holds encrypted identifiers. A `verdict` names
    the rules that an outcome depends on. An `alarm` belongs to a scan with a certain content, so that it ends with that
    content and survives another ingest.
    """
    from sqlalchemy import JSON, BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table

    meta = MetaData()

    def words(*names: str, primary: int = 1) -> list[Column[Any]]:
        return [Column(name, String, primary_key=place < primary) for place, name in enumerate(names)]

    many = ("shape", "spacing_mm", "affine", "flags")
    types: dict[str, Any] = {**dict.fromkeys(many, JSON), "changed": Integer, "contrast_confidence": Float}
    scan = [Column(name, types.get(name, String)) for name in SCAN_COLUMNS[1:]]
    return {
        "file": Table("file", meta, *words("sha256", "claim", primary=2), Column("size", BigInteger),
                      *words("outcome", "reason", "scan", "series", primary=0)),
        "path": Table("path", meta, *words("key", "sha256", "claim", "input"), Column("size", BigInteger),
                      Column("changed_ns", BigInteger), Column("inode", BigInteger)),
        "series": Table("series", meta, *words("key", "label"), Column("subjects", JSON),
                        *words("visit", "date", "modality", "contrast", "source", primary=0),
                        Column("slices", Integer)),
        "subject": Table("subject", meta, *words("subject", "sealed")),
        "thumbnail": Table("thumbnail", meta, *words("id"), Column("picture", LargeBinary)),
        "session": Table("session", meta, *words("subject", "key", primary=2), Column("number", Integer),
                         *words("date", primary=0)),
        "name": Table("name", meta, *words("key", "id", "subject", "session", "series")),
        "scan": Table("scan", meta, *words("id"), *scan, *words("series", primary=0), Column("nan_voxels", Integer),
                      Column("person", JSON), *words("likeness", primary=0), Column("acquisition", JSON)),
        "alarm": Table("alarm", meta, *words("scan"), *words("sha256", primary=0)),
        "transfer": Table("transfer", meta, *words("key", "signature", "rules"), Column("outcomes", JSON)),
        "verdict": Table("verdict", meta, *words("sha256", "claim", "rules", primary=2)),
        "meta": Table("meta", meta, *words("key", "value")),
    }  # fmt: skip


def create_catalogue_engine(url: str) -> Engine:
    """Make an SQLAlchemy engine for a catalogue's URL; the folder of an SQLite file is created.

    Errors of the machine are raised as NoSpaceError or DatabaseFailedError, with a message that says what to do.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url

    require_database_driver(url)
    parsed = make_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    folder = Path(parsed.database or "").parent
    if sqlite and parsed.database:
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": LOCK_TIMEOUT_S} if sqlite else {})
    event.listen(engine, "handle_error", partial(_explain, folder if sqlite else None))
    return engine


def require_database_driver(url: str) -> None:
    """Check that the driver of a catalogue's URL is installed; raises MissingExtraError where it is not."""
    from sqlalchemy.engine import make_url

    if make_url(url).get_driver_name() == "pg8000":
        require_extra("postgresql")


def _explain(folder: Path | None, context: ExceptionContext) -> None:
    """Raise the error for a failing disk or server or a damaged file; pass over all others."""
    code = getattr(context.original_exception, "sqlite_errorcode", 0) & SQLITE_PRIMARY_CODE_MASK
    if code == sqlite3.SQLITE_FULL:
        raise make_no_space_error(folder or Path())
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise DatabaseFailedError(
            "the catalogue is locked by another program: let that end, then run the same command again"
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        raise DatabaseFailedError(
            f"the catalogue in {folder} cannot be read or written: check that its disk has space and works and that "
            "the folder is yours, then run the same command again"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise InputError(
            f"the catalogue in {folder} is damaged: restore a copy, or move it away and ingest all input again"
        )
    if context.is_disconnect or (folder is None and context.connection is None):
        raise DatabaseFailedError("the catalogue's database server does not answer: start it, then run again")


def fetch_rows(
    connection: Connection, table: CatalogueTable[RowT], column: str = "", values: Iterable[str] | None = None
) -> list[RowT]:
    """Read rows of a table: all where `values` is None, else those whose column has one of the values.

    Values are asked for in batches of `MAX_VALUES_PER_QUERY`. Names and paths in the rows are checked, see
    `row_checks.check_catalogue_row`.
    """
    layout = get_catalogue_tables()[table]
    query_all = layout.select().with_only_columns(*added_columns.list_columns_there(connection, layout))
    if values is None:
        return _checked_rows(connection, table, query_all)
    wanted, found = list(values), []
    for start in range(0, len(wanted), MAX_VALUES_PER_QUERY):
        query = query_all.where(layout.c[column].in_(wanted[start : start + MAX_VALUES_PER_QUERY]))
        found += _checked_rows(connection, table, query)
    return found


def _checked_rows(connection: Connection, table: CatalogueTable[RowT], query: Select[Any]) -> list[RowT]:
    """Return the rows of a query with the table's type. Only names and paths are checked here."""
    rows = (check_catalogue_row(table, row) for row in connection.execute(query).mappings())
    return cast("list[RowT]", [added_columns.fill_added_columns(table, row) for row in rows])


def replace_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace rows by their primary keys: delete and insert, which every database supports.

    Every row must have all columns of the primary key. An empty list does nothing. The caller's transaction is used.
    """
    from sqlalchemy import and_, bindparam

    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    match = and_(*(table.c[key] == bindparam(f"key_{key}") for key in keys))
    connection.execute(table.delete().where(match), [{f"key_{key}": row[key] for key in keys} for row in rows])
    connection.execute(table.insert(), [dict(row) for row in rows])


def delete_verdict_rows(connection: Connection, units: Iterable[ContentUnit]) -> None:
    """Delete the rules of these contents, since their outcomes no longer depend on them and stand under any rules."""
    table = get_catalogue_tables()["verdict"]
    for digest, claim in units:
        connection.execute(table.delete().where(table.c.sha256 == digest, table.c.claim == claim))


def delete_file_rows(connection: Connection, digests: Iterable[str]) -> None:
    """Delete the rows of contents, their rules, and the groups that have no other file.

    `digests` are SHA-256 hashes, or the HMACs that stand for files of unknown content.
    """
    file, series, verdict = (get_catalogue_tables()[name] for name in ("file", "series", "verdict"))
    wanted = list(digests)
    groups = {row["series"] for row in fetch_rows(connection, FILE_TABLE, "sha256", wanted)}
    for digest in wanted:
        for table in (file, verdict):
            connection.execute(table.delete().where(table.c.sha256 == digest))
    for group in groups - {row["series"] for row in fetch_rows(connection, FILE_TABLE, "series", groups)}:
        connection.execute(series.delete().where(series.c.key == group))
