"""A separate user with an empty home: runs the real command line, is interrupted, and looks at what is left."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.commands import ROOT, siamese_med
from tests.studies import SECRET

MARK = "SIAMESE_TEST_USER"
POLL_S = 0.05
GONE_S = 300.0
UNFINISHED = "('RUNNING', 'PENDING', 'CANCELLING')"


@dataclass
class User:
    """Whose processes are told from all others by a variable that they inherit."""

    home: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        secret = self.home / ".config" / "siamese-med" / "secret"  # labels, and with them splits, follow the secret
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_bytes(SECRET)
        secret.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """What the user's processes see."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "SIAMESE_MED_", "XDG_"))}
        mine = {"HOME": str(self.home), MARK: self.mark, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return {**kept, **mine, "PREFECT_HOME": str(self.home / "prefect"), **self.extra}

    def start(self, *arguments: str | Path, cwd: Path, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command of siamese-med in a session of its own."""
        command = [sys.executable, "-m", "siamese_med", *map(str, arguments)]
        with (log or cwd / "log.txt").open("wb") as output:
            return subprocess.Popen(
                command, cwd=cwd, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )

    def call(self, *arguments: str | Path, cwd: Path, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command of siamese-med to its end."""
        command = [sys.executable, "-m", "siamese_med", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def call_here(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command that only asks a server in this process, which saves the imports of a new one."""
        from siamese_med import flows  # noqa: F401, I001 - it sets the environment of Prefect, so it comes first
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        named = {one: self.extra.get(one.name) for one in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
        with patch.dict(os.environ, self.environment, clear=True), temporary_settings(named):
            return siamese_med(*arguments, cwd=cwd)

    def ask(self, *arguments: str | Path, cwd: Path) -> dict[str, Any]:
        """What a command answers under --json."""
        return _answered(self.call(*arguments, "--json", cwd=cwd))

    def ask_here(self, *arguments: str | Path, cwd: Path) -> dict[str, Any]:
        """The same of a command that only asks a server, in this process."""
        return _answered(self.call_here(*arguments, "--json", cwd=cwd))

    def processes(self) -> dict[int, str]:
        """Who of this user runs now, and by which command."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes()
                if mine and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # gone, or not ours
        return found

    def left(self, within_s: float = GONE_S) -> dict[int, str]:
        """Who of this user still runs after waiting for the others to end."""
        deadline = time.monotonic() + within_s
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return found

    def kill_all(self) -> None:
        """Leave nothing behind, whatever a test has found."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What Prefect's database says; nothing where there is none yet."""
        path = self.home / "prefect" / "prefect.db"
        if not path.is_file():
            return []
        with closing(sqlite3.connect(path, timeout=300)) as database:
            return database.execute(sql).fetchall()

    def unfinished(self) -> list[str]:
        """Names of runs and tasks that are at work, if Prefect is to be believed."""
        return [
            str(name)
            for table in ("flow_run", "task_run")
            for (name,) in self.query(f"select name from {table} where state_type in {UNFINISHED}")
        ]

    @contextmanager
    def serving(self, *studies: Path, port: int, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`siamese-med serve`, up; ended with the block if it is still there."""
        log = cwd / "serve.log"
        process = self.start("serve", *studies, "--port", str(port), cwd=cwd, log=log)
        try:
            deadline = time.monotonic() + 600
            while "runs are shown" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(300)


def _answered(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def done_work(data: Path) -> dict[str, tuple[int, int]]:
    """Finished results that cost something, each by inode and time, so that one made again is noticed."""
    kinds = ("scans/**/*.nii.gz", "prepared/*/volumes/*.json", "models/*/models/model.safetensors", "scores/*/*.json")
    found = {}
    for kind in kinds:
        for path in data.glob(kind):
            building = any(part.startswith(".") for part in path.relative_to(data).parts)
            if not building:
                stat = path.stat()
                found[str(path.relative_to(data))] = (stat.st_ino, stat.st_mtime_ns)
    return found
