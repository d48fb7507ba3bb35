"""Atomic writing: a reader sees the old file or the new one, never half of one."""

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
from typing import TYPE_CHECKING, Any

from siamese_med.errors import NoSpaceError

if TYPE_CHECKING:
    import pandas as pd

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors that mean: no space on the disk, in the quota, or for a file as large."""

MIN_FREE_BYTES = 2**20
"""Free space below which a disk is taken to be the full one."""


def make_no_space_error(folder: Path, facts: Mapping[str, object] | None = None) -> NoSpaceError:
    """What to say of a full disk: that of the folder, or that of temporary files where only it is full."""
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
    """Whether an error comes from a full disk; libraries written in Rust put the number into their text."""
    return (isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS) or "(os error 28)" in str(error)


@contextmanager
def translate_full_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a NoSpaceError that names the folder that was written to."""
    try:
        yield
    except NoSpaceError:
        raise
    except Exception as error:
        if is_disk_full_error(error):
            raise make_no_space_error(folder) from error
        raise


@contextmanager
def replace_atomically(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, flush it to disk and rename it into place.

    What a killed writer of `path` left there is taken over, so that nothing of it stays. Raises NoSpaceError where the
    disk is full.
    """
    with translate_full_disk_errors(path.parent), _replace_atomically(path, mode) as temporary:
        yield temporary


@contextmanager
def _replace_atomically(path: Path, mode: int) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _claim_temporary(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def _claim_temporary(path: Path) -> tuple[int, Path]:
    """Lock the temporary file that goes by the name of `path`, or another one where a living writer has that."""
    temporary = path.with_name(f".tmp-{path.name}")
    with suppress(OSError):
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            if status.st_nlink == 1 and os.path.samestat(
                status, temporary.lstat()
            ):  # neither renamed nor by `link_or_copy_file`
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


def write_text_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write UTF-8 text atomically."""
    with replace_atomically(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes_file(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)


def create_private_file(path: Path, content: bytes) -> None:
    """Create a file that its owner alone can read, whole or not at all; one that is there already stays as it is.

    So two processes that make it at once agree on one content.
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
    """Make `path` the same file as `source` where the file system can, else a copy of it; atomically.

    Nothing here writes into a file that has its name, so neither can change under the other.
    """
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
    """Write UTF-8 text atomically without waiting for the disk, for the many small texts that can be derived again.

    One writer at a time; what a killed one leaves is found by `remove_stale_temporary_files`.
    """
    with translate_full_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json_file(path: Path, value: Any) -> None:
    """Write a value as indented JSON atomically; NaN is refused, since JSON has none."""
    write_text_file(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_parquet_file(path: Path, frame: pd.DataFrame, schema: Any = None) -> None:
    """Write a frame as Parquet atomically; `schema` of pyarrow, where its types are not to follow from the cells."""
    with replace_atomically(path) as temporary:
        frame.to_parquet(temporary, index=False, schema=schema)


@contextmanager
def hold_exclusive_lock(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that one run at a time is at work beside it; a second one says so and waits."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("another run is at work on this data folder: waiting for it to end\n")
            sys.stderr.flush()
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextmanager
def acquire_lock(lock: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file, at once or after whoever holds it; gives whether it is held."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def remove_stale_temporary_files(folder: Path) -> None:
    """Delete temporary files that a killed run left anywhere below `folder`; what a living one writes stays."""
    for leftover in folder.rglob(".tmp-*"):
        if leftover.is_file() and not _is_locked(leftover):
            leftover.unlink(missing_ok=True)


def read_file_signature(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written to: inode, time and size. For what is kept in one process."""
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
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
