"""Troubles of a machine, real ones: a file that blocks, one that may not be read, a disk that is full."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks import kill, processes
from siamese_med.ingestion import workers
from siamese_med.ingestion.workers import Workers
from tests.commands import siamese_med
from tests.ingestion import children
from tests.ingestion.conftest import Place

HOLDER = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
files = [os.open(path, os.O_RDWR) for path in sys.argv[1:]]
for file in files:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""
DROP_BOUND = 24
"""PR_CAPBSET_DROP of Linux's prctl(2)."""
READ_ANYTHING = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads what its permissions forbid."""


UNBLOCKED_S = 300.0
"""Seconds for what does not block."""


@contextmanager
def blocking(*paths: Path) -> Iterator[None]:
    """Let nobody open these files: another process has leases on them, which the kernel takes away after 45 seconds."""
    command = [sys.executable, "-c", HOLDER, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"held\n":
            pytest.skip("this file system has no leases")
        try:
            with _patient_with_all_but(*paths):
                yield
        finally:
            holder.kill()


@contextmanager
def _patient_with_all_but(*blocked: Path) -> Iterator[None]:
    """Have ingest's limit hold for what blocks alone: on a busy machine anything else may take as long."""
    call, names = workers.Workers._call, set(map(str, blocked))

    def patient(self: Workers, function: Any, task: Any, timeout_s: float) -> Any:
        blocks = names & set(getattr(task, "paths", ()))
        return call(self, function, task, timeout_s if blocks else UNBLOCKED_S)

    with patch.object(workers.Workers, "_call", patient):
        yield


def as_anybody() -> None:
    """Make this process, once it runs its command, one that permissions hold for, also where it is root's."""
    for capability in READ_ANYTHING:
        ctypes.CDLL(None).prctl(DROP_BOUND, capability)


def with_small_files(most_bytes: int) -> Callable[[], None]:
    """Make this process one whose files may not grow beyond a size, which fails as a full disk does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def ingest(
    source: Path, place: Place, before: Callable[[], None] | None = None, **settings: Any
) -> tuple[int, dict[str, Any], str]:
    """Call `siamese-med ingest`: its exit code, its JSON, and what it wrote to standard error."""
    done = subprocess.run(
        _command(source, place, **settings),
        env=processes.environment(),
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=300,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def ingest_here(source: Path, place: Place) -> tuple[int, dict[str, Any]]:
    """Call the same in this process, where nothing disturbs it: that saves the imports of three processes."""
    with children.kept():
        done = siamese_med(*_command(source, place)[3:], cwd=Path.cwd())
    assert done.returncode in (0, 4), done.stderr
    return done.returncode, json.loads(done.stdout)


def _command(source: Path, place: Place, **settings: Any) -> list[str]:
    config = processes.settings(place.data.parent / "settings", workers=2, secret_file=str(place.secret), **settings)
    return processes.ingest_command(source, place.data, config, "--json")


def different(place: Place, undisturbed: Place) -> list[str]:
    """What two data folders and their reports differ in, file by file and row by row."""
    return kill.differences(kill.contents(place.data), kill.contents(undisturbed.data))


def balanced(facts: dict[str, Any]) -> bool:
    """Whether every file became one of the four."""
    return facts["files_seen"] == sum(facts[name] for name in ("ingested", "skipped", "duplicate", "quarantined"))


SHARE = """
import ctypes, os, struct, sys
file = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={file},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"share", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(ctypes.get_errno())
unique = struct.unpack_from("<Q", os.read(file, 2**20), 8)[0]
answer = struct.pack("<IIIIHHIIHHI", 7, 31, 0, 0, 8, 6, 4096, 1, 1, 0, 0).ljust(64, bytes(1))
os.write(file, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
print("mounted", flush=True)
sys.stdin.read()
"""


@contextmanager
def hung_share(folder: Path) -> Iterator[None]:
    """Hide a folder behind a file system that says that it is there and answers nothing more."""
    command = [sys.executable, "-c", SHARE, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        if server.stdout.readline() != b"mounted\n":
            pytest.skip("a file system of one's own can be mounted by root alone, where the kernel has FUSE")
        try:
            yield
        finally:
            server.kill()
            subprocess.run(["umount", "-l", folder], check=True)
