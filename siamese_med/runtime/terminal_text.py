"""Text on its way to a terminal: what it would obey is escaped, and times are readable."""

from __future__ import annotations


def escape_for_terminal(text: str) -> str:
    r"""Escape all characters that a terminal would not show: control characters, direction marks and the like.

    Examples
    --------
    >>> print(escape_for_terminal("Doe" + chr(27) + "[2J"))
    Doe\x1b[2J
    """
    return "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode("ascii") for one in text
    )


def make_printable(text: str) -> str:
    r"""Escape as `escape_for_terminal` does; bytes of a file name that are no text become question marks.

    Examples
    --------
    >>> print(make_printable("Bericht-" + chr(0xdce6) + chr(7)))
    Bericht-?\x07
    """
    return escape_for_terminal(text.encode(errors="replace").decode())


def format_duration(seconds: float) -> str:
    """Format a time for reading.

    Examples
    --------
    >>> [format_duration(one) for one in (0.04, 3.21, 49.2, 2140, 7310)]
    ['0.0 s', '3.2 s', '49 s', '35 min 40 s', '2 h 1 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
