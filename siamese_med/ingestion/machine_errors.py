"""Temporary errors of the machine, and the reason word of each."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType

from siamese_med.errors import MachineError, NoSpaceError
from siamese_med.runtime.files import DISK_FULL_ERRNOS

REASON_BY_ERRNO: Mapping[int, str] = MappingProxyType(
    {
        **dict.fromkeys(DISK_FULL_ERRNOS, "no_disk_space"),
        errno.EACCES: "unreadable_file",
        errno.EPERM: "unreadable_file",
        errno.ENOENT: "file_vanished",
        errno.ETIMEDOUT: "timed_out",
        errno.ENOMEM: "out_of_memory",
        errno.EMFILE: "open_files_limit",
        errno.ENFILE: "open_files_limit",
        **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR), ""),  # the path is at fault
    }
)
"""Reason word by the number of a system error; empty where the path itself is at fault."""


def find_machine_error_reason(error: BaseException) -> str:
    """Return the reason word of an error of the machine, which may pass; empty where the content is at fault.

    Libraries raise OSError for broken content too; only errors from the system have a number.

    Examples
    --------
    >>> find_machine_error_reason(MemoryError()), find_machine_error_reason(OSError("broken header"))
    ('out_of_memory', '')
    """
    if isinstance(error, NoSpaceError):
        return "no_disk_space"
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno is not None:
        return REASON_BY_ERRNO.get(error.errno, "read_error")
    return ""


def find_write_error_reason(error: OSError | MachineError) -> str:
    """Return the reason word of an error while the result was written.

    A full disk, too many open files and lack of memory have words of their own; everything else is `write_error`.
    """
    word = find_machine_error_reason(error)
    return word if word in ("no_disk_space", "open_files_limit", "out_of_memory") else "write_error"
