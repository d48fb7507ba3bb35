"""Study files: what a run is about, without any path in Prefect's database.

The only parameter of a run is the name of a study file, because the folder of an export may be named after a patient.
The files are readable by the user alone. They are in the state folder, one for each distinct command, or they belong to
a deployment and then have a name that ends in `.toml`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from siamese_med.errors import MissingFileError
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.runtime.user_folders import locate_state_folder
from siamese_med.study import config, input_source
from siamese_med.study.study_file import StudyFile
from siamese_med.study.tables import ReportExtras, Study


def save_study_file(order: RunRequest, config_file: Path | None) -> str:
    """Save a request as a study file; equal requests share one file.

    Parameters
    ----------
    order
        Request of a command.
    config_file
        Its TOML file of settings, which the study file refers to.

    Returns
    -------
    str
        Random name of the file, which tells nothing about the study.
    """
    file = _file_of(order, config_file)
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for known in folder.glob("*.toml"):
        if known.read_text(encoding="utf-8") == file.as_toml():
            return known.stem
    name = secrets.token_hex(6)
    file.save(folder / f"{name}.toml")
    return name


def load_study_file(name: str) -> RunRequest:
    """Read a study file.

    Parameters
    ----------
    name
        Name in the state folder, or the path of a file that ends in `.toml`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If its content is not valid. No error text contains a path.
    """
    path = Path(name) if name.endswith(".toml") else _folder() / f"{Path(name).name}.toml"
    if not path.is_file():
        raise MissingFileError("no such study file: write one with input, data and reports, see docs/nightly-runs.md")
    return _order_of(StudyFile.load(path))


def _file_of(order: RunRequest, config_file: Path | None) -> StudyFile:
    study, extras = order.study, order.extras
    paths = {"data": study.data, "reports": study.reports, "model": order.model, "config": config_file}
    absolute = {key: path.absolute() for key, path in {**paths, "dicom": extras.dicom}.items() if path}
    asked = {"viewer": extras.viewer, "pdf": extras.pdf, "fhir": extras.fhir}
    switches = {"verify": order.verify, "deface": order.deface, **asked, "candidate": order.candidate}
    return StudyFile.model_validate({**input_source.format_path_or_address(order.source), **absolute, **switches})


def _order_of(file: StudyFile) -> RunRequest:
    study = Study(file.data, file.reports, config.load_config(file.config))
    extras = ReportExtras(file.viewer, file.pdf, file.dicom, file.fhir)
    return RunRequest(study, file.source, file.model, file.verify, extras, file.candidate, deface=file.deface)


def _folder() -> Path:
    return locate_state_folder() / "studies"
