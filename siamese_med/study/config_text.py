"""The effective configuration as text: every key with its value and purpose, as `siamese-med config` prints it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import JsonValue

from siamese_med.study.config import Config, load_config
from siamese_med.study.config_section import ConfigSection
from siamese_med.study.toml_text import format_toml_value


def describe_config(path: Path | None) -> tuple[dict[str, dict[str, JsonValue]], str]:
    """Return the effective values of a config file, and the same as TOML; those of the defaults where there is no file.

    Raises as `load_config` does.
    """
    config = load_config(path)
    return effective_values(config), as_toml(config)


def effective_values(config: Config) -> dict[str, dict[str, JsonValue]]:
    """Return every value by section and key, as JSON values, defaults included.

    Examples
    --------
    >>> effective_values(Config())["prepare"]["shape"]
    [64, 64, 64]
    """
    sections: dict[str, ConfigSection] = {name: getattr(config, name) for name in Config.model_fields}
    return {
        name: {key: json.loads(_as_json(section, key)) for key in type(section).model_fields}
        for name, section in sections.items()
    }


def _as_json(section: ConfigSection, key: str) -> str:
    written = section.model_dump(mode="json")
    return json.dumps(written.get(key, getattr(section, key)))


def as_toml(config: Config) -> str:
    """Return the configuration as TOML that `load_config` reads back.

    Keys without a value are comments, since TOML has no null. Descriptions of the settings become comments too.

    Examples
    --------
    >>> as_toml(Config()).splitlines()[0]
    '[ingest]'
    """
    lines: list[str] = []
    for section, values in effective_values(config).items():
        lines.append(f"[{section}]")
        fields = type(getattr(config, section)).model_fields
        for key, value in values.items():
            note = fields[key].description
            text = f"# {key} =" if value is None else f"{key} = {format_toml_value(value)}"
            lines.append(f"{text}  # {note}" if note else text)
        lines.append("")
    return "\n".join(lines)
