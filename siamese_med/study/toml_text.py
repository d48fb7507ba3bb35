"""Values as TOML writes them, for the files that this package writes itself."""

from __future__ import annotations

import json

from pydantic import JsonValue

from siamese_med.errors import UsageError


def format_toml_value(value: JsonValue) -> str:
    r"""Format a value as TOML on one line; TOML has no null, so such a key of a table is left out.

    Raises
    ------
    UsageError
        A text holds a byte that is no character, as a file name may.

    Examples
    --------
    >>> print(format_toml_value({"names": ["a", 'b"', "\U0001f9e0"], "none": None}))
    { "names" = ["a", "b\"", "\U0001f9e0"] }
    """
    if isinstance(value, dict):
        parts = ", ".join(
            f"{format_toml_value(key)} = {format_toml_value(one)}" for key, one in value.items() if one is not None
        )
        return f"{{ {parts} }}" if parts else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(format_toml_value, value))}]"
    if isinstance(value, str):
        return '"' + "".join(map(_escape, value)) + '"'
    return json.dumps(value)


def _escape(character: str) -> str:
    """A character of a basic string: as in JSON, but that TOML has no pairs of surrogates, and no bare DEL."""
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise UsageError("a name holds a byte that is no character of UTF-8: rename the file or folder")
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return "\\u007f" if code == 0x7F else json.dumps(character)[1:-1]
