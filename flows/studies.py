"""Which study a run is about, without telling Prefect's database: a run's only parameter is the study's name.

An export folder may be named after a patient, so paths stay in a file that only the user can read: in the state folder,
one for each different call of the command line, or a deployment's own, by a name that ends in `.toml`.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from platformdirs import user_state_path

from siamese_med import address, config
from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.files import write_text
from siamese_med.outcomes import Order
from siamese_med.records import Extras, Study

PATHS = ("data", "reports", "model", "config", "dicom")
SWITCHES = ("verify", "viewer", "pdf")
KEYS = ("input", "sent", *PATHS, *SWITCHES)


def register(order: Order, config_file: Path | None) -> str:
    """Keep an order for its flow run and give its name, which tells nothing; the same order keeps its name."""
    study, extras = order.study, order.extras
    paths = dict(zip(PATHS, (study.data, study.reports, order.model, config_file, extras.dicom), strict=True))
    switches = dict(zip(SWITCHES, (order.verify, extras.viewer, extras.pdf), strict=True))
    values: dict[str, str | bool] = {key: str(path.absolute()) for key, path in paths.items() if path}
    values |= address.written(order.source) | {key: True for key, on in switches.items() if on}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (folder := _folder()).mkdir(mode=0o700, parents=True, exist_ok=True)
    if known := [file.stem for file in folder.glob("*.toml") if file.read_text(encoding="utf-8") == text]:
        return known[0]
    write_text(folder / f"{(name := secrets.token_hex(6))}.toml", text, mode=0o600)
    return name


def load(name: str) -> Order:
    """Read a study by name or by path of its file; raises MissingFileError or ConfigError without naming a path."""
    if not (file := Path(name) if name.endswith(".toml") else _folder() / f"{Path(name).name}.toml").is_file():
        raise MissingFileError("no such study file: write one with input, data and reports, see docs/nightly-runs.md")
    values = config.toml(file, "the study file")
    if wrong := sorted(values.keys() - set(KEYS)) or sorted({"data", "reports"} - values.keys()):
        missing = "unknown" if wrong[0] in values else "no"
        raise ConfigError(f"the study file has {missing} key '{wrong[0]}': known are {', '.join(KEYS)}")
    verify, viewer, pdf = (values.pop(key, False) is True for key in SWITCHES)
    path = {key: file.parent / value for key, value in values.items()}
    study = Study(path["data"], path["reports"], config.load(path.get("config")))
    extras = Extras(viewer, pdf, path.get("dicom"))
    source = address.source(values.get("input"), file.parent, path.get("sent"))
    return Order(study, source, path.get("model"), verify, extras)


def _folder() -> Path:
    return user_state_path("siamese-med") / "studies"
