"""Opening files of the input: regular ones alone, since a pipe or a device may block, or do something, when opened."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from siamese_med.ingestion.reasons import RejectedError


def open_regular_file(path: Path) -> BufferedReader:
    """A regular file for reading; raises RejectedError (special_file, unlisted_folder), or OSError by the system."""
    _check(path.stat().st_mode)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe by now
    except BlockingIOError:  # another program holds a lease on the file, as Samba does, and has to give it up first
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check(os.fstat(descriptor).st_mode)
    except RejectedError:
        file.close()
        raise
    return file


def read_regular_file(path: Path) -> bytes:
    """All bytes of a regular file; raises what `open_regular_file` raises."""
    with open_regular_file(path) as file:
        return file.read()


def _check(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise RejectedError("unlisted_folder")
    if not stat.S_ISREG(mode):
        raise RejectedError("special_file")
