"""Atomic writing of files, lock files and digests. A reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from siamese_med.errors import MachineError, NoSpaceError, NotWritableError

if TYPE_CHECKING:
    import pandas as pd

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors of a full disk: no space left, quota used up, file larger than a limit allows."""

REFUSED_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""System errors of a folder that may not be written to: somebody else's, a read-only disk, or a file in its place."""

MIN_FREE_BYTES = 2**20
"""A disk with less free space than this, in bytes, counts as full (1 MiB)."""


def make_no_space_error(folder: Path, facts: Mapping[str, object] | None = None) -> NoSpaceError:
    """Make the error for a full disk; it names `folder`, or the temporary folder if only that one's disk is full.

    `facts` are the results so far, for `--json`.
    """
    temporary = Path(tempfile.gettempdir())
    place = temporary if _free_bytes(folder) >= MIN_FREE_BYTES > _free_bytes(temporary) else folder
    return NoSpaceError(
        f"no space left on the disk of {place}: free some, or raise your quota, then run the same command again; "
        "what is finished stays",
        facts,
    )


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def is_disk_full_error(error: BaseException) -> bool:
    """Tell whether an error comes from a full disk.

    Libraries written in Rust raise errors of their own, with the system's error number in the text.

    Examples
    --------
    >>> is_disk_full_error(OSError(errno.ENOSPC, "No space left on device"))
    True
    >>> is_disk_full_error(FileNotFoundError(errno.ENOENT, "No such file"))
    False
    """
    return (isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS) or "(os error 28)" in str(error)


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Turn errors of a full disk or of a folder that may not be written to into one that names `folder`."""
    try:
        yield
    except MachineError:
        raise
    except Exception as error:
        if is_disk_full_error(error):
            raise make_no_space_error(folder) from error
        if isinstance(error, OSError) and error.errno in REFUSED_ERRNOS and _concerns(error, folder):
            why = os.strerror(error.errno).lower()
            raise NotWritableError(
                f"cannot write to {folder} ({why}): make it a folder that you may write to, or name another one"
            ) from error
        raise


def _concerns(error: OSError, folder: Path) -> bool:
    """Tell whether an error is about this folder, something in it, or a folder above, and not about a file read."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    return place.is_relative_to(folder) or folder.is_relative_to(place)


@contextmanager
def replace_atomically(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends without an error, flush it and rename it to `path`.

    The temporary file of a killed writer of `path` is reused, so none is left behind. `mode` are the permissions of
    the new file; without it they follow the user's umask. On an error the old file stays as it was. Raises NoSpaceError
    when the disk is full, NotWritableError for a folder that may not be written to.
    """
    with translate_write_errors(path.parent), _replace_atomically(path, mode) as temporary:
        yield temporary


@contextmanager
def _replace_atomically(path: Path, mode: int | None) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _claim_temporary(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~read_umask() if mode is None else mode)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def read_umask() -> int:
    """Read the umask of this process without changing it, as `os.umask` would for a moment, for all threads.

    Examples
    --------
    >>> 0 <= read_umask() <= 0o777
    True
    """
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def _claim_temporary(path: Path) -> tuple[int, Path]:
    """Open and lock the temporary file of `path`, or one with a random name if another process is writing that."""
    temporary = path.with_name(f".tmp-{path.name}")
    with suppress(OSError):
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            if status.st_nlink == 1 and os.path.samestat(
                status, temporary.lstat()
            ):  # still this file, and not one of `link_or_copy_file`
                os.ftruncate(handle, 0)
                os.fchmod(handle, 0o600)
                return handle, temporary
        except OSError:
            pass
        os.close(handle)
    handle, name = tempfile.mkstemp(prefix=".tmp-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle, Path(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_file(path: Path, text: str, mode: int | None = None) -> None:
    """Write text as UTF-8 atomically; `mode` as of `replace_atomically`."""
    with replace_atomically(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes_file(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)


def create_private_file(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read (0600), with all of its content or not at all.

    An existing file is not changed, so two processes that create it at the same time end up with the same content.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy_file(source: Path, path: Path) -> None:
    """Make `path` a hard link to `source`, or a copy where the file system has no links; atomically.

    This package replaces files instead of writing into them, so a change to one does not change the other.
    """
    with translate_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.samefile(source):
            return
        temporary = path.with_name(f".tmp-{path.name}")
        temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        with replace_atomically(path) as copy:
            shutil.copyfile(source, copy)
        return
    temporary.replace(path)


def write_text_file_without_sync(path: Path, text: str) -> None:
    """Write text as UTF-8 atomically, but do not wait for the disk: for many small files that can be made again.

    Only one process may write `path` at a time. The temporary file of a killed writer is removed by
    `remove_stale_temporary_files`.
    """
    with translate_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json_file(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, atomically. Raises ValueError for NaN, which JSON lacks."""
    write_text_file(path, format_json(value))


def format_json(value: Any) -> str:
    """Format a value as `write_json_file` writes it.

    Examples
    --------
    >>> format_json({"b": None, "a": 1})
    '{\\n  "a": 1,\\n  "b": null\\n}\\n'
    """
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_parquet_file(path: Path, frame: pd.DataFrame, schema: Any = None) -> None:
    """Write a frame as Parquet atomically, without its index.

    `schema` is pyarrow's, where the types of columns are not to follow from their cells.
    """
    with replace_atomically(path) as temporary:
        frame.to_parquet(temporary, index=False, schema=schema)


def _open_lock(lock: Path) -> IO[str]:
    with translate_write_errors(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("w")


@contextmanager
def hold_exclusive_lock(lock: Path) -> Iterator[None]:
    """Hold a lock file for the block. A second run prints a line to standard error and waits for the first to end."""
    with _open_lock(lock) as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("another run is using this data folder: waiting for it to finish\n")
            sys.stderr.flush()
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextmanager
def acquire_lock(lock: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file for the block if it is free; gives whether it is held. With `wait`, wait until it is free."""
    with _open_lock(lock) as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def remove_stale_temporary_files(folder: Path) -> None:
    """Delete temporary files that a killed run left anywhere below `folder`, but none that is being written."""
    for leftover in folder.rglob(".tmp-*"):
        if leftover.is_file() and not _is_locked(leftover):
            leftover.unlink(missing_ok=True)


def read_file_signature(path: Path) -> tuple[int, int, int]:
    """Read inode, time of change (ns) and size (bytes) of a file; they differ when it was replaced or written to.

    For caches inside one process. For anything that is stored, use `compute_file_digest`.
    """
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def compute_file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
