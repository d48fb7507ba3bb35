"""How far long work is: a bar on standard error where somebody looks at it, and whoever else watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Task

ProgressCallback = Callable[[str, int, int], None]
"""Is told what is done, how much of it is done, and how much there is."""

CURRENT_PROGRESS_CALLBACK: ContextVar[ProgressCallback | None] = ContextVar("WATCHER", default=None)


@contextmanager
def report_progress_to(watcher: ProgressCallback) -> Iterator[None]:
    """Have everything inside the block tell the watcher how far it is."""
    before = CURRENT_PROGRESS_CALLBACK.set(watcher)
    try:
        yield
    finally:
        CURRENT_PROGRESS_CALLBACK.reset(before)


@contextmanager
def show_progress(verb: str, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Give a function that is told of so many more done; `unit` (files, say) makes the bar show their rate."""
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


@contextmanager
def show_wait_status(what: str) -> Iterator[None]:
    """Say what is waited for, where somebody looks, for as long as the block takes."""
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
