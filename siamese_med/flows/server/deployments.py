"""Serve studies: keep a Prefect server up and run the studies' flows by schedule or on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siamese_med.errors import ConfigError
from siamese_med.flows import study_files
from siamese_med.flows.server import credentials, prefect_server, running_runs
from siamese_med.pipeline.needed_extras import require_needed_extras
from siamese_med.runtime import interruption

DEPLOYMENT_TAG = "siamese-med"
"""Prefect tag of all deployments of this package."""
FORBIDDEN_NAME_CHARACTERS = set("/%&><")
"""Characters that Prefect does not allow in names of deployments."""
FLOW_DESCRIPTIONS = {
    "nightly": "Score all new scans with the current model and update the reports.",
    "retrain": "Train a candidate; it becomes the current model if it is not worse.",
    "track-changes": "All stages; not scheduled.",
}
"""Flows that are deployed for each study, with the description that Prefect's pages show."""


def serve_studies(files: Sequence[Path], port: int, say: Any) -> None:
    """Run the schedules of some studies until interrupted.

    Parameters
    ----------
    files
        Study files.
    port
        Port of the server on this machine.
    say
        Called once the server is up and knows the deployments, so that `trigger` finds them, with its API address and
        the path of the password file.

    Raises
    ------
    ServerError
        If a server of this user is running already, or cannot be started.
    """
    wanted = make_deployments(files)
    with prefect_server.keep_server_up(port) as address:
        os.environ[running_runs.SERVED_BY_VARIABLE] = str(os.getpid())
        running_runs.mark_dead_runs_crashed()
        running_runs.mark_served_runs_crashed(DEPLOYMENT_TAG)
        _let_go({deployment.name for deployment in wanted})
        runner = _register(wanted)
        say(address, credentials.password_file())
        _run(runner)


def _register(wanted: Sequence[Any]) -> Any:
    """Make the deployments known to the server; returns the runner that will run them."""
    from prefect.runner import Runner

    runner = Runner(pause_on_shutdown=False)
    for deployment in wanted:
        runner.add_deployment(deployment)
    return runner


def _run(runner: Any) -> None:
    """Run the deployments as Prefect's `serve` does, but let the supervisor handle signals; it ends the runs too."""
    import asyncio

    interruption.set_interruption_message("interrupted; the next `siamese-med serve` goes on where this one stopped")
    if interruption.is_supervised():
        runner.handle_sigterm = interruption.unblock_signals_for_children()
    asyncio.run(runner.start())


def check_study_files(files: Sequence[Path]) -> None:
    """Check study files and their schedules before anything is started.

    Parameters
    ----------
    files
        Study files; the extension `.toml` may be left out.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    ConfigError
        If a file or a schedule is not valid, or two files have one name.
    MissingExtraError
        If an extra is not installed that a study needs.
    """
    for file in files:
        order = study_files.load_study_file(str(file) if file.suffix == ".toml" else f"{file}.toml")
        require_needed_extras(order)
    make_deployments(files)


def make_deployments(files: Sequence[Path]) -> list[Any]:
    """Make three Prefect deployments for each study, named after its file.

    Raises
    ------
    ConfigError
        If two files have one name, or a name or a schedule is not valid.
    """
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise ConfigError("two study files have the same name, and a study is named after its file: rename one")
    if [name for name in names if set(name) & FORBIDDEN_NAME_CHARACTERS]:
        raise ConfigError(
            f"a study is named after its file, and Prefect does not allow "
            f"{' '.join(sorted(FORBIDDEN_NAME_CHARACTERS))} in names: rename it"
        )
    return [_deployment(name, file) for file in files for name in FLOW_DESCRIPTIONS]


def _deployment(name: str, file: Path) -> Any:
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.types.entrypoint import EntrypointType

    from siamese_med.flows import flows

    when = study_files.load_study_file(str(file)).study.config.run
    cron = getattr(when, name, "")
    try:
        schedules = [CronSchedule(cron=cron, timezone=when.timezone)] if cron else []
    except ValueError as error:
        raise ConfigError(
            f"run.{name} or run.timezone is no schedule: give five cron fields and a time zone"
        ) from error
    return getattr(flows, name.replace("-", "_")).to_deployment(
        file.stem,
        schedules=schedules,
        parameters={"study": str(file.absolute())},
        description=FLOW_DESCRIPTIONS[name],
        tags=[DEPLOYMENT_TAG],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _let_go(names: set[str]) -> None:
    """Stop the schedules of studies that are no longer served."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter

    with get_client(sync_client=True) as client:
        ours = DeploymentFilter.model_validate({"tags": {"all_": [DEPLOYMENT_TAG]}})
        for deployment in client.read_deployments(deployment_filter=ours):
            if deployment.name not in names:
                client.set_deployment_paused_state(deployment.id, paused=True)
