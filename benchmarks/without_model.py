"""What is said of change in real patients without any model: each pair is held against rescans of its own two scans.

    python -m benchmarks.without_model [--real ../shared/real] [--datasets brain_tumor_progression open_ms]
        [--detector pretrained]

One row a pair of two visits in one contrast; `largest part` is the largest part of the change map. Where experts
outlined the tumour on both dates, its volumes stand beside (nominal voxels: the data set lost the true ones), and how
much of the largest part lies in what was outlined on either date.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.imaging import resampling, volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import detectors, pair_scoring
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.scoring.change.pair_measurement import PairMeasurement
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import PairScore
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY

CONFIG = ScoreConfig()
DETECTORS = {
    detectors.PRETRAINED_DETECTOR: detectors.build_pretrained_detector,
    detectors.RESIDUAL_DETECTOR: detectors.build_residual_detector,
}
COLUMNS = (
    "pair",
    "expert ml",
    "verdict",
    "p",
    "of growth",
    "map ml",
    "growth ml",
    "detectable ml",
    "pose",
    "largest part",
    "CPU-s",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--datasets", nargs="*", default=["brain_tumor_progression", "open_ms"])
    parser.add_argument("--detector", choices=DETECTORS, default=detectors.PRETRAINED_DETECTOR)
    given = parser.parse_args()
    instrument = build_instrument(given.detector)
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    series: dict[tuple[str, str], list[RealScan]] = defaultdict(list)
    for scan in list_real_scans(given.real):
        if scan.dataset in given.datasets:
            series[scan.person, scan.contrast].append(scan)
    for visits in series.values():
        for earlier, later in combinations(sorted(visits, key=lambda scan: scan.path), 2):
            began = time.process_time()
            cells = show(earlier, later, *score_alone(earlier, later, instrument))
            print(f"| {earlier.name} to {later.name} | {cells} | {time.process_time() - began:.0f} |", flush=True)


def build_instrument(detector: str) -> CalibratedDetector:
    """A detector without noise floors, so that each pair is held against rescans of its own two scans."""
    return CalibratedDetector(DETECTORS[detector](CONFIG), NoiseFloor({}), NoiseFloor({}))


def score_alone(earlier: RealScan, later: RealScan, instrument: CalibratedDetector) -> tuple[PairScore, str]:
    """Score a pair as the only one of its patient, and describe the largest part of its map."""
    sides = (
        PairScan(scan, find_region(scan, one.contrast), None, "MR", one.contrast, "unknown")
        for one, scan in ((earlier, earlier.read()), (later, later.read()))
    )
    pair, measured = pair_scoring.score_pair(*sides, instrument, CONFIG)
    score = pair_scoring.apply_multiple_testing([pair], CONFIG)[0]
    return score, describe_largest_part((earlier, later), score, *measured) if measured else ""


def describe_largest_part(
    scans: tuple[RealScan, RealScan], score: PairScore, found: PairMeasurement, probability: torch.Tensor
) -> str:
    """Kind, volume and p of the largest part that is listed, and its share inside what experts outlined."""
    if not score.components:
        return "none"
    part = max(score.components, key=lambda one: one.volume_ml or 0)
    words = f"{part.kind} {part.volume_ml:.2f} ml, p {part.p:.3f}"
    masks = [scan.path.parent / "tumour.nii.gz" for scan in scans]
    if not all(path.is_file() for path in masks):
        return words
    affine, shape = found.pair.space.affine, probability.shape
    outlined = torch.zeros(shape)
    for path, matrix in zip(masks, (found.pair.matrix_earlier, found.pair.matrix_later), strict=True):
        outlined += resampling.resample_volume(volume.read_volume(path), matrix @ affine, shape, nearest=True)[0, 0]
    marked = (probability >= MIN_CHANGE_PROBABILITY) & (found.evidence * (part.sign or 0) > 0)
    parts, _ = ndimage.label(marked.numpy(), np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = torch.from_numpy(parts == sizes.argmax())
    return f"{words}, {float((outlined > 0)[largest].float().mean()):.0%} in the tumour"


def show(earlier: RealScan, later: RealScan, score: PairScore, largest: str) -> str:
    """The cells of a pair between its name and its time."""
    known = " to ".join(f"{ml:.1f}" for one in (earlier, later) if (ml := measure_tumour_ml(one)) is not None)
    if score.change_p is None:
        return f"{known} | {score.verdict}: {', '.join(score.reasons)} | | | | | | | "
    seen = "" if score.smallest_detectable_ml is None else f"{score.smallest_detectable_ml:.2f}"
    figures = f"{score.change_p:.4f} | {score.growth_p:.4f} | {score.volume_ml:.2f} | {score.growth_ml:.2f}"
    verdict = " ".join([str(score.verdict), *score.reasons])
    return f"{known} | {verdict} | {figures} | {seen} | {score.pair_quality:.2f} | {largest}"


def measure_tumour_ml(scan: RealScan) -> float | None:
    """The volume in ml that an expert outlined beside a scan; None where there is no outline."""
    path = scan.path.parent / "tumour.nii.gz"
    if not path.is_file():
        return None
    mask = volume.read_volume(path)
    return float((mask.voxels > 0).sum() * mask.spacing_mm.prod() / 1000)


if __name__ == "__main__":
    main()
