"""Checks of catalogue rows whose text becomes part of a path, since the database may have been edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siamese_med.errors import CatalogueError
from siamese_med.runtime import untrusted_input

NAME_COLUMNS = {"scan": ("id", "subject", "session", "since"), "name": ("id", "subject", "session")}
"""Columns, by table, that must be a single safe name."""

PATH_COLUMNS = {"scan": ("path", "mask", "lesions", "difference")}
"""Columns, by table, that must be a path within the data folder."""


def check_catalogue_row(table: str, row: Mapping[Any, Any]) -> dict[str, object]:
    """Check the names and paths in one row, and return the row as a dictionary.

    Raises
    ------
    CatalogueError
        A name contains a path separator, or a path leads out of the data folder.
    """
    for columns, sound in (
        (NAME_COLUMNS, untrusted_input.is_safe_name),
        (PATH_COLUMNS, untrusted_input.is_safe_relative_path),
    ):
        for column in columns.get(table, ()):
            if row.get(column) is not None and not sound(row[column]):
                raise CatalogueError(
                    f"the catalogue holds a {table} with a path where none may be ({column}): restore it, "
                    "or ingest again into another --data"
                )
    return dict(row)
