"""One cell of a table, read without trust: missing is None, lists may be arrays, numbers may be NaN."""

from __future__ import annotations

import math
from datetime import date
from typing import Any


def parse_number(cell: Any) -> float | None:
    """A finite float, or None for anything else (None, NaN, infinity, text)."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def parse_integer(cell: Any) -> int | None:
    """A whole number, or None."""
    value = parse_number(cell)
    return None if value is None else round(value)


def parse_text(cell: Any) -> str | None:
    """Non-empty text, or None; NaN and pandas' missing values are None."""
    return cell if isinstance(cell, str) and cell else None


def parse_words(cell: Any) -> tuple[str, ...]:
    """A tuple of words from a list, tuple or array; a bare word counts as one; missing is empty."""
    if isinstance(cell, str):
        return (cell,) if cell else ()
    if not hasattr(cell, "__iter__"):
        return ()
    return tuple(str(word) for word in cell)


def parse_numbers(cell: Any) -> tuple[float | None, ...]:
    """A tuple of numbers from a list, tuple or array; missing is empty."""
    return tuple(parse_number(item) for item in cell) if hasattr(cell, "__iter__") and not isinstance(cell, str) else ()


def parse_items(cell: Any) -> list[Any]:
    """The items of a list, tuple or array, as they are; missing is empty."""
    return list(cell) if hasattr(cell, "__iter__") and not isinstance(cell, (str, dict)) else []


def parse_flag(cell: Any) -> bool:
    """Whether the cell holds true; missing is false."""
    return bool(parse_number(cell))


def parse_date(cell: Any) -> date | None:
    """A calendar day from ISO text, or None."""
    try:
        return date.fromisoformat(str(cell)[:10])
    except ValueError:
        return None
