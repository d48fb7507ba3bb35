"""Turn the arguments of a command into a checked request, and run it with or without Prefect's records."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.pipeline.stage_results import RunRequest, StageResults
    from siamese_med.study.input_source import Pull
    from siamese_med.study.tables import Study

_log = logging.getLogger(__name__)

FLOW_OF_COMMAND = {
    "ingest": "ingest",
    "prepare": "prepare",
    "pair": "pair",
    "train": "train",
    "score": "score",
    "report": "report",
    "run": "track_changes",
}
"""Function of `siamese_med.flows.flows` that records each command."""


def make_run_request(
    source: Path | Pull | None, data: Path, reports: Path, config: Path | None, model: Path | None = None
) -> RunRequest:
    """Make a request after checking that the configuration is valid and that input and model exist.

    Parameters
    ----------
    source
        Folder or manifest, or a query to a PACS; None for commands without input.
    data, reports
        Folders of the study.
    config
        TOML file over the defaults, or None.
    model
        Folder of a trained model, or None.

    Raises
    ------
    MissingFileError
        If input or model does not exist.
    ConfigError
        If the configuration is not valid.
    """
    from siamese_med.errors import MissingFileError
    from siamese_med.pipeline.stage_results import RunRequest

    if isinstance(source, Path) and not source.exists():
        raise MissingFileError("INPUT is not there: give a folder or a CSV manifest that exists")
    if model is not None and not model.is_dir():
        raise MissingFileError("--model is not there: give the folder of a trained model, data/models/... say")
    return RunRequest(make_study(data, reports, config), source, model)


def read_input_argument(text: str, sent: Path | None) -> Path | Pull | None:
    """Parse INPUT as a path or as a query to a PACS.

    Parameters
    ----------
    text
        The argument as typed.
    sent
        Folder that was sent to the PACS, to check that everything came back; None otherwise.
    """
    from siamese_med.study import input_source

    return input_source.parse_path_or_address(text, Path(), sent and sent.absolute())


def make_study(data: Path, reports: Path, config: Path | None) -> Study:
    """Make the study that a command works on.

    Parameters
    ----------
    data, reports
        Folders of the study; relative ones count from the working folder.
    config
        TOML file over the default settings, or None.

    Raises
    ------
    ConfigError
        If the configuration is not valid.
    """
    from siamese_med.study.config import load_config
    from siamese_med.study.tables import Study

    return Study(data.absolute(), reports.absolute(), load_config(config))


def run_command(command: str, order: RunRequest, config: Path | None, no_prefect: bool) -> StageResults:
    """Run the stages of a command and return their results.

    Parameters
    ----------
    command
        Key of FLOW_OF_COMMAND.
    order
        Checked request.
    config
        TOML file of the request, saved with it for Prefect.
    no_prefect
        Call the stages directly; nothing is recorded. So it is, with a warning, where Prefect is not installed.

    Raises
    ------
    MissingExtraError
        If the request needs an extra that is not installed.
    """
    from siamese_med.pipeline import needed_extras, stage_results
    from siamese_med.runtime import extras

    needed_extras.require_needed_extras(order, recorded=not no_prefect)
    if not no_prefect and not extras.is_extra_installed("prefect"):
        _log.warning("without Prefect, this run is not recorded: %s", extras.make_install_command("prefect"))
        no_prefect = True
    if no_prefect:
        verbs = stage_results.select_stages(order.model) if command == "run" else (command,)
        return stage_results.run_stages_in_order(verbs, order)
    return _record(command, order, config)


def _record(command: str, order: RunRequest, config: Path | None) -> StageResults:
    import os

    # before Prefect is imported, which reads it once: the answer is on the console, and an error is one line
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from siamese_med.flows import flows, study_files
    from siamese_med.flows.server import prefect_server, running_runs

    with prefect_server.use_recording_server(), running_runs.track_own_runs():
        done: StageResults = getattr(flows, FLOW_OF_COMMAND[command])(study_files.save_study_file(order, config))
    return done


def choose_model(model: Path | None, study: Study) -> Path:
    """Return the model that was named, else the study's current one, which is the starter model where it has none."""
    if model is not None:
        return model
    from siamese_med.training import model_registry

    return model_registry.find_current_model(study)


def make_study_for_scans(
    scans: list[Path], model: Path | None, data: Path, reports: Path, config: Path | None
) -> Study:
    """Make the study for questions about single scans.

    Parameters
    ----------
    scans
        NIfTI files or folders of a DICOM series.
    model
        Folder of a trained model, or None.
    data, reports, config
        As for `make_study`.

    Raises
    ------
    MissingFileError
        If a scan or the model does not exist.
    """
    from siamese_med.errors import MissingFileError

    if not all(scan.exists() for scan in scans):
        raise MissingFileError("a scan is not there: give NIfTI files or folders of a DICOM series that exist")
    return make_run_request(None, data, reports, config, model).study
