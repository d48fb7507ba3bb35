"""Child processes that end with their parent, however it ends, also by kill -9.

Run as a script with the arguments PARENT (a process id) and COMMAND, this module arranges that and becomes COMMAND.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl(2): the signal that this process gets when its parent ends."""
GROUP_END_TIMEOUT_S = 10.0
"""Seconds between SIGTERM and SIGKILL when a process group is ended."""


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, or at once if the parent has ended already.

    Does nothing on systems other than Linux; there, the process ends when its pipe closes or its work is done.

    Parameters
    ----------
    parent
        Process id of the expected parent; if another process is the parent by now, this process is killed. If None,
        whichever process is the parent now.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def run_process_group(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    output: IO[Any] | int | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own; at the end of the block the group gets SIGTERM, then SIGKILL.

    Call it in the main thread or one that lives as long: for the kernel, the thread is the parent.

    Parameters
    ----------
    environment
        All environment variables of the command; those of this process if None.
    output
        Where standard output and standard error go; those of this process if None.
    descriptors
        Open file descriptors that the command inherits under the same numbers.
    """
    wrapped = [sys.executable, "-P", __file__, str(os.getpid()), *command]
    process = subprocess.Popen(
        wrapped,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=descriptors,
    )
    try:
        yield process
    finally:
        end_process_group(process)


def end_process_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group: SIGTERM, and SIGKILL after GROUP_END_TIMEOUT_S. Waits for the process."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GROUP_END_TIMEOUT_S)
    with suppress(ProcessLookupError):  # those of the group that ignored SIGTERM
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    signal.pthread_sigmask(
        signal.SIG_SETMASK, ()
    )  # below a supervisor they are blocked, and `end_process_group` sends one
    os.execvp(sys.argv[2], sys.argv[2:])
