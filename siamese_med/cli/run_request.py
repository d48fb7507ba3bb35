"""What a command asks for, checked at once, and carried out with or without Prefect's records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.pipeline.stage_results import RunRequest, StageResults
    from siamese_med.study.input_source import Pull
    from siamese_med.study.tables import Study

FLOW_OF_COMMAND = {
    "ingest": "ingest",
    "prepare": "prepare",
    "pair": "pair",
    "train": "train",
    "score": "score",
    "report": "report",
    "run": "track_changes",
}
"""Which flow of siamese_med.flows.flows records which command."""


def make_run_request(
    source: Path | Pull | None, data: Path, reports: Path, config: Path | None, model: Path | None = None
) -> RunRequest:
    """Check what can be checked at once: the config, that the input is there, that the model is."""
    from siamese_med.errors import MissingFileError
    from siamese_med.pipeline.stage_results import RunRequest

    if isinstance(source, Path) and not source.exists():
        raise MissingFileError("INPUT is not there: give a folder or a CSV manifest that exists")
    if model is not None and not model.is_dir():
        raise MissingFileError("--model is not there: give the folder of a trained model, data/models/... say")
    return RunRequest(make_study(data, reports, config), source, model)


def read_input_argument(text: str, sent: Path | None) -> Path | Pull | None:
    """INPUT as a path, or as what to fetch from a PACS."""
    from siamese_med.study import input_source

    return input_source.parse_path_or_address(text, Path(), sent and sent.absolute())


def make_study(data: Path, reports: Path, config: Path | None) -> Study:
    """The study in these folders, by the config or the defaults."""
    from siamese_med.study.config import load_config
    from siamese_med.study.tables import Study

    return Study(data.absolute(), reports.absolute(), load_config(config))


def run_command(command: str, order: RunRequest, config: Path | None, no_prefect: bool) -> StageResults:
    """Run a command's stages, recorded by Prefect or not."""
    from siamese_med.pipeline import stage_results

    if no_prefect:
        verbs = stage_results.select_stages(order.model) if command == "run" else (command,)
        return stage_results.run_stages_in_order(verbs, order)
    return _record(command, order, config)


def _record(command: str, order: RunRequest, config: Path | None) -> StageResults:
    import os

    from siamese_med.flows import flows, study_files
    from siamese_med.flows.server import prefect_server, running_runs

    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the answer is on the console
    with prefect_server.use_recording_server(), running_runs.track_own_runs():
        done: StageResults = getattr(flows, FLOW_OF_COMMAND[command])(study_files.save_study_file(order, config))
    return done


def make_study_for_scans(scans: list[Path], model: Path, data: Path, reports: Path, config: Path | None) -> Study:
    """The study for questions about single scans, once these and the model are there."""
    from siamese_med.errors import MissingFileError

    if not all(scan.exists() for scan in scans):
        raise MissingFileError("a scan is not there: give NIfTI files or folders of a DICOM series that exist")
    return make_run_request(None, data, reports, config, model).study
