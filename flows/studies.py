"""Which study a run is about, without telling Prefect's database: a run's only parameter is the study's name.

An export folder may be named after a patient, so paths stay in a file that only the user can read. A name without
`.toml` stands for a file in the user's state folder, one for each different call of the command line; a deployment
names its own, `study.toml` say. Relative paths start at the file's folder.
"""

from __future__ import annotations

import json
import secrets
import tomllib
from pathlib import Path

from platformdirs import user_state_path

from siamese_med import address, config
from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.files import write_text
from siamese_med.outcomes import Order
from siamese_med.records import Study

KEYS = ("input", "sent", "data", "reports", "model", "config", "verify")


def register(order: Order, config_file: Path | None) -> str:
    """Keep an order for its flow run and give its name, which tells nothing; the same order keeps its name."""
    given = dict(zip(KEYS[2:-1], (order.study.data, order.study.reports, order.model, config_file), strict=True))
    values: dict[str, str | bool] = {key: str(path.absolute()) for key, path in given.items() if path}
    values |= address.written(order.source) | ({"verify": True} if order.verify else {})
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (folder := _folder()).mkdir(mode=0o700, parents=True, exist_ok=True)
    for known in folder.glob("*.toml"):
        if known.read_text(encoding="utf-8") == text:
            return known.stem
    write_text(folder / f"{(name := secrets.token_hex(6))}.toml", text, mode=0o600)
    return name


def load(name: str) -> Order:
    """Read a study by name or by path of its file; raises MissingFileError or ConfigError without naming a path."""
    file = Path(name) if name.endswith(".toml") else _folder() / f"{Path(name).name}.toml"
    if not file.is_file():
        raise MissingFileError("no such study file: write one with input, data and reports, see the README")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the study file is not TOML ({error})") from error
    wrong = [f"unknown key '{key}'" for key in values if key not in KEYS]
    if wrong := wrong + [f"no key '{key}'" for key in ("data", "reports") if key not in values]:
        raise ConfigError(f"the study file has {wrong[0]}: known are {', '.join(KEYS)}")
    verify = values.pop("verify", False) is True
    path = {key: file.parent / value for key, value in values.items()}
    study = Study(path["data"], path["reports"], config.load(path.get("config")))
    return Order(study, address.source(values.get("input"), file.parent, path.get("sent")), path.get("model"), verify)


def _folder() -> Path:
    return user_state_path("siamese-med") / "studies"
