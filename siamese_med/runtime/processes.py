"""Processes that end with the one that started them, however that ends: also by kill -9.

Run as a script with PARENT and COMMAND it becomes COMMAND once that is settled.
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
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""
GROUP_END_TIMEOUT_S = 10.0
"""How long a group may take to end by itself."""


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends; at once where that has ended already.

    `parent` is the process id of who is to be outlived by nobody; the present parent where it is not given. Where the
    system is not Linux nothing happens: such a process ends when its pipe closes or its work is done.
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
    """Run a command in a process group of its own, which ends with the block: politely first, then not.

    `descriptors` are open files that the command gets under their numbers.

    Call it in the main thread, or one that lives as long: to the kernel the thread is the parent.
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
    """End a process and all of its group; returns when none of them is left to be waited for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GROUP_END_TIMEOUT_S)
    with suppress(ProcessLookupError):  # whoever of the group took no notice
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    signal.pthread_sigmask(
        signal.SIG_SETMASK, ()
    )  # below a supervisor they are blocked, and `end_process_group` sends one
    os.execvp(sys.argv[2], sys.argv[2:])
