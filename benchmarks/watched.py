"""One ingest in a process of its own, under watch: its account, its slowest task, lost workers, and peak memory.

python -m benchmarks.watched SOURCE DATA SECRET [WORKERS]   (used by fuzz; prints one JSON object)
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.workers import WorkerLostError, Workers
from siamese_med.study.config import IngestConfig

TIMEOUT_S = 10.0
SLOW_S = 5.0


class WatchedWorkers(Workers):
    """Workers that note how long each task takes and which are lost; `repr` of a task names its files."""

    slowest_s = 0.0
    slow: list[tuple[float, str]] = []  # noqa: RUF012 - one run a process
    lost_tasks: list[tuple[str, str]] = []  # noqa: RUF012 - `lost` is the count of the pool

    def _call(self, function: Callable[[Any], Any], task: Any, timeout_s: float) -> Any:
        started = time.perf_counter()
        result = super()._call(function, task, timeout_s)
        spent = time.perf_counter() - started
        WatchedWorkers.slowest_s = max(self.slowest_s, spent)
        if spent > SLOW_S:
            self.slow.append((round(spent, 1), repr(task)))
        if isinstance(result, WorkerLostError):
            self.lost_tasks.append((f"{result}", repr(task)))
        return result


def peaks() -> dict[str, int]:
    """Peak resident bytes of this process, and the largest of any child that has ended."""
    usage = {"parent": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(who).ru_maxrss * 1024 for name, who in usage.items()}


def ingest(source: Path, data: Path, secret: Path, workers: int) -> dict[str, Any]:
    """Ingest and say everything; an exception is told and not raised."""
    url = f"sqlite:///{data / 'catalogue.sqlite'}"
    config = IngestConfig(secret_file=secret, workers=workers, timeout_s=TIMEOUT_S)
    ingest_folder.Workers = WatchedWorkers  # type: ignore[attr-defined,misc]
    started = time.perf_counter()
    told: dict[str, Any] = {"error": ""}
    try:
        account = ingest_folder.ingest_files(source, data, url, config).account
        told |= {"account": asdict(account), "balanced": account.balanced()}
        told |= {"catalogue": asdict(catalogue.read_account(url)), "reasons": reasons(url)}
    except Exception:
        told["error"] = traceback.format_exc()
    told |= {"seconds": time.perf_counter() - started, "slowest_s": WatchedWorkers.slowest_s}
    return {**told, "slow": WatchedWorkers.slow, "lost": WatchedWorkers.lost_tasks, **peaks()}


def reasons(url: str) -> dict[str, str]:
    """What became of each content: its outcome, or the reason word."""
    found = catalogue.read_file_table(url)
    return {row.sha256: row.reason or row.outcome for row in found.itertuples()}


def main() -> int:
    """Print what was seen."""
    source, data, secret, *rest = sys.argv[1:]
    print(json.dumps(ingest(Path(source), Path(data), Path(secret), int(rest[0]) if rest else 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
