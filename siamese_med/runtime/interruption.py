"""Interruption, in the process that does the work: how it and its supervisor (supervisor.py) tell each other.

Without a supervisor, that is in a script that uses the library or on a system other than Linux, nothing here has an
effect.
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
"""Lines that the worker writes to its supervisor through a pipe."""


class _InterruptionState:
    """State of this process: its supervisor's process id, the pipe to it, whether an interruption is under way."""

    supervisor: int | None = None
    notes: int = -1
    by: Sequence[signal.Signals] = ()
    now: bool = False
    cleanups: list[Callable[[], Any]] = []  # noqa: RUF012 - one list for the process


def begin_supervised_work(supervisor: int, caught: Sequence[signal.Signals], notes: int) -> None:
    """Make this process the worker: start the one thread that waits for signals; in all others they are blocked.

    Parameters
    ----------
    supervisor
        Process id of the supervisor.
    caught
        Signals that interrupt the work. They are blocked already when this is called.
    notes
        File descriptor of the pipe to the supervisor.
    """
    import threading

    _InterruptionState.supervisor, _InterruptionState.by, _InterruptionState.notes = supervisor, caught, notes
    for one in caught:  # if they are unblocked, as Python's resource tracker does when it starts
        signal.signal(one, _handle_signal)
    if caught:
        threading.Thread(target=_listen, daemon=True, name="interruption").start()


def is_supervised() -> bool:
    """Tell whether this process has a supervisor, which ends it on an interruption."""
    return _InterruptionState.supervisor is not None


def set_interruption_message(text: str) -> None:
    """Set the line that the supervisor prints if the command is interrupted from now on."""
    _send_note(NOTE_MESSAGE_PREFIX + text)


def note_answer_started() -> None:
    """Tell the supervisor that the command's answer is being written, so that it adds no JSON of its own."""
    _send_note(NOTE_ANSWER_STARTED)


def wait_if_interrupted() -> None:
    """Stop here if an interruption is under way; this process is about to be killed.

    Call it before an error is reported: the error may be an effect of the interruption only.
    """
    if _InterruptionState.now or set(_InterruptionState.by) & signal.sigpending():
        _wait_for_end()


@contextmanager
def run_on_interruption(cleanup: Callable[[], None]) -> Iterator[None]:
    """Have `cleanup` called if an interruption comes during the block.

    It runs in a thread of its own, with the context variables of the caller. The process is killed when it returns,
    or after a short timeout; its errors are ignored. Used to mark a recorded run as cancelled.
    """
    from contextvars import copy_context

    if not is_supervised():
        yield
        return
    context = copy_context()
    _InterruptionState.cleanups.append(entry := lambda: context.run(cleanup))
    _send_note(NOTE_CLEANUP_PENDING)
    try:
        yield
    finally:
        _InterruptionState.cleanups.remove(entry)


def unblock_signals_for_children() -> Callable[[int, FrameType | None], None]:
    """Unblock the signals in this thread, so that processes it starts do not inherit the block.

    Returns the signal handler, for callers that install handlers of their own and have to put this one back.
    """
    for one in _InterruptionState.by:
        signal.signal(one, _handle_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _InterruptionState.by)
    return _handle_signal


def _listen() -> None:
    """Wait for signals; pass them on to the supervisor, and run what was registered with `run_on_interruption`."""
    while True:
        heard = signal.sigwaitinfo(_InterruptionState.by)
        if _pass_on(heard.si_signo, heard.si_pid):
            for cleanup in list(_InterruptionState.cleanups):
                with suppress(Exception):  # there is no one left to report it to
                    cleanup()
            _send_note(NOTE_CLEANUP_DONE)


def _handle_signal(number: int, _frame: FrameType | None) -> None:
    _pass_on(number, None)
    _wait_for_end()


def _pass_on(number: int, sender: int | None) -> bool:
    """Send the first signal to the supervisor, which may not have received it; returns whether it is the first."""
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
