"""Child processes for hostile work, here or on a cluster: one that dies or hangs costs its own task and nothing else.

They are started by command and not by `multiprocessing`, so that a caller's script needs no `__main__` guard. What a
decoder prints goes nowhere, since it may quote tag values.
"""

from __future__ import annotations

import importlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from types import TracebackType
from typing import IO, Any

from siamese_med import parallel

TOGETHER = 16
"""Tasks that travel to a cluster at once."""
LENGTH = struct.Struct("!Q")
START = "import sys; sys.path[:] = {path!r}; from siamese_med.ingestion.workers import serve; serve()"


class WorkerLostError(Exception):
    """The child died, hung beyond its limit, or failed in a way of its own."""


class WorkerDiedError(WorkerLostError):
    """The child ended before its limit: by its task, or by whoever ends processes when memory is short."""


class Workers:
    """A handful of child processes; `each` spreads tasks over them."""

    def __init__(self, count: int, timeout_s: float) -> None:
        self._count = count or os.cpu_count() or 1
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._children: list[_Child] = []
        self._threads = ThreadPoolExecutor(self._count)
        self._given_up = False
        self.lost = 0  # children that did not end by themselves, and may have left a temporary file

    def each(
        self, function: Callable[[Any], Any], tasks: Iterable[Any], timeout_s: float | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) as they come; a lost task's result is a WorkerLostError; few are in flight at once."""
        if cluster := parallel.CLUSTER.get():
            remote = partial(_there, function, timeout_s or self._timeout_s)
            results = cluster.each(remote, parallel.batches(tasks, TOGETHER), function.__name__.replace("_", " "))
            for index, result in enumerate(chain.from_iterable(results)):
                self.lost += isinstance(result, WorkerLostError)
                yield index, result
            return
        upcoming = iter(enumerate(tasks))
        pending: dict[Future[Any], int] = {}
        while True:
            for index, task in upcoming:
                pending[self._threads.submit(self._call, function, task, timeout_s or self._timeout_s)] = index
                if len(pending) >= 2 * self._count:
                    break
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()

    def _call(self, function: Callable[[Any], Any], task: Any, timeout_s: float) -> Any:
        """What ended a child need not be its task, so a second one tries."""
        result = self._attempt(function, task, timeout_s)
        again = isinstance(result, WorkerDiedError) and not self._given_up
        return self._attempt(function, task, timeout_s) if again else result

    def _attempt(self, function: Callable[[Any], Any], task: Any, timeout_s: float) -> Any:
        child: _Child | None = getattr(self._local, "child", None)
        if child is None:
            child = self._local.child = _Child()
            self._children.append(child)
        try:
            return child.call(function, task, timeout_s)
        except WorkerLostError as lost:
            child.kill()
            self._local.child = None
            self.lost += 1
            return lost

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._given_up = True
            for child in self._children:
                child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()


class _Child:
    """One process and its two pipes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def call(self, function: Callable[[Any], Any], task: Any, timeout_s: float) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerLostError("no pipe to the process")
        hung = threading.Event()
        watchdog = threading.Timer(timeout_s, self._stop, (hung,))
        watchdog.start()
        try:
            _send(stdin, (function.__module__, function.__qualname__, task))
            good, value = _receive(stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.kill()
            if hung.is_set():
                raise WorkerLostError("the process hung") from error
            raise WorkerDiedError("the process died") from error
        finally:
            watchdog.cancel()
        if not good:
            raise WorkerLostError(value)
        return value

    def _stop(self, hung: threading.Event) -> None:
        hung.set()
        self.kill()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # closing writes what a dead child did not take
                    pipe.close()
        self._process.wait()


def _there(function: Callable[[Any], Any], timeout_s: float, tasks: Sequence[Any]) -> list[Any]:
    """The results of a few tasks, on whatever machine this is: by a child there, which dies alone too."""
    with Workers(1, timeout_s) as workers:
        return [result for _, result in sorted(workers.each(function, tasks), key=itemgetter(0))]


def serve() -> None:
    """The child's loop: tasks from standard input, results to standard output, until the parent closes or dies."""
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.modules["requests"] = None  # type: ignore[assignment] # pydicom would load it, slowly, to download examples
    while True:
        try:
            module, name, task = _receive(tasks)
        except EOFError:
            return
        _send(results, _attempt(getattr(importlib.import_module(module), name), task))


def _attempt(function: Callable[[Any], Any], task: Any) -> tuple[bool, Any]:
    try:
        return True, function(task)
    except Exception as error:  # the parent decides; the text may quote tag values
        return False, type(error).__name__


def _send(pipe: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    header = _exactly(pipe, LENGTH.size)
    return pickle.loads(_exactly(pipe, LENGTH.unpack(header)[0]))  # from our own child


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content
