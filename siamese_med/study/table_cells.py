"""Parse one cell of a table that is not trusted: missing is None, lists may be arrays, numbers may be NaN."""

from __future__ import annotations

import math
from datetime import date
from enum import StrEnum
from typing import Any


class CellKind(StrEnum):
    """The type of the cells of a column; errors use its word."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "yes or no"
    LIST = "list"
    RECORD = "record"


def parse_number(cell: Any) -> float | None:
    """Return the cell as a finite float, or None for anything else.

    Examples
    --------
    >>> parse_number("1.5"), parse_number(float("nan")), parse_number("many"), parse_number(10**400)
    (1.5, None, None, None)
    """
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def parse_integer(cell: Any) -> int | None:
    """Return the cell as a whole number, rounded, or None."""
    value = parse_number(cell)
    return None if value is None else round(value)


def parse_text(cell: Any) -> str | None:
    """Return the cell if it is non-empty text, else None; NaN and pandas' missing values are None."""
    return cell if isinstance(cell, str) and cell else None


def parse_words(cell: Any) -> tuple[str, ...]:
    """Return a tuple of words from a list, tuple or array; a single word counts as one, missing is empty.

    Examples
    --------
    >>> parse_words(["inverted", "lossy"]), parse_words("inverted"), parse_words(None)
    (('inverted', 'lossy'), ('inverted',), ())
    """
    if isinstance(cell, str):
        return (cell,) if cell else ()
    if not hasattr(cell, "__iter__"):
        return ()
    return tuple(str(word) for word in cell)


def parse_numbers(cell: Any) -> tuple[float | None, ...]:
    """Return a tuple of numbers from a list, tuple or array; missing is empty, an unreadable number is None."""
    return tuple(parse_number(item) for item in cell) if hasattr(cell, "__iter__") and not isinstance(cell, str) else ()


def parse_items(cell: Any) -> list[Any]:
    """Return the items of a list, tuple or array as they are; missing is empty."""
    return list(cell) if hasattr(cell, "__iter__") and not isinstance(cell, (str, dict)) else []


def parse_flag(cell: Any) -> bool:
    """Return whether the cell holds true; missing is false."""
    return bool(parse_number(cell))


def parse_date(cell: Any) -> date | None:
    """Return the calendar day of ISO 8601 text, or None.

    Examples
    --------
    >>> parse_date("2021-03-01T08:30:00"), parse_date("yesterday")
    (datetime.date(2021, 3, 1), None)
    """
    try:
        return date.fromisoformat(str(cell)[:10])
    except ValueError:
        return None
