"""A Dask scheduler and some workers on loopback, each a process of its own, as a department's cluster would be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ONE_THREAD = ["--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]


@contextmanager
def cluster(
    folder: Path, workers: int, environment: Mapping[str, str]
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The scheduler's address and the workers; all ended with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": dict(environment)}
    python = [sys.executable, "-m"]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    started = [subprocess.Popen([*scheduler, "--scheduler-file", str(file)], **quiet)]
    worker = [*python, "distributed.cli.dask_worker", "--scheduler-file", str(file), *ONE_THREAD]
    try:
        deadline = time.monotonic() + 300
        while not file.is_file():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.1)
        for number in range(workers):
            place = ["--local-directory", str(folder / f"worker-{number}")]
            started.append(subprocess.Popen([*worker, *place], **quiet))
        yield json.loads(file.read_text())["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
