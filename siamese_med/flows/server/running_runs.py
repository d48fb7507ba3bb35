"""Which recorded runs are at work: each holds a lock, which the kernel lets go however the process ends.

Prefect alone does not notice the end of a process that was killed, and has its runs Running for ever.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from platformdirs import user_state_path

from siamese_med.runtime import interruption, processes

INTERRUPTED_MESSAGE = "interrupted; the next run goes on where it stopped"
PROCESS_ENDED_MESSAGE = (
    "its process ended without a word: killed, or the machine went down; the next run goes on where it stopped"
)
SERVED_BY_VARIABLE = "SIAMESE_MED_SERVED_BY"
"""Tells a run which process it must not outlive."""
PROCESS_TAG_PREFIX = "process-"
UNFINISHED_STATE_TYPES = ("PENDING", "RUNNING", "CANCELLING")
_HELD: list[IO[str]] = []


def hold_run_lock(name: str | None = None) -> str:
    """Hold a lock until this process ends; gives its name, which is the id of a run, or else to be its tag."""
    folder, name = _folder(), name or f"{PROCESS_TAG_PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (unseen := folder / f".{name}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unseen.rename(folder / name)  # held from the moment on when others see it
    _HELD.append(lock)
    return name


def hold_lock_of_served_run(run: str) -> None:
    """A run that `serve` has started holds a lock by its id while it lives, and does not outlive `serve`."""
    if SERVED_BY_VARIABLE in os.environ:
        processes.end_with_parent(int(os.environ[SERVED_BY_VARIABLE]))
        hold_run_lock(run)


@contextmanager
def track_own_runs() -> Iterator[None]:
    """Have runs inside the block known by a lock of this process; before, say of others' what became of them."""
    from prefect import tags

    with tags(name := hold_run_lock()):
        mark_dead_runs_crashed()
        with interruption.run_on_interruption(partial(_tell_of_interruption, name)):
            yield


def _tell_of_interruption(name: str) -> None:
    """Have the server say Crashed of this process's runs at once; where that fails, the next run does it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        _crash(client, _unfinished(client, name), INTERRUPTED_MESSAGE)


def mark_dead_runs_crashed() -> int:
    """Have the server say Crashed of every run whose process is gone, and of its tasks; gives their number."""
    dead = list(_abandoned())
    if not dead:
        return 0
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        done = _crash(client, [run for path in dead for run in _unfinished(client, path.name)])
    for path in dead:
        path.unlink(missing_ok=True)
    return done


def mark_served_runs_crashed(tag: str) -> int:
    """Have the server say Crashed of what deployments with a tag had begun; gives the number of runs.

    For whoever alone serves them, before it starts: a run that was killed while it started up has no lock yet.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter

    begun = FlowRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED_STATE_TYPES}}})
    ours = DeploymentFilter.model_validate({"tags": {"all_": [tag]}})
    with get_client(sync_client=True) as client:
        return _crash(client, client.read_flow_runs(flow_run_filter=begun, deployment_filter=ours))


def _abandoned() -> Iterator[Path]:
    """Locks that nobody holds."""
    for path in sorted(_folder().glob("[!.]*")):
        with suppress(BlockingIOError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path


def _unfinished(client: Any, name: str) -> list[Any]:
    from prefect.client.schemas import filters

    tagged = {"tags": {"all_": [name]}} if name.startswith(PROCESS_TAG_PREFIX) else {"id": {"any_": [name]}}
    found = client.read_flow_runs(flow_run_filter=filters.FlowRunFilter.model_validate(tagged))
    return [run for run in found if run.state is None or not run.state.is_final()]


def _crash(client: Any, runs: Sequence[Any], why: str = PROCESS_ENDED_MESSAGE) -> int:
    from prefect.client.schemas import filters
    from prefect.states import Crashed

    for run in runs:
        of_run = filters.FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
        for task in client.read_task_runs(flow_run_filter=of_run):
            if task.state is None or not task.state.is_final():
                client.set_task_run_state(task.id, Crashed(message=why), force=True)
        client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    return len(runs)


def _folder() -> Path:
    return user_state_path("siamese-med") / "runs"
