"""Running a command as a fresh process and measuring its whole tree: wall, CPU and peak memory, by the kernel's word.

Used by the other benchmarks; /proc is read, so it is for Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRET = b"the benchmarks' own secret, 32 b"
POLL_S = 0.02


@dataclass(frozen=True)
class Spent:
    """What a process tree took: seconds of wall and of CPU (user and system), exit code, and what it printed."""

    wall_s: float
    cpu_s: float
    code: int
    output: str


def settings(folder: Path, **ingest: float | str) -> Path:
    """A config file under `folder` with a fixed secret beside it, so that pseudonyms agree between runs."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"secret_file": str(secret), **ingest}.items()]
    config = folder / "config.toml"
    config.write_text("\n".join(["[ingest]", *lines, ""]), encoding="utf-8")
    return config


def ingest_command(source: Path, data: Path, config: Path, *options: str) -> list[str]:
    """The ingest that a user would call, without Prefect."""
    call = [sys.executable, "-m", "siamese_med", "ingest", str(source), "--data", str(data)]
    return [*call, "--reports", str(data.parent / f"{data.name}-reports"), "--config", str(config), "--no-prefect",
            "--quiet", *options]  # fmt: skip


def environment() -> dict[str, str]:
    """The caller's environment with the package in this working tree first."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def start(command: Sequence[str], output: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command in a process group of its own; standard output and error come together."""
    return subprocess.Popen(
        command, env=environment(), stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def spend(command: Sequence[str], limit_s: float = 3600) -> Spent:
    """Run a command to its end; its CPU time includes that of all children it waited for."""
    started = time.perf_counter()
    process = start(command)
    with _killed_after(process, limit_s):
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    return Spent(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, process.returncode, output)


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[str], limit_s: float) -> Iterator[None]:
    import threading

    watchdog = threading.Timer(limit_s, kill_group, (process.pid,))
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def kill_group(group: int) -> None:
    """SIGKILL to every process of a group, if there is any left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, those of this moment."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        found.append(one)
    return found[1:]


def supervised(pid: int) -> int:
    """The process that does the work of a command, whose supervisor is `pid`; that itself while it is alone."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process now and at its peak; zero where it is gone."""
    values = {"VmRSS": 0, "VmHWM": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in values:
                values[name] = int(rest.split()[0]) * 1024
    return values["VmRSS"], values["VmHWM"]


def cpu_of_tree() -> float:
    """Seconds of CPU, user and system, that this process and all below it have taken, those that ended among them."""
    ticks = 0
    for pid in (os.getpid(), *descendants(os.getpid())):
        with contextlib.suppress(OSError, IndexError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
