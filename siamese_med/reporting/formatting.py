"""Format numbers and names for a page. A missing value becomes a dash.

The templates use most of these functions as filters, under the same names.
"""

from __future__ import annotations

import math

from siamese_med.study import table_cells

DASH = "–"
"""Shown for a missing value."""

EVIDENCE_STRENGTHS = ("weak", "moderate", "moderately strong", "strong")
"""Words for a likelihood ratio up to 10, 100, 1000 and 10 000; above: very strong (ENFSI Guideline for Evaluative
Reporting in Forensic Science, 2015)."""

MAX_NAME_CHARACTERS = 12
"""Characters of a pseudonym or digest that `short` keeps before the ellipsis."""


def fixed(value: object, digits: int = 2) -> str:
    """Format a number with a fixed number of decimals and a true minus sign (U+2212).

    Parameters
    ----------
    value
        Cell of a table; a dash is returned for None, NaN, infinity and text that is no number.
    digits
        Number of decimals. A number that rounds to zero has no sign.

    Examples
    --------
    >>> fixed(-1.26, 1), fixed(-0.001), fixed(None)
    ('−1.3', '0.00', '–')
    """
    number = table_cells.parse_number(value)
    if number is None:
        return DASH
    written = f"{number:.{digits}f}"
    return ("0" + written[2:] if float(written) == 0 and written[0] == "-" else written).replace("-", "−")


def detectable(value: object, largest_tested_ml: float, change_z: object) -> str:
    """Format the smallest change that a pair would have shown, in ml; a pair that was measured has no dash.

    Parameters
    ----------
    value
        Smallest detectable change in ml; missing where no tested one would have been seen.
    largest_tested_ml
        The largest change that was tested, in ml.
    change_z
        The pair's z; missing where nothing was measured.

    Examples
    --------
    >>> detectable(0.4, 8, 1.2), detectable(None, 8, 1.2), detectable(None, 8, None)
    ('0.40', '> 8', '–')
    """
    if table_cells.parse_number(value) is None and table_cells.parse_number(change_z) is not None:
        return f"> {fixed(largest_tested_ml, 0)}"
    return fixed(value, 2)


def measure(value: object, digits: int = 2, before: str = "", after: str = "") -> str:
    """Format a number with its symbol before it or its unit after it.

    Parameters
    ----------
    value
        As in `fixed`; a missing value becomes a dash without symbol or unit.
    digits
        Number of decimals.
    before, after
        Symbol and unit with their spaces.

    Examples
    --------
    >>> measure(1.5, 1, before="z "), measure(0.25, after=" ml"), measure(None, after=" ml")
    ('z 1.5', '0.25 ml', '–')
    """
    return DASH if table_cells.parse_number(value) is None else f"{before}{fixed(value, digits)}{after}"


def probability(value: object) -> str:
    """Format a probability with three decimals, and as an inequality where these would show 0.000 or 1.000.

    Examples
    --------
    >>> probability(0.0512), probability(0.0001), probability(0.99999)
    ('0.051', '< 0.001', '> 0.999')
    """
    number = table_cells.parse_number(value)
    if number is None:
        return DASH
    if number < 0.0005:
        return "< 0.001"
    return "> 0.999" if number > 0.9995 else f"{number:.3f}"


def percent(value: object) -> str:
    r"""Format a share of one in per cent, with three significant digits and a no-break space before the sign.

    Examples
    --------
    >>> percent(0.01234)
    '1.23\xa0%'
    """
    number = table_cells.parse_number(value)
    return DASH if number is None else f"{100 * number:.3g}\u00a0%"


def count(value: object) -> str:
    r"""Format a whole number with a narrow no-break space between thousands; numbers with decimals are rounded.

    Examples
    --------
    >>> count(12345)
    '12\u202f345'
    """
    number = table_cells.parse_integer(value)
    return DASH if number is None else f"{number:,}".replace(",", "\u202f")


def interval(days: object) -> str:
    """Format a number of days in words; `unknown` where it is missing.

    Examples
    --------
    >>> interval(1), interval(183.0), interval(None)
    ('1 day', '183 days', 'unknown')
    """
    number = table_cells.parse_integer(days)
    if number is None:
        return "unknown"
    return "1 day" if number == 1 else f"{number} days"


def known(value: object) -> str:
    """Return a value as text, or a dash for None, an empty string or an empty tuple."""
    return DASH if value in (None, "", ()) else str(value)


def short(name: str) -> str:
    """Shorten a pseudonym or digest that is longer than MAX_NAME_CHARACTERS plus one.

    Examples
    --------
    >>> short("sub-CHANGEDQ7XK2M9RT")
    'sub-CHANGEDQ…'
    """
    return name if len(name) <= MAX_NAME_CHARACTERS + 1 else name[:MAX_NAME_CHARACTERS] + "…"


def sizes(values: object, digits: int = 1) -> str:
    """Format several numbers as a product, such as the edges of a voxel in mm.

    Examples
    --------
    >>> sizes([0.9375, 0.9375, None], 2)
    '0.94 × 0.94 × –'
    """
    numbers = table_cells.parse_numbers(values)
    return " × ".join(fixed(number, digits) for number in numbers) if numbers else DASH


def place(values: object) -> str:
    """Format a point in mm as whole numbers; a dash where it has no coordinates.

    Examples
    --------
    >>> place([12.2, -3.4, 40])
    '(12, −3, 40)'
    """
    numbers = table_cells.parse_numbers(values)
    return f"({', '.join(fixed(number, 0) for number in numbers)})" if numbers else DASH


def sentence(text: str) -> str:
    """Make a sentence: capitalise the first letter, and add a full stop where the text has no final mark.

    Examples
    --------
    >>> sentence("other contrast"), sentence("A scan filed elsewhere?")
    ('Other contrast.', 'A scan filed elsewhere?')
    """
    return sentence_case(text) + ("" if text.endswith(("?", "!", ".")) or not text else ".")


def sentence_case(text: str) -> str:
    """Capitalise the first letter and leave all others as they are.

    Examples
    --------
    >>> sentence_case("contrast-enhanced T1, ses-1 to ses-2")
    'Contrast-enhanced T1, ses-1 to ses-2'
    """
    return text[:1].upper() + text[1:]


def spaced(word: str) -> str:
    """Replace the underscores of a reason or flag word by spaces."""
    return word.replace("_", " ")


def describe_evidence_strength(exponent: float) -> str:
    """Describe evidence by the verbal scale of EVIDENCE_STRENGTHS.

    Parameters
    ----------
    exponent
        log10 of the likelihood ratio; above zero.

    References
    ----------
    ENFSI Guideline for Evaluative Reporting in Forensic Science, 2015.

    Examples
    --------
    >>> describe_evidence_strength(0.2), describe_evidence_strength(2.5), describe_evidence_strength(6.0)
    ('weak', 'moderately strong', 'very strong')
    """
    return EVIDENCE_STRENGTHS[int(exponent)] if exponent < len(EVIDENCE_STRENGTHS) else "very strong"


def describe_likelihood_ratio(exponent: float, most: float) -> str:
    """Describe a likelihood ratio as `about <n> times`, with two significant digits.

    Parameters
    ----------
    exponent
        log10 of the likelihood ratio.
    most
        Largest exponent that the data can support. A larger one is given as `more than` ten to the power of `most`,
        rounded down.

    Examples
    --------
    >>> describe_likelihood_ratio(2.0, 4.0), describe_likelihood_ratio(9.0, 2.5977)
    ('about 100 times', 'more than 390 times')
    """
    if exponent > most:
        step = 10.0 ** math.floor(most - 1)
        return f"more than {_plain(math.floor(10.0**most / step + 1e-6) * step)} times"
    return f"about {_plain(10.0**exponent)} times"


def _plain(ratio: float) -> str:
    return count(float(f"{ratio:.2g}")) if ratio >= 10 else f"{ratio:.2g}"
