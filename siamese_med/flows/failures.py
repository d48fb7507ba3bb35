"""What Prefect may know of an error: its kind and exit code. Its message may name a path, so that stays outside."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from siamese_med.errors import SiameseMedError

P = ParamSpec("P")
R = TypeVar("R")

TRANSIENT_ERRNOS = (errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENFILE, errno.EMFILE)
"""Troubles of the operating system that may be gone a moment later."""


class StageFailed(Exception):  # noqa: N818 - it reads as the run's state
    """Stands for `original` in Prefect's records."""

    def __init__(self, original: Exception) -> None:
        code = original.exit_code if isinstance(original, SiameseMedError) else 1
        super().__init__(f"{type(original).__name__} (exit code {code})")
        self.original = original

    def __reduce__(self) -> tuple[type[Exception], tuple[Any, ...]]:
        """Pickled, as a worker's records may be, only the kind is left."""
        return RuntimeError, self.args


def call_hiding_error_text(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function; whatever it raises comes out as StageFailed."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        failure = StageFailed(error)
    raise failure  # outside the handler, so that the records hold no chain of causes


def is_worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a second try may help: never for a bad input or a bad call."""
    original = getattr(state.result(raise_on_failure=False), "original", None)
    return isinstance(original, OSError) and original.errno in TRANSIENT_ERRNOS
