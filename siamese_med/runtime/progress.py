"""Progress of long work: a bar on standard error if that is a terminal, and a callback for other observers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from siamese_med.runtime.terminal_text import format_duration

if TYPE_CHECKING:
    from rich.progress import Task

_log = logging.getLogger(__name__)

ProgressCallback = Callable[[str, int, int], None]
"""A function that gets the name of the work, how much is done, and the total."""

CURRENT_PROGRESS_CALLBACK: ContextVar[ProgressCallback | None] = ContextVar("WATCHER", default=None)
"""The callback of `report_progress_to`, if any."""


@contextmanager
def report_progress_to(watcher: ProgressCallback) -> Iterator[None]:
    """Have all work inside the block report its progress to `watcher`.

    Examples
    --------
    >>> with report_progress_to(lambda verb, done, total: print(verb, done, "of", total)):
    ...     with show_progress("scoring", 3) as advance:
    ...         advance(1)
    scoring 1 of 3
    scoring 3 of 3
    """
    before = CURRENT_PROGRESS_CALLBACK.set(watcher)
    try:
        yield
    finally:
        CURRENT_PROGRESS_CALLBACK.reset(before)


@contextmanager
def show_progress(verb: str, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Show a progress bar for the block; gives a function to call with the number of items just done.

    Items that the block did not report count as done at its end, because they turned out to need no work.

    Parameters
    ----------
    verb
        Description of the work, for the bar and the callback.
    total
        Number of items; nothing is shown for 0.
    unit
        What the items are, such as `files`; with it, the bar shows their rate per second.
    """
    if not total:
        yield lambda _count: None
        return
    watcher, done = CURRENT_PROGRESS_CALLBACK.get(), 0
    with _bar(verb, total, unit) as advance_bar:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            advance_bar(count)
            if watcher:
                watcher(verb, done, total)

        yield advance
        advance(total - done)  # what turned out to be no work is done too


def log_step(name: str, seconds: float, left: Sequence[str] = ()) -> None:
    """Log that a step is done, how long it took, and which one is next: also where no terminal shows a bar.

    Parameters
    ----------
    name
        The step.
    seconds
        Its time.
    left
        Steps that follow.
    """
    _log.info("%s: %s%s", name, format_duration(seconds), f"; next: {left[0]}" if left else "")


@contextmanager
def show_wait_status(what: str) -> Iterator[None]:
    """Show on a terminal what is being waited for, as long as the block runs."""
    with _console().status(what) if sys.stderr.isatty() else nullcontext():
        yield


@contextmanager
def _bar(verb: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.0f} {unit}/s" if unit else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=_console(), transient=True) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda count: bar.advance(task, count)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
