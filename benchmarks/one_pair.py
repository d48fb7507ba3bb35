"""Time and peak memory of change detection on one pair of whole heads at 1 mm, step by step.

    python -m benchmarks.one_pair --model DIR [--spacing 1.0] [--threads 2]

Two simulated scans of 1 mm voxels are written, then a fresh process reads, aligns, lays and maps them; so its peak is
that of a user's. The network runs on an accelerator where there is one. The model need not have learned at this
spacing: its map is then not worth looking at, but takes as long.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from siamese_med.imaging import volume
from siamese_med.network import change_inference
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import change_map, detectors
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.simulation import anatomy, scanner
from siamese_med.study.config import ScoreConfig

SCANS = ("earlier.nii.gz", "later.nii.gz")


def main() -> None:
    """Write the scans and watch a fresh process, or be that process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--spacing", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scans", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.scans:
        run(given.scans, given.model, given.spacing)
        return
    with tempfile.TemporaryDirectory(prefix="one-pair-") as name:
        write(Path(name))
        command = [sys.executable, "-m", "benchmarks.one_pair", "--scans", name, "--model", str(given.model)]
        subprocess.run([*command, "--spacing", str(given.spacing), "--threads", str(given.threads)], check=True)


def write(folder: Path) -> None:
    """Two scans of one simulated patient, voxels of 1 mm, as whole as a field of view of 200 x 230 x 180 mm."""
    rng = np.random.default_rng(0)
    person = anatomy.simulate_anatomy(rng, 1.0)
    for name, machine in zip(SCANS, scanner.draw_scanners(rng, 2), strict=True):
        fine = replace(machine, pixel_mm=1.0, slice_mm=1.0)
        volume.write_volume(folder / name, scanner.acquire_scan(person, fine, rng).volume)


def run(folder: Path, model: Path, spacing_mm: float) -> None:
    """Read, align, lay and map one pair; prints a line a step."""
    where = "GPU" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    with _timed(f"in all ({where})"):
        with _timed("read"):
            earlier, later = (volume.read_volume(folder / name) for name in SCANS)
        with _timed("find the brains"):
            regions = find_region(earlier), find_region(later)
        with _timed("lay on each other"):
            pair = register_pair(earlier, later, regions, spacing_mm)
        with _timed("residual"):
            plain = detectors.build_residual_detector(ScoreConfig())(pair, spacing_mm)
        with _timed("network, loaded and run"):
            learned = change_inference.detect_with_network(model, pair, spacing_mm)
        with _timed("figures"):
            figures = [change_map.summarise_map(evidence, pair).figure for evidence in (plain, learned)]
    print(f"pair's grid {' x '.join(map(str, pair.space.inside.shape))}, figures {figures[0]:.1f} and {figures[1]:.1f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


@contextmanager
def _timed(step: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{step:28s} {time.perf_counter() - wall:7.1f} s  {time.process_time() - cpu:7.1f} CPU-s", flush=True)


if __name__ == "__main__":
    main()
