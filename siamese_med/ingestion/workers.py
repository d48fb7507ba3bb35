"""Child processes for hostile files, here or on a cluster: one that dies or hangs costs only its own task.

They are started by command and not by `multiprocessing`, so that a caller's script needs no `__main__` guard. The
output of decoders is discarded, since it may quote tag values.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from types import TracebackType
from typing import IO, Any

from siamese_med.ingestion import machine_errors
from siamese_med.runtime import parallel

TASKS_PER_CLUSTER_BATCH = 16
"""Tasks that are sent to a cluster at once."""
START_TIMEOUT_S = 120.0
"""Seconds for a child to start and import what its tasks need; not part of a task's limit."""
END_TIMEOUT_S = 10.0
"""Seconds for a child to end."""
MAX_PIPE_READ_BYTES = 2**20
"""Bytes read from a pipe at once."""
MESSAGE_LENGTH_STRUCT = struct.Struct("!Q")
CHILD_START_COMMAND = "import sys; sys.path[:] = {path!r}; from siamese_med.ingestion.workers import serve; serve()"


class WorkerLostError(Exception):
    """The child died, hung beyond its limit, or raised an exception.

    `reason`: the reason word of a temporary error of the machine; empty where the task itself is at fault.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class WorkerHungError(WorkerLostError):
    """The child took longer than its limit, and was killed."""


class WorkerDiedError(WorkerLostError):
    """The child ended before its limit: because of its task, or killed by the system for lack of memory."""


class Workers:
    """A pool of child processes. `count` 0 means one per CPU; `timeout_s` is the limit of one task."""

    def __init__(self, count: int, timeout_s: float) -> None:
        self._count = count or os.cpu_count() or 1
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._children: list[_Child] = []
        self._threads = ThreadPoolExecutor(self._count)
        self._given_up = False
        self.lost = 0  # children that were killed or died, and may have left a temporary file

    def each(
        self, function: Callable[[Any], Any], tasks: Iterable[Any], timeout_s: float | None = None, label: str = "work"
    ) -> Iterator[tuple[int, Any]]:
        """Run a function on tasks in the children, or on the cluster of this context.

        Only a few tasks are in flight at once, so `tasks` may be a long generator.

        Parameters
        ----------
        function
            A function of a module; it and the tasks are pickled by name and value.
        tasks
            One argument each.
        timeout_s
            Limit of one task in seconds; None: that of the pool.
        label
            Name of the tasks on a cluster.

        Yields
        ------
        tuple of int and object
            Index and result as they come; a WorkerLostError stands for the result of a lost task.
        """
        if cluster := parallel.CURRENT_CLUSTER.get():
            remote = partial(_run_cluster_batch, function, timeout_s or self._timeout_s)
            results = cluster.each(remote, parallel.split_into_batches(tasks, TASKS_PER_CLUSTER_BATCH), label)
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
        """Run a task; try a second time where a child died, since its task need not be the cause."""
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
    """One process and its two pipes, on which every wait has a limit."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD_START_COMMAND.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
        )
        self._modules: set[str] = set()

    def call(self, function: Callable[[Any], Any], task: Any, timeout_s: float) -> Any:
        """Return the result of one task, or raise WorkerLostError. Imports have a time limit of their own."""
        if function.__module__ not in self._modules:
            self._ask((function.__module__, "", None), max(START_TIMEOUT_S, timeout_s))
            self._modules.add(function.__module__)
        good, value = self._ask((function.__module__, function.__qualname__, task), timeout_s)
        if not good:
            raise WorkerLostError(*value)
        return value

    def _ask(self, message: Any, timeout_s: float) -> Any:
        try:
            return self._converse(message, time.monotonic() + timeout_s)
        except TimeoutError as error:
            self.kill()
            raise WorkerHungError("the process hung", "timed_out") from error
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._death() from error

    def _converse(self, message: Any, deadline: float) -> Any:
        """Send a message and receive the answer; raises TimeoutError, or EOFError where the child is gone."""
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._put(MESSAGE_LENGTH_STRUCT.pack(len(content)) + content, deadline)
        (length,) = MESSAGE_LENGTH_STRUCT.unpack(self._take(MESSAGE_LENGTH_STRUCT.size, deadline))
        return pickle.loads(self._take(length, deadline))  # from our own child

    def _put(self, content: bytes, deadline: float) -> None:
        pipe = _descriptor(self._process.stdin)
        os.set_blocking(pipe, False)
        left = memoryview(content)
        while left:
            _wait_for(pipe, select.POLLOUT, deadline)
            left = left[os.write(pipe, left) :]

    def _take(self, count: int, deadline: float) -> bytes:
        pipe = _descriptor(self._process.stdout)
        pieces = []
        while count > 0:
            _wait_for(pipe, select.POLLIN, deadline)
            piece = os.read(pipe, min(count, MAX_PIPE_READ_BYTES))
            if not piece:
                raise EOFError
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _death(self) -> WorkerLostError:
        """Make the error for a child that ended by itself. Only the system sends SIGKILL: memory was short."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        killed = self._process.returncode == -signal.SIGKILL
        self.kill()
        return WorkerDiedError("the process died", "out_of_memory" if killed else "")

    def kill(self) -> None:
        """End it at once; a process that hangs inside the system ends when the system returns."""
        self._process.kill()

    def close(self) -> None:
        """Let it end, and wait at most `END_TIMEOUT_S`."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # closing flushes to a child that is dead
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)


def _descriptor(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise EOFError
    return pipe.fileno()


def _wait_for(pipe: int, event: int, deadline: float) -> None:
    """Wait until a pipe is ready or its other end is closed; raise TimeoutError after the deadline."""
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _run_cluster_batch(function: Callable[[Any], Any], timeout_s: float, tasks: Sequence[Any]) -> list[Any]:
    """Run a few tasks on a cluster's machine, in a child there, so that it dies alone too."""
    with Workers(1, timeout_s) as workers:
        return [result for _, result in sorted(workers.each(function, tasks), key=itemgetter(0))]


def serve() -> None:
    """Run the child's loop: tasks from standard input, results to standard output, until the parent closes or dies."""
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
        loaded = importlib.import_module(module)
        _send(results, _attempt(getattr(loaded, name), task) if name else None)


def _attempt(function: Callable[[Any], Any], task: Any) -> tuple[bool, Any]:
    try:
        return True, function(task)
    except Exception as error:  # the parent decides; the text may quote tag values
        return False, (type(error).__name__, machine_errors.find_machine_error_reason(error))


def _send(pipe: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(MESSAGE_LENGTH_STRUCT.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    header = _read_exactly(pipe, MESSAGE_LENGTH_STRUCT.size)
    return pickle.loads(_read_exactly(pipe, MESSAGE_LENGTH_STRUCT.unpack(header)[0]))  # from our own child


def _read_exactly(pipe: IO[bytes], count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content
