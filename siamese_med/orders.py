"""What a command asks for, checked at once, and carried out with or without Prefect's records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.address import Pull
    from siamese_med.outcomes import Order, Outcomes
    from siamese_med.records import Study

FLOWS = {
    "ingest": "ingest",
    "prepare": "prepare",
    "pair": "pair",
    "train": "train",
    "score": "score",
    "report": "report",
    "run": "track_changes",
}
"""Which flow records which command: a module of flows, and the function of the same name in it."""


def order(
    source: Path | Pull | None, data: Path, reports: Path, config: Path | None, model: Path | None = None
) -> Order:
    """Check what can be checked at once: the config, that the input is there, that the model is."""
    from siamese_med.errors import MissingFileError
    from siamese_med.outcomes import Order

    if isinstance(source, Path) and not source.exists():
        raise MissingFileError("INPUT is not there: give a folder or a CSV manifest that exists")
    if model is not None and not model.is_dir():
        raise MissingFileError("--model is not there: give the folder of a trained model, data/models/... say")
    return Order(study(data, reports, config), source, model)


def source(text: str, sent: Path | None) -> Path | Pull | None:
    """INPUT as a path, or as what to fetch from a PACS."""
    from siamese_med import address

    return address.source(text, Path(), sent and sent.absolute())


def study(data: Path, reports: Path, config: Path | None) -> Study:
    """The study in these folders, by the config or the defaults."""
    from siamese_med.config import load
    from siamese_med.records import Study

    return Study(data.absolute(), reports.absolute(), load(config))


def perform(command: str, order: Order, config: Path | None, no_prefect: bool) -> Outcomes:
    """Run a command's stages, recorded by Prefect or not."""
    from siamese_med import outcomes

    if no_prefect:
        verbs = outcomes.verbs_of(order.model) if command == "run" else (command,)
        return outcomes.follow(verbs, order)
    return _record(command, order, config)


def _record(command: str, order: Order, config: Path | None) -> Outcomes:
    import os
    from importlib import import_module

    import flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from flows import studies
    from flows.service import liveness, server

    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the answer is on the console
    name = FLOWS[command]
    with server.recording(), liveness.noted():
        done: Outcomes = getattr(import_module(f"flows.{name}"), name)(studies.register(order, config))
    return done


def study_with(scans: list[Path], model: Path, data: Path, reports: Path, config: Path | None) -> Study:
    """The study for questions about single scans, once these and the model are there."""
    from siamese_med.errors import MissingFileError

    if not all(scan.exists() for scan in scans):
        raise MissingFileError("a scan is not there: give NIfTI files or folders of a DICOM series that exist")
    return order(None, data, reports, config, model).study
