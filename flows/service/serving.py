"""The workstation: a server, and the runs of some studies, by schedule or on demand, for as long as this goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows import studies
from flows.service import keys, liveness, server
from siamese_med import interruption
from siamese_med.errors import ConfigError

TAG = "siamese-med"
BANNED = set("/%&><")
"""In names of deployments."""
FLOWS = {
    "nightly": "What is new, judged by the model that is in use.",
    "retrain": "A new model, which takes over where it is not worse.",
    "track-changes": "All six stages; never by itself.",
}


def serve(files: Sequence[Path], port: int, say: Any) -> None:
    """Run the studies' schedules until interrupted; `say` is told where runs are shown, and the password's file."""
    wanted = deployments(files)
    with server.kept(port) as address:
        os.environ[liveness.SERVED_BY] = str(os.getpid())
        liveness.settle()
        liveness.settle_served(TAG)
        _let_go({deployment.name for deployment in wanted})
        say(address, keys.password_file())
        _run(wanted)


def _run(wanted: Sequence[Any]) -> None:
    """As Prefect's `serve` does; a signal ends it by its supervisor, with its runs, and not by Prefect's runner."""
    import asyncio

    from prefect.runner import Runner

    interruption.say("interrupted; the next `siamese-med serve` goes on where this one stopped")
    runner = Runner(pause_on_shutdown=False)
    for deployment in wanted:
        runner.add_deployment(deployment)
    if interruption.supervised():
        runner.handle_sigterm = interruption.let_children_be_signalled()  # type: ignore[method-assign]
    asyncio.run(runner.start())


def check(files: Sequence[Path]) -> None:
    """Raise what is wrong with a study's file or a schedule, before anything starts."""
    for file in files:
        studies.load(str(file) if file.suffix == ".toml" else f"{file}.toml")
    deployments(files)


def deployments(files: Sequence[Path]) -> list[Any]:
    """Three deployments a study, named after its file; raises what is wrong with a file or a schedule."""
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise ConfigError("two studies have files of one name: a study is called after its file, so rename one")
    if [name for name in names if set(name) & BANNED]:
        raise ConfigError(f"a study is called after its file, and Prefect bars {' '.join(sorted(BANNED))}: rename it")
    return [_deployment(name, file) for file in files for name in FLOWS]


def _deployment(name: str, file: Path) -> Any:
    from importlib import import_module

    from prefect.client.schemas.schedules import CronSchedule
    from prefect.types.entrypoint import EntrypointType

    module = name.replace("-", "_")
    when = studies.load(str(file)).study.config.run
    cron = getattr(when, name, "")
    try:
        schedules = [CronSchedule(cron=cron, timezone=when.timezone)] if cron else []
    except ValueError as error:
        raise ConfigError(f"run.{name} or run.timezone is no schedule: give cron's five fields, and a place") from error
    return getattr(import_module(f"flows.{module}"), module).to_deployment(
        file.stem,
        schedules=schedules,
        parameters={"study": str(file.absolute())},
        description=FLOWS[name],
        tags=[TAG],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _let_go(names: set[str]) -> None:
    """Stop the schedules of studies that are no longer served."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter

    with get_client(sync_client=True) as client:
        ours = DeploymentFilter.model_validate({"tags": {"all_": [TAG]}})
        for deployment in client.read_deployments(deployment_filter=ours):
            if deployment.name not in names:
                client.set_deployment_paused_state(deployment.id, paused=True)
