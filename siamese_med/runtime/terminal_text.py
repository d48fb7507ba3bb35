"""Text of files and headers on its way to a terminal, which would obey some of it."""

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
