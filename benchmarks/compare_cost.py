"""What `siamese-med compare A B` costs, start included: wall, CPU-seconds and peak memory of a fresh process.

    python -m benchmarks.compare_cost SCAN [--edges 1 2] [--threads 1 2] [--repeats 1]

A and B are two simulated scans of the head that SCAN shows, such as `../shared/real/ds000011/sub-01/sub-01_T1w.nii.gz`:
other scanners, poses and contrasts, at each voxel edge (mm) of --edges. The starter model compares them, with as many
torch threads as --threads says; the last column tells whether all answers about one pair are the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import processes
from siamese_med.imaging import volume
from siamese_med.simulation import rescan

NAMES = ("A_T1w.nii.gz", "B_T1w.nii.gz")
NOISE_SHARE = 0.7
"""Noise of the two scans, as a share of that measured in the source."""


@dataclass(frozen=True)
class Answer:
    """What one comparison took, and what it said."""

    wall_s: float
    cpu_s: float
    peak_gb: float
    text: str


def write_pair(source: Path, folder: Path, edge_mm: float, seed: int) -> list[Path]:
    """Write two scans of the body of a source with voxels of `edge_mm`; returns their paths."""
    body = rescan.extract_body(volume.read_volume(source))
    rng = np.random.default_rng(seed)
    machines = rescan.draw_rescan_scanners(body.spacing_mm, rng)
    paths = [folder / name for name in NAMES]
    for path, machine in zip(paths, machines, strict=False):
        fine = replace(machine, noise=NOISE_SHARE * body.noise, pixel_mm=edge_mm, slice_mm=edge_mm)
        scan = rescan.acquire_rescan(body, fine, rng, contrast=rescan.draw_contrast_levels(rng))
        volume.write_volume(path, scan.volume)
    return paths


def compare(scans: list[Path], folder: Path, threads: int) -> Answer:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "siamese_med", "compare", *map(str, scans), "--json", "--quiet"]
    environment = {**processes.environment(), "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"siamese-med compare ended with exit code {process.returncode}")
    wall_s = time.perf_counter() - started
    return Answer(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, text)


def main() -> None:
    """Print a line for each voxel edge and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--edges", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{'edge mm':>8}{'threads':>9}{'wall s':>8}{'CPU s':>8}{'peak GB':>9}  same answer")
    for edge_mm in given.edges:
        with tempfile.TemporaryDirectory(prefix="compare-cost-") as name:
            folder, first = Path(name), ""
            scans = write_pair(given.scan, folder, edge_mm, given.seed)
            for threads in given.threads:
                answers = [compare(scans, folder, threads) for _ in range(given.repeats)]
                first = first or answers[0].text
                wall_s, cpu_s = (
                    statistics.median(getattr(one, field) for one in answers) for field in ("wall_s", "cpu_s")
                )
                peak_gb = max(one.peak_gb for one in answers)
                same = "yes" if all(one.text == first for one in answers) else "NO"
                print(f"{edge_mm:>8}{threads:>9}{wall_s:>8.1f}{cpu_s:>8.1f}{peak_gb:>9.2f}  {same}", flush=True)


if __name__ == "__main__":
    main()
