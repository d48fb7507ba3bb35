"""Supervisor of a command: a second process that waits for the one that does the work, and ends it on a signal.

SIGINT, SIGTERM and SIGHUP end a command in the same way at any moment: the supervisor kills the worker and all of its
descendants, prints one line, and exits with 128 + the signal's number. The supervisor imports nothing heavy and does
none of the work, so neither a long call into C nor a library's signal handler can delay it. Killing is safe because
every write is atomic: the next run continues from what was finished, as it does after kill -9.

In the worker and its descendants the three signals are blocked, so that a signal to the whole process group (Ctrl-C)
reaches the supervisor only. The worker's side is in interruption.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from siamese_med.runtime import interruption

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command; one that is ignored when the command starts, as under nohup, stays ignored."""
RESUME_HINT = "the same command goes on where it stopped"
CLEANUP_TIMEOUT_S = 1.5
"""Seconds that the worker may take for `run_on_interruption`; a second signal ends it at once."""
WORKER_KILL_TIMEOUT_S, DESCENDANTS_KILL_TIMEOUT_S = 1.0, 2.0
"""Seconds to wait for the killed worker, and for its descendants. A process that cannot end yet, because of a hung disk
for instance, is left behind."""
DESCENDANTS_GRACE_S = 0.5
"""Seconds that descendants of a worker that ended by itself may take to end before they are killed."""
WRITE_TIMEOUT_S = 0.5
"""Seconds to wait for the reader of standard output or standard error."""
SUPERVISOR_POLL_S = 0.01
"""Seconds between two looks at processes that are being ended."""
PR_SET_CHILD_SUBREAPER = 36
"""Option of Linux's prctl(2): orphaned descendants become children of this process, so that none escapes."""
MAX_SCRATCH_PATH_CHARS = 75
"""Longest path of the temporary folder. multiprocessing adds 32 characters for a socket, whose limit is 107."""
RESOURCE_TRACKER_COMMAND = b"multiprocessing.resource_tracker"
"""Command of Python's resource tracker, which frees named semaphores when their last user has ended, and then ends."""
RESTORE_TERMINAL_CODES = "\x1b[?25h\r\x1b[K"
"""Codes that show the terminal's cursor, which a progress bar hides, and clear the rest of the bar."""


def run_under_supervisor() -> None:
    """Fork into supervisor and worker. This returns in the worker only; the supervisor exits with its exit code.

    The worker gets a temporary folder of its own (TMPDIR), which the supervisor removes. Call this before a second
    thread is started. Does nothing on systems other than Linux, or if this process has a supervisor already.
    """
    if interruption.is_supervised() or not sys.platform.startswith("linux"):
        return
    caught = [one for one in TERMINATION_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]  # nohup ignores one
    signal.pthread_sigmask(signal.SIG_BLOCK, {*caught, signal.SIGCHLD})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _open_standard_streams()
    notes, notes_of_worker = os.pipe()
    scratch = _own_scratch()
    _adopt_orphans()
    supervisor = os.getpid()
    if worker := os.fork():
        os.close(notes_of_worker)
        os._exit(_Supervisor(worker, caught, notes).watch(scratch))
    os.close(notes)
    if scratch:
        os.environ["TMPDIR"] = scratch
    from siamese_med.runtime.processes import end_with_parent

    end_with_parent(supervisor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    interruption.begin_supervised_work(supervisor, caught, notes_of_worker)


class _Supervisor:
    """The supervisor's state: the worker, the signals that end it, and the notes that the worker has written."""

    def __init__(self, worker: int, caught: Sequence[signal.Signals], notes: int) -> None:
        self._worker, self._caught, self._notes = worker, caught, notes
        self._said: list[str] = []
        self._status: int | None = None  # of the worker, once it has ended

    def watch(self, scratch: str | None) -> int:
        """Wait for the worker or a signal, end all descendants, and return the exit code of the command."""
        os.set_blocking(self._notes, False)
        ended_by = None
        while self._status is None and ended_by is None:
            heard = signal.sigwaitinfo({*self._caught, signal.SIGCHLD}).si_signo
            if heard == signal.SIGCHLD:
                self._reap()
            else:
                ended_by = heard
        if ended_by is not None:
            self._end_worker()
        self._end_rest(0.0 if ended_by is not None else DESCENDANTS_GRACE_S)
        code = self._conclude(ended_by)
        if scratch:
            from shutil import rmtree

            rmtree(scratch, ignore_errors=True)
        return code

    def _end_worker(self) -> None:
        """Let the worker finish its `run_on_interruption` calls, if there are any, and kill it."""
        self._read_notes()
        deadline = time.monotonic() + CLEANUP_TIMEOUT_S
        if interruption.NOTE_CLEANUP_PENDING in self._said:
            self._kill(self._worker, self._caught[0])  # it takes any of them for a request
            while not self._second_signal() and time.monotonic() < deadline and self._status is None:
                self._read_notes()
                if interruption.NOTE_CLEANUP_DONE in self._said:
                    break
        self._kill(self._worker, signal.SIGKILL)
        deadline = time.monotonic() + WORKER_KILL_TIMEOUT_S
        while self._status is None and time.monotonic() < deadline:
            self._reap()
            time.sleep(SUPERVISOR_POLL_S)

    def _second_signal(self) -> bool:
        """Wait for a moment for a second signal. One that the worker passes on is still the first."""
        heard = signal.sigtimedwait({*self._caught, signal.SIGCHLD}, SUPERVISOR_POLL_S)
        if heard is not None and heard.si_signo == signal.SIGCHLD:
            self._reap()
            return False
        return heard is not None and heard.si_pid != self._worker

    def _end_rest(self, patience_s: float) -> None:
        """Kill all remaining descendants; the resource tracker last, because it frees their semaphores."""
        now = time.monotonic()
        kill_from, deadline = now + patience_s, now + patience_s + DESCENDANTS_KILL_TIMEOUT_S
        while self._reap() and time.monotonic() < deadline:
            if time.monotonic() >= kill_from:
                left = list(_list_descendants(os.getpid()))
                others = [pid for pid in left if not _frees_semaphores(pid)]
                for pid in others or (left if time.monotonic() > deadline - DESCENDANTS_KILL_TIMEOUT_S / 2 else ()):
                    self._kill(pid, signal.SIGKILL)
            time.sleep(SUPERVISOR_POLL_S)

    def _reap(self) -> bool:
        """Collect ended children; returns whether any is left. Orphaned descendants are children of this process."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return True
                if pid == self._worker:
                    self._status = status
        return False

    def _kill(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if pid != self._worker or self._status is None:
                os.kill(pid, number)

    def _read_notes(self) -> None:
        with suppress(BlockingIOError):
            while content := os.read(self._notes, 65536):
                self._said += content.decode(errors="replace").splitlines()

    def _conclude(self, ended_by: int | None) -> int:
        """Print what ended the command, unless it ended by itself; returns the exit code."""
        self._read_notes()
        if ended_by is not None:
            texts = [
                line.removeprefix(interruption.NOTE_MESSAGE_PREFIX)
                for line in self._said
                if line.startswith(interruption.NOTE_MESSAGE_PREFIX)
            ]
            code, text = 128 + ended_by, (texts or [f"interrupted; {RESUME_HINT}"])[-1]
        elif (code := os.waitstatus_to_exitcode(self._status or 0)) < 0:
            name = signal.Signals(-code).name
            code, text = 128 - code, f"its process was ended by {name}, perhaps because memory ran out; {RESUME_HINT}"
        else:
            return code
        if "--json" in sys.argv and interruption.NOTE_ANSWER_STARTED not in self._said:
            import json

            _write(1, json.dumps({"error": text, "exit_code": code}, indent=2) + "\n")
        _write(2, (RESTORE_TERMINAL_CODES if os.isatty(2) else "") + f"siamese-med: {text}\n")
        return code


def _open_standard_streams() -> None:
    """Open closed standard streams, so that no other file, such as a database, gets their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _own_scratch() -> str | None:
    """Make a folder for temporary files, removed however the command ends; None if it cannot be made."""
    import fcntl

    parent = os.environ.get("TMPDIR") or "/tmp"
    folder = f"{parent}/siamese-med-{os.urandom(4).hex()}"
    if len(folder) > MAX_SCRATCH_PATH_CHARS:
        return None
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102 - pathlib would be the largest import of this process
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)  # systemd-tmpfiles does not clean what is locked
    except OSError:
        return None
    return folder


def _adopt_orphans() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _list_descendants(root: int) -> Iterator[int]:
    """List the descendants of a process, in any session; some may be missed while others end."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with suppress(OSError):
                parent = int(_read_proc_file(int(name), "stat").rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    waiting = [root]
    while waiting:
        yield from (found := children.get(waiting.pop(), []))
        waiting += found


def _frees_semaphores(pid: int) -> bool:
    with suppress(OSError):
        return RESOURCE_TRACKER_COMMAND in _read_proc_file(pid, "cmdline")
    return False


def _read_proc_file(pid: int, what: str) -> bytes:
    with open(f"/proc/{pid}/{what}", "rb") as file:  # noqa: PTH123
        return file.read()


def _write(descriptor: int, text: str) -> None:
    """Write without waiting long for a reader, and without being stopped by a terminal of another process group."""
    import select

    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        if select.select([], [descriptor], [], WRITE_TIMEOUT_S)[1]:
            os.write(descriptor, text.encode())
