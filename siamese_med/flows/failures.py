"""Hide the text of errors from Prefect, which may record only their type and exit code: the text may contain a path."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from siamese_med.errors import SiameseMedError

P = ParamSpec("P")
R = TypeVar("R")

TRANSIENT_ERRNOS = (errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENFILE, errno.EMFILE)
"""Errors of the operating system (errno) that may be gone a moment later."""


class StageFailed(Exception):  # noqa: N818 - it reads as the run's state
    """Stands for an error in Prefect's records; `original` is the error itself and is never pickled.

    Examples
    --------
    >>> str(StageFailed(ValueError("/exports/Jane Doe")))
    'ValueError (exit code 1)'
    """

    def __init__(self, original: Exception) -> None:
        code = original.exit_code if isinstance(original, SiameseMedError) else 1
        super().__init__(f"{type(original).__name__} (exit code {code})")
        self.original = original

    def __reduce__(self) -> tuple[type[Exception], tuple[Any, ...]]:
        """Pickle as a RuntimeError with the type and the exit code alone."""
        return RuntimeError, self.args


def call_hiding_error_text(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function and raise whatever it raises as StageFailed.

    The new error has no chain of causes, so Prefect's records cannot contain the text of the original one.

    Examples
    --------
    >>> call_hiding_error_text(int, "7")
    7
    >>> call_hiding_error_text(int, "/exports/Jane Doe")
    Traceback (most recent call last):
    siamese_med.flows.failures.StageFailed: ValueError (exit code 1)
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:
        failure = StageFailed(error)
    raise failure  # outside the handler, so that the records hold no chain of causes


def is_worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether a second try may help: only after the operating system's TRANSIENT_ERRNOS.

    Parameters
    ----------
    _task, _run
        Not used; Prefect passes them.
    state
        Final state of the failed task.
    """
    original = getattr(state.result(raise_on_failure=False), "original", None)
    return isinstance(original, OSError) and original.errno in TRANSIENT_ERRNOS
