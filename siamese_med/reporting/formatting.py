"""How numbers and names are written on a page; what is missing becomes a dash."""

from __future__ import annotations

import math
from typing import Any

from siamese_med.study import table_cells

DASH = "–"

EVIDENCE_STRENGTHS = ("weak", "moderate", "moderately strong", "strong")
"""Words for a likelihood ratio up to 10, 100, 1000 and 10 000; above: very strong (ENFSI Guideline for Evaluative
Reporting in Forensic Science, 2015)."""

MAX_NAME_CHARACTERS = 12


def fixed(value: Any, digits: int = 2) -> str:
    """A number with a fixed count of decimals and a true minus sign."""
    number = table_cells.parse_number(value)
    if number is None:
        return DASH
    written = f"{number:.{digits}f}"
    return ("0" + written[2:] if float(written) == 0 and written[0] == "-" else written).replace("-", "−")


def measure(value: Any, digits: int = 2, before: str = "", after: str = "") -> str:
    """A number with its symbol or unit, which goes where the number is missing."""
    return DASH if table_cells.parse_number(value) is None else f"{before}{fixed(value, digits)}{after}"


def probability(value: Any) -> str:
    """Three decimals, and an inequality where these would claim certainty."""
    number = table_cells.parse_number(value)
    if number is None:
        return DASH
    if number < 0.0005:
        return "< 0.001"
    return "> 0.999" if number > 0.9995 else f"{number:.3f}"


def percent(value: Any) -> str:
    """A share of one as per cent, without needless decimals."""
    number = table_cells.parse_number(value)
    return DASH if number is None else f"{100 * number:.3g}\u00a0%"


def count(value: Any) -> str:
    """A whole number, thousands set apart."""
    number = table_cells.parse_integer(value)
    return DASH if number is None else f"{number:,}".replace(",", "\u202f")


def interval(days: Any) -> str:
    """Days in words."""
    number = table_cells.parse_integer(days)
    if number is None:
        return "unknown"
    return "1 day" if number == 1 else f"{number} days"


def known(value: Any) -> str:
    """Text, or a dash for what is missing."""
    return DASH if value in (None, "", ()) else str(value)


def short(name: str) -> str:
    """The beginning of a long pseudonym or digest."""
    return name if len(name) <= MAX_NAME_CHARACTERS + 1 else name[:MAX_NAME_CHARACTERS] + "…"


def sizes(values: Any, digits: int = 1) -> str:
    """Several numbers as a product: 1.0 × 1.0 × 3.0."""
    numbers = table_cells.parse_numbers(values)
    return " × ".join(fixed(number, digits) for number in numbers) if numbers else DASH


def place(values: Any) -> str:
    """A point in mm: (12, −3, 40)."""
    numbers = table_cells.parse_numbers(values)
    return f"({', '.join(fixed(number, 0) for number in numbers)})" if numbers else DASH


def sentence(text: str) -> str:
    """With a capital first letter and a full stop, unless it ends in a mark of its own."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(("?", "!", ".")) or not text else ".")


def spaced(word: str) -> str:
    """A reason or flag word as plain words."""
    return word.replace("_", " ")


def describe_evidence_strength(exponent: float) -> str:
    """Evidence in words, from a log10 likelihood ratio above zero."""
    return EVIDENCE_STRENGTHS[int(exponent)] if exponent < len(EVIDENCE_STRENGTHS) else "very strong"


def describe_likelihood_ratio(exponent: float, most: float) -> str:
    """A log10 likelihood ratio as a multiple of two figures, no more than ten to the power of `most`."""
    if exponent > most:
        step = 10.0 ** math.floor(most - 1)
        return f"more than {_plain(math.floor(10.0**most / step + 1e-6) * step)} times"
    return f"about {_plain(10.0**exponent)} times"


def _plain(ratio: float) -> str:
    return count(float(f"{ratio:.2g}")) if ratio >= 10 else f"{ratio:.2g}"
