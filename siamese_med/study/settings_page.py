"""The reference of the settings, made from the configuration itself.

`python -m siamese_med.study.settings_page` prints docs/settings.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from siamese_med.study.config import SECTIONS
from siamese_med.study.config_section import ConfigSection

TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "table"}
"""Names of the types of JSON Schema in the words of a user."""
LIMITS = (
    ("minimum", "from"),
    ("exclusiveMinimum", "above"),
    ("maximum", "to"),
    ("exclusiveMaximum", "and below"),
    ("maxLength", "letters at most:"),
)


def _lines() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "This page is made from the configuration by `python -m siamese_med.study.settings_page`."
    yield "How to write a file with settings: [Configuration](configuration.md). What is computed again when"
    yield "one changes: [Settings and kept results](renewal.md). Arguments and names of your own:"
    yield "[Plug-ins](plugins.md)."
    for name, section in SECTIONS.items():
        yield ""
        yield f"## {name}"
        yield ""
        yield (section.__doc__ or "").partition("\n")[0]
        yield ""
        yield "| Key | Effect | Values | Default |"
        yield "|---|---|---|---|"
        yield from _rows(name, section)


def _rows(name: str, section: type[ConfigSection]) -> Iterator[str]:
    schemas = section.model_json_schema()["properties"]
    former = {key: word for word, key in section.FORMER_KEYS.items()}
    for key, schema in schemas.items():
        effect = schema.get("description", "").replace("|", "\\|")
        effect += f" (formerly `{former[key]}`)" if key in former else ""
        yield f"| `{name}.{key}` | {effect} | {describe_values(schema)} | {_default(schema)} |"


def describe_values(schema: Mapping[str, Any]) -> str:
    """Describe in words which values a setting takes.

    Parameters
    ----------
    schema
        Of the setting, as JSON Schema.

    Examples
    --------
    >>> describe_values({"type": "number", "minimum": 0, "maximum": 1})
    'number, from 0 to 1'
    >>> describe_values({"anyOf": [{"enum": ["rigid", "affine"]}, {"type": "null"}]})
    '`rigid`, `affine`'
    """
    if "anyOf" in schema:
        return " or ".join(describe_values(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("format") == "path":
        return "path"
    if schema.get("type") == "array":
        items = schema.get("prefixItems")
        return f"list of {len(items)}, each a {describe_values(items[0])}" if items else "list of texts"
    limits = " ".join(f"{word} {schema[key]:g}" for key, word in LIMITS if key in schema)
    return ", ".join(filter(None, [TYPES[schema["type"]], limits]))


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "–" if value is None or value in ({}, []) else f"`{json.dumps(value)}`"


def document_settings() -> str:
    """Return docs/settings.md."""
    return "".join(f"{line}\n" for line in _lines())


if __name__ == "__main__":
    sys.stdout.write(document_settings())
