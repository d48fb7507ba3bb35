"""What is said of change in real patients without any model: each pair is held against rescans of its own two scans.

    python -m benchmarks.without_model [--real ../shared/real] [--datasets brain_tumor_progression open_ms]

One row a pair of two visits in one contrast, with the plain residual as the detector. Where experts outlined the tumour
on both dates, its volumes stand beside (nominal voxels: the data set lost the true ones).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from functools import partial
from itertools import combinations
from pathlib import Path

import torch

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.imaging import volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import pair_scoring, residual_detector
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import PairScore

CONFIG = ScoreConfig()
DETECTOR = partial(residual_detector.detect_with_residual, smoothing_mm=CONFIG.smoothing_mm)
NO_MODEL = CalibratedDetector(DETECTOR, NoiseFloor({}), NoiseFloor({}))
COLUMNS = ("pair", "expert ml", "verdict", "p", "of growth", "map ml", "growth ml", "detectable ml", "pose", "CPU-s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--datasets", nargs="*", default=["brain_tumor_progression", "open_ms"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    series: dict[tuple[str, str], list[RealScan]] = defaultdict(list)
    for scan in list_real_scans(given.real):
        if scan.dataset in given.datasets:
            series[scan.person, scan.contrast].append(scan)
    for visits in series.values():
        for earlier, later in combinations(sorted(visits, key=lambda scan: scan.path), 2):
            began = time.process_time()
            cells = show(earlier, later, score_alone(earlier, later))
            print(f"| {earlier.name} to {later.name} | {cells} | {time.process_time() - began:.0f} |", flush=True)


def score_alone(earlier: RealScan, later: RealScan) -> PairScore:
    """Score a pair as the only one of its patient."""
    sides = (
        PairScan(scan, find_region(scan, one.contrast), None, "MR", one.contrast, "unknown")
        for one, scan in ((earlier, earlier.read()), (later, later.read()))
    )
    pair, _ = pair_scoring.score_pair(*sides, NO_MODEL, CONFIG)
    return pair_scoring.apply_multiple_testing([pair], CONFIG)[0]


def show(earlier: RealScan, later: RealScan, score: PairScore) -> str:
    """The cells of a pair between its name and its time."""
    known = " to ".join(f"{ml:.1f}" for one in (earlier, later) if (ml := measure_tumour_ml(one)) is not None)
    if score.change_p is None:
        return f"{known} | {score.verdict}: {', '.join(score.reasons)} | | | | | | "
    seen = "" if score.smallest_detectable_ml is None else f"{score.smallest_detectable_ml:.2f}"
    figures = f"{score.change_p:.4f} | {score.growth_p:.4f} | {score.volume_ml:.2f} | {score.growth_ml:.2f}"
    return f"{known} | {score.verdict} {', '.join(score.reasons)} | {figures} | {seen} | {score.pair_quality:.2f}"


def measure_tumour_ml(scan: RealScan) -> float | None:
    """The volume in ml that an expert outlined beside a scan; None where there is no outline."""
    path = scan.path.parent / "tumour.nii.gz"
    if not path.is_file():
        return None
    mask = volume.read_volume(path)
    return float((mask.voxels > 0).sum() * mask.spacing_mm.prod() / 1000)


if __name__ == "__main__":
    main()
