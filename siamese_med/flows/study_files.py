"""Which study a run is about, without telling Prefect's database: a run's only parameter is the study's name.

An export folder may be named after a patient, so paths stay in a file that only the user can read: in the state folder,
one for each different call of the command line, or a deployment's own, by a name that ends in `.toml`.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from platformdirs import user_state_path

from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.runtime.files import write_text_file
from siamese_med.study import config, input_source
from siamese_med.study.tables import ReportExtras, Study

PATH_KEYS = ("data", "reports", "model", "config", "dicom")
SWITCH_KEYS = ("verify", "viewer", "pdf")
STUDY_FILE_KEYS = ("input", "sent", *PATH_KEYS, *SWITCH_KEYS)


def save_study_file(order: RunRequest, config_file: Path | None) -> str:
    """Keep an order for its flow run and give its name, which tells nothing; the same order keeps its name."""
    study, extras = order.study, order.extras
    paths = dict(zip(PATH_KEYS, (study.data, study.reports, order.model, config_file, extras.dicom), strict=True))
    switches = dict(zip(SWITCH_KEYS, (order.verify, extras.viewer, extras.pdf), strict=True))
    values: dict[str, str | bool] = {key: str(path.absolute()) for key, path in paths.items() if path}
    values |= input_source.format_path_or_address(order.source) | {key: True for key, on in switches.items() if on}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (folder := _folder()).mkdir(mode=0o700, parents=True, exist_ok=True)
    if known := [file.stem for file in folder.glob("*.toml") if file.read_text(encoding="utf-8") == text]:
        return known[0]
    write_text_file(folder / f"{(name := secrets.token_hex(6))}.toml", text, mode=0o600)
    return name


def load_study_file(name: str) -> RunRequest:
    """Read a study by name or by path of its file; raises MissingFileError or ConfigError without naming a path."""
    if not (file := Path(name) if name.endswith(".toml") else _folder() / f"{Path(name).name}.toml").is_file():
        raise MissingFileError("no such study file: write one with input, data and reports, see docs/nightly-runs.md")
    values = config.read_toml(file, "the study file")
    if wrong := sorted(values.keys() - set(STUDY_FILE_KEYS)) or sorted({"data", "reports"} - values.keys()):
        missing = "unknown" if wrong[0] in values else "no"
        raise ConfigError(f"the study file has {missing} key '{wrong[0]}': known are {', '.join(STUDY_FILE_KEYS)}")
    verify, viewer, pdf = (values.pop(key, False) is True for key in SWITCH_KEYS)
    path = {key: file.parent / value for key, value in values.items()}
    study = Study(path["data"], path["reports"], config.load_config(path.get("config")))
    extras = ReportExtras(viewer, pdf, path.get("dicom"))
    source = input_source.parse_path_or_address(values.get("input"), file.parent, path.get("sent"))
    return RunRequest(study, source, path.get("model"), verify, extras)


def _folder() -> Path:
    return user_state_path("siamese-med") / "studies"
