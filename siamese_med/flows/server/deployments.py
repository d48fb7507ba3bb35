"""The workstation: a server, and the runs of some studies, by schedule or on demand, for as long as this goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siamese_med.errors import ConfigError
from siamese_med.flows import study_files
from siamese_med.flows.server import credentials, prefect_server, running_runs
from siamese_med.runtime import interruption

DEPLOYMENT_TAG = "siamese-med"
FORBIDDEN_NAME_CHARACTERS = set("/%&><")
"""In names of deployments."""
FLOW_DESCRIPTIONS = {
    "nightly": "What is new, judged by the model that is in use.",
    "retrain": "A new model, which takes over where it is not worse.",
    "track-changes": "All six stages; never by itself.",
}


def serve_studies(files: Sequence[Path], port: int, say: Any) -> None:
    """Run the studies' schedules until interrupted; `say` is told where runs are shown, and the password's file."""
    wanted = make_deployments(files)
    with prefect_server.keep_server_up(port) as address:
        os.environ[running_runs.SERVED_BY_VARIABLE] = str(os.getpid())
        running_runs.mark_dead_runs_crashed()
        running_runs.mark_served_runs_crashed(DEPLOYMENT_TAG)
        _let_go({deployment.name for deployment in wanted})
        say(address, credentials.password_file())
        _run(wanted)


def _run(wanted: Sequence[Any]) -> None:
    """As Prefect's `serve` does, but a signal is answered by the supervisor, which ends the runs too."""
    import asyncio

    from prefect.runner import Runner

    interruption.set_interruption_message("interrupted; the next `siamese-med serve` goes on where this one stopped")
    runner = Runner(pause_on_shutdown=False)
    for deployment in wanted:
        runner.add_deployment(deployment)
    if interruption.is_supervised():
        runner.handle_sigterm = interruption.unblock_signals_for_children()  # type: ignore[method-assign]
    asyncio.run(runner.start())


def check_study_files(files: Sequence[Path]) -> None:
    """Raise what is wrong with a study's file or a schedule, before anything starts."""
    for file in files:
        study_files.load_study_file(str(file) if file.suffix == ".toml" else f"{file}.toml")
    make_deployments(files)


def make_deployments(files: Sequence[Path]) -> list[Any]:
    """Three deployments a study, named after its file; raises what is wrong with a file or a schedule."""
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise ConfigError("two studies have files of one name: a study is called after its file, so rename one")
    if [name for name in names if set(name) & FORBIDDEN_NAME_CHARACTERS]:
        raise ConfigError(
            f"a study is called after its file, and Prefect bars "
            f"{' '.join(sorted(FORBIDDEN_NAME_CHARACTERS))}: rename it"
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
        raise ConfigError(f"run.{name} or run.timezone is no schedule: give cron's five fields, and a place") from error
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
