"""What a worker process does that ends badly; a module of its own, so that the process imports little to do it."""

from __future__ import annotations

import os
import signal
import time


def end_by(how: str) -> None:
    """Be killed, crash, hang, or raise what the machine's troubles raise."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(3600)
    raise {"memory": MemoryError(), "disk": OSError(5, "Input/output error")}.get(how, ValueError())
