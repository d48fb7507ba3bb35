"""Opening files of the input: only regular ones, since opening a pipe or device may block or have side effects."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from siamese_med.ingestion.reasons import RejectedError


def open_regular_file(path: Path) -> BufferedReader:
    """Open a regular file for reading, without ever waiting for a pipe.

    The type is checked before and after opening, since the file may be exchanged in between.

    Raises
    ------
    RejectedError
        `special_file` for a pipe, socket or device, `unlisted_folder` for a folder.
    OSError
        The system cannot open the file.
    """
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
    """Read all bytes of a regular file.

    Raises RejectedError and OSError as `open_regular_file` does, and OSError where reading fails half way.
    """
    with open_regular_file(path) as file:
        return file.read()


def _check(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise RejectedError("unlisted_folder")
    if not stat.S_ISREG(mode):
        raise RejectedError("special_file")
