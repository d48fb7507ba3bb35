"""Detection of recorded runs that are alive: each holds a file lock that the kernel releases however its process ends.

Prefect itself does not notice that a process was killed and would show its runs as Running for ever.
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

from siamese_med.runtime import interruption, processes
from siamese_med.runtime.user_folders import locate_state_folder

INTERRUPTED_MESSAGE = "interrupted; the next run goes on where it stopped"
"""Prefect's message for a run that the user interrupted."""
PROCESS_ENDED_MESSAGE = "its process was killed, or the machine went down; the next run goes on where it stopped"
"""Prefect's message for a run whose process is gone."""
SERVED_BY_VARIABLE = "SIAMESE_MED_SERVED_BY"
"""Environment variable with the id of the process that a run must not outlive."""
PROCESS_TAG_PREFIX = "process-"
"""Start of the lock names that are Prefect tags; other names are ids of runs."""
UNFINISHED_STATE_TYPES = ("PENDING", "RUNNING", "CANCELLING")
"""Prefect's state types of runs that have begun and not ended."""
_HELD: list[IO[str]] = []


def hold_run_lock(name: str | None = None) -> str:
    """Hold a lock until this process ends.

    Parameters
    ----------
    name
        Id of a run; None for a new name that is to be the tag of this process's runs.

    Returns
    -------
    str
        Name of the lock.
    """
    folder, name = _folder(), name or f"{PROCESS_TAG_PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (unseen := folder / f".{name}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unseen.rename(folder / name)  # others see it only once it is held
    _HELD.append(lock)
    return name


def hold_lock_of_served_run(run: str) -> None:
    """Hold a lock with the id of a run until this process ends, and end with `serve`.

    Does nothing for a run that `serve` did not start.

    Parameters
    ----------
    run
        Id of the flow run.
    """
    if SERVED_BY_VARIABLE in os.environ:
        processes.end_with_parent(int(os.environ[SERVED_BY_VARIABLE]))
        hold_run_lock(run)


@contextmanager
def track_own_runs() -> Iterator[None]:
    """Tag the runs inside the block with a lock of this process, so that others can see whether they are alive.

    Runs whose processes are gone are marked as Crashed first. If this process is interrupted, its own runs are marked
    at once.
    """
    from prefect import tags

    with tags(name := hold_run_lock()):
        mark_dead_runs_crashed()
        with interruption.run_on_interruption(partial(_tell_of_interruption, name)):
            yield


def _tell_of_interruption(name: str) -> None:
    """Mark this process's runs as Crashed at once; if that fails, the next run does it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        _crash(client, _unfinished(client, name), INTERRUPTED_MESSAGE)


def mark_dead_runs_crashed() -> int:
    """Mark every run whose process is gone, and its unfinished tasks, as Crashed.

    Returns
    -------
    int
        Number of runs that were marked.
    """
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
    """Mark all unfinished runs of the deployments with a tag as Crashed; return the number of these runs.

    Only the process that serves these deployments may call it, before it starts. A run that was killed during its
    start has no lock yet, so `mark_dead_runs_crashed` does not find it.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter

    begun = FlowRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED_STATE_TYPES}}})
    ours = DeploymentFilter.model_validate({"tags": {"all_": [tag]}})
    with get_client(sync_client=True) as client:
        return _crash(client, client.read_flow_runs(flow_run_filter=begun, deployment_filter=ours))


def _abandoned() -> Iterator[Path]:
    """Locks of processes that have ended."""
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
    return locate_state_folder() / "runs"
