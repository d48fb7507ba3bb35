"""Worker processes of ingest that serve several ingests of one test process: a start costs more than the work here.

They are the real ones. One that died, hung or was killed is not used again. Tests of the workers themselves do without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from siamese_med.ingestion import workers

MAX_IDLE = 4
_START = workers._Child
_IDLE: list[tuple[dict[str, str], Any]] = []


class KeptChild:
    """A worker process that waits for the next ingest where the real one would end."""

    def __init__(self) -> None:
        self._surroundings = _surroundings()
        self._child = _idle_in(self._surroundings)
        if self._child is None:
            self._child = _START()
        else:
            self._child.call(os.chdir, str(Path.cwd()), workers.START_TIMEOUT_S)  # where a new one would start
        self._killed = False

    def call(self, *task: Any) -> Any:
        return self._child.call(*task)

    def kill(self) -> None:
        self._killed = True
        self._child.kill()

    def close(self) -> None:
        if self._killed or len(_IDLE) >= MAX_IDLE:
            self._child.close()
        else:
            _IDLE.append((self._surroundings, self._child))


@contextmanager
def kept() -> Iterator[None]:
    """Ingest inside the block takes the processes that wait, and leaves its own for the next."""
    with patch.object(workers, "_Child", KeptChild):
        yield


def end() -> None:
    """End all that wait."""
    while _IDLE:
        _IDLE.pop()[1].close()


def _idle_in(surroundings: dict[str, str]) -> Any:
    """One that was started with these variables, if there is one."""
    for place, (started_in, _) in enumerate(_IDLE):
        if started_in == surroundings:
            return _IDLE.pop(place)[1]
    return None


def _surroundings() -> dict[str, str]:
    """What a process takes over when it starts; pytest changes one variable with every test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
