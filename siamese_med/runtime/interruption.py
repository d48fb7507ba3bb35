"""The working process's side of an interruption: what it tells its supervisor (see supervisor.py), and what it is told.

Without a supervisor (the library in somebody's script, or a system that is not Linux) all of this does nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

NOTE_CLEANUP_PENDING, NOTE_CLEANUP_DONE, NOTE_ANSWER_STARTED, NOTE_MESSAGE_PREFIX = (
    "last-words",
    "done",
    "answering",
    "say ",
)
"""Lines that a worker writes to its supervisor."""


class _InterruptionState:
    """State of this process: its supervisor, the pipe to it, and whether an interruption is under way."""

    supervisor: int | None = None
    notes: int = -1
    by: Sequence[signal.Signals] = ()
    now: bool = False
    last_words: list[Callable[[], Any]] = []  # noqa: RUF012 - one list for the process


def begin_supervised_work(supervisor: int, caught: Sequence[signal.Signals], notes: int) -> None:
    """Take the role of the worker: the signals are blocked in all of its threads but one, which waits for them."""
    import threading

    _InterruptionState.supervisor, _InterruptionState.by, _InterruptionState.notes = supervisor, caught, notes
    for one in caught:  # for whoever unblocks them again, as Python's own resource tracker does when it starts
        signal.signal(one, _handle_signal)
    if caught:
        threading.Thread(target=_listen, daemon=True, name="interruption").start()


def is_supervised() -> bool:
    """Whether this process has a supervisor."""
    return _InterruptionState.supervisor is not None


def set_interruption_message(text: str) -> None:
    """Set the line that tells of an interruption from now on."""
    _send_note(NOTE_MESSAGE_PREFIX + text)


def note_answer_started() -> None:
    """Note that the command's answer is being written from now on."""
    _send_note(NOTE_ANSWER_STARTED)


def wait_if_interrupted() -> None:
    """Do not go on where an interruption is under way: what comes next could only be a message about its effects."""
    if _InterruptionState.now or set(_InterruptionState.by) & signal.sigpending():
        _wait_for_end()


@contextmanager
def run_on_interruption(speak: Callable[[], None]) -> Iterator[None]:
    """Have `speak` called, in a thread of its own, when an interruption comes while the block is at work."""
    from contextvars import copy_context

    if not is_supervised():
        yield
        return
    words = copy_context()
    _InterruptionState.last_words.append(entry := lambda: words.run(speak))
    _send_note(NOTE_CLEANUP_PENDING)
    try:
        yield
    finally:
        _InterruptionState.last_words.remove(entry)


def unblock_signals_for_children() -> Callable[[int, FrameType | None], None]:
    """Unblock the signals in this thread, whose children then have their defaults; gives the handler to keep."""
    for one in _InterruptionState.by:
        signal.signal(one, _handle_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _InterruptionState.by)
    return _handle_signal


def _listen() -> None:
    """Pass on to the supervisor what this process alone was sent, and speak the last words."""
    while True:
        heard = signal.sigwaitinfo(_InterruptionState.by)
        if _pass_on(heard.si_signo, heard.si_pid):
            for speak in list(_InterruptionState.last_words):
                with suppress(Exception):  # nobody is left to be told of it
                    speak()
            _send_note(NOTE_CLEANUP_DONE)


def _handle_signal(number: int, _frame: FrameType | None) -> None:
    _pass_on(number, None)
    _wait_for_end()


def _pass_on(number: int, sender: int | None) -> bool:
    """Tell the supervisor of the first signal, which it may not have had; gives whether it is the first."""
    known, _InterruptionState.now = _InterruptionState.now, True
    if not known and sender != _InterruptionState.supervisor and os.getppid() == _InterruptionState.supervisor:
        os.kill(os.getppid(), number)
    return not known


def _wait_for_end() -> None:
    while True:
        time.sleep(1)


def _send_note(text: str) -> None:
    if is_supervised():
        with suppress(OSError):
            os.write(_InterruptionState.notes, f"{text}\n".encode())
