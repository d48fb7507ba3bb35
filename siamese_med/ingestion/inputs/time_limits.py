"""Time limits for system calls that may never return, as on a network share that hangs; they run in a helper thread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

TIME_LIMIT_S: ContextVar[float | None] = ContextVar("LIMIT_S", default=None)
"""The limit in seconds that holds in this context; None: no limit."""


@contextmanager
def limit_system_calls(limit_s: float) -> Iterator[None]:
    """Limit every `call_with_time_limit` inside the block to this many seconds.

    Examples
    --------
    >>> with limit_system_calls(5.0):
    ...     call_with_time_limit(len, "abc")
    3
    """
    before = TIME_LIMIT_S.set(limit_s)
    try:
        yield
    finally:
        TIME_LIMIT_S.reset(before)


def call_with_time_limit(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function and return its result, or raise its exception.

    Raises
    ------
    TimeoutError
        A limit is set and the call takes longer. Its thread is abandoned, since a hanging system call cannot be
        stopped.
    """
    limit_s = TIME_LIMIT_S.get()
    if limit_s is None:
        return function(*args, **kwargs)
    helper: _CallThread | None = getattr(_LOCAL, "helper", None)
    if helper is None:
        helper = _LOCAL.helper = _CallThread()
    try:
        good, value = helper.call(lambda: function(*args, **kwargs), limit_s)
    except Empty:
        _LOCAL.helper = None  # its thread is lost to the system
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    if not good:
        raise value
    result: R = value
    return result


_LOCAL = threading.local()


class _CallThread:
    """A thread that calls one function after the other; as a daemon it ends with the process, even while it hangs."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def call(self, function: Callable[[], Any], limit_s: float) -> tuple[bool, Any]:
        """Whether it went well, and what it returned or raised; raises Empty after the limit."""
        self._calls.put(function)
        return self._answers.get(timeout=limit_s)

    def _work(self) -> None:
        while True:
            function = self._calls.get()
            try:
                self._answers.put((True, function()))
            except Exception as error:
                self._answers.put((False, error))
