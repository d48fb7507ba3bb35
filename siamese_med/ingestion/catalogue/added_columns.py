"""Columns that a table got without a new layout: older catalogues lack them, are read as they are, and get them later.

A layout version is refused where it is another one, so a study would have to be ingested anew for one column more.
Instead a catalogue without the column is read with the value that its other columns imply, and the next ingest adds the
column, empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from siamese_med.study.vocabulary import UNKNOWN, ContrastSource, ScanSource

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

ADDED_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "scan": (
        *("contrast_source", "contrast_confidence", "acquired", "person", "likeness", "lesions", "acquisition"),
        *("difference", "since"),
    )
}
"""Columns by table that catalogues of the same layout may lack."""


def list_columns_there(connection: Connection, table: Table) -> list[Column[object]]:
    """List the columns of a table that this catalogue has, in their order."""
    from sqlalchemy import inspect

    added = ADDED_COLUMNS.get(table.name, ())
    if not added:
        return list(table.columns)
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    return [column for column in table.columns if column.name not in added or column.name in there]


def add_missing_columns(connection: Connection, table: Table) -> None:
    """Add the columns to a table that this catalogue lacks; their cells are empty."""
    from sqlalchemy.schema import CreateColumn
    from sqlalchemy.sql import text

    there = {column.name for column in list_columns_there(connection, table)}
    for column in table.columns:
        if column.name not in there:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


def fill_added_columns(table: str, row: dict[str, object]) -> dict[str, object]:
    """Return a row with the columns that its catalogue lacks or left empty.

    Before a scan's `contrast_source` was recorded, DICOM headers and names of NIfTI files were all that told it.

    Examples
    --------
    >>> fill_added_columns("scan", {"contrast": "T1w", "source": "nifti"})["contrast_source"]
    'name'
    """
    if table not in ADDED_COLUMNS:
        return row
    row = {
        **row,
        "acquired": row.get("acquired"),
        "person": row.get("person") or {},
        "likeness": row.get("likeness") or "",
        "lesions": row.get("lesions"),
        "difference": row.get("difference"),
        "since": row.get("since"),
        "acquisition": row.get("acquisition") or {},
    }
    if row.get("contrast_source"):
        return row
    told = ContrastSource.HEADER if row["source"] == ScanSource.DICOM else ContrastSource.NAME
    source = ContrastSource.NONE if row["contrast"] == UNKNOWN else told
    return {**row, "contrast_source": str(source), "contrast_confidence": None}
