"""Peak memory of an ingest against the number of series: under 1 GB in all, and not growing with their number.

Resident bytes are sampled every 20 ms over parent and workers; the peak of each process is the kernel's own mark, the
total is the largest sum seen at one moment (pages that processes share count in each, so it is an upper bound).

python -m benchmarks.memory --series 25 50 100 200 --slices 40 [--long 196]   (--long: the last row once more)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import large_export, processes
from benchmarks.large_export import Written

MAX_BYTES = 1_000_000_000
MAX_GROWTH = 4_000_000
"""Bytes per thousand files; what a path and its outcome take is less."""


@dataclass(frozen=True)
class Peak:
    """One ingest: files, seconds, and peak bytes of the parent, of the largest worker, and of all at one moment."""

    series: int
    files: int
    wall_s: float
    parent: int
    worker: int
    total: int


def watch(command: Sequence[str]) -> tuple[float, int, int, int]:
    """Run a command; seconds and peak bytes of parent, largest worker, and all together."""
    started = time.perf_counter()
    process = processes.start(command, output=-3)
    parent = worker = total = 0
    while process.poll() is None:
        working = processes.supervised(process.pid)
        now, parent_peak = processes.memory(working)
        below = [processes.memory(pid) for pid in processes.descendants(working)]
        parent, total = max(parent, parent_peak), max(total, now + sum(one for one, _ in below))
        worker = max([worker, *(peak for _, peak in below)])
        time.sleep(processes.POLL_S)
    if process.returncode not in (0, 4):
        raise SystemExit(f"ingest ended with exit code {process.returncode}")
    return time.perf_counter() - started, parent, worker, total


def measure(series: Sequence[Written], export: Path, folder: Path, config: Path) -> Peak:
    """Ingest some series of an export, linked into a folder of their own, into a fresh data folder."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = Path(name) / "source"
        for path in (path for one in series for path in one.files):
            place = source / path.relative_to(export)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(path)
        spent = watch(processes.ingest_command(source, Path(name) / "data", config))
    return Peak(len(series), sum(len(one.files) for one in series), *spent)


def growth(peaks: Sequence[Peak]) -> float:
    """Bytes that the total grows by with a thousand files: the slope of a line through all rows but the smallest."""
    chosen = peaks[1:] if len(peaks) > 2 else peaks
    return float(np.polyfit([one.files / 1000 for one in chosen], [one.total for one in chosen], 1)[0])


def table(peaks: Sequence[Peak]) -> str:
    """One line an ingest, memory in MB."""
    lines = [f"{'series':>7}{'files':>8}{'s':>8}{'parent':>9}{'worker':>9}{'total':>9}  (MB)"]
    for one in peaks:
        sizes = "".join(f"{size / 1e6:>9.0f}" for size in (one.parent, one.worker, one.total))
        lines.append(f"{one.series:>7}{one.files:>8}{one.wall_s:>8.1f}{sizes}")
    return "\n".join(lines)


def main() -> int:
    """Print the table and the growth; 0 where both stay within their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--long", type=int, default=0, help="slices of one more ingest of the largest number of series")
    for name, default in (("slices", 40), ("size", 256), ("seed", 0), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    peaks, long = [], []
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        config = processes.settings(folder, workers=asked.workers)
        written = large_export.write(folder / "export", max(asked.series), asked.slices, asked.size, asked.seed)
        for count in sorted(asked.series):
            peaks.append(measure(written[:count], folder / "export", folder, config))
        if asked.long:
            export = folder / "long"
            longer = large_export.write(export, max(asked.series), asked.long, asked.size, asked.seed)
            long.append(measure(longer, export, folder, config))
    print(table([*peaks, *long]))
    grows = growth(peaks) if len(peaks) > 1 else 0.0
    print(f"growth of the total: {grows / 1e6:.1f} MB per thousand files (limit {MAX_GROWTH / 1e6:.0f})")
    most = max(one.total for one in (*peaks, *long))
    print(f"peak of all processes together: {most / 1e6:.0f} MB (limit {MAX_BYTES / 1e6:.0f})")
    return 0 if most < MAX_BYTES and grows < MAX_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
