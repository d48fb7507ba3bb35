"""How exactly two synthetic scans of one person are laid on each other, and which failures are noticed.

    python -m benchmarks.synthetic_pose [--label-maps ../shared/real/label_maps] [--pairs 6] [--hard 4] [--seed 0]

Every label map is scanned twice for each pair, in contrasts and protocols drawn at random, whole or defaced, one in
four brain-extracted, with slices of up to 6 mm in any plane, turned by up to 20 degrees and moved by up to 30 mm. The
truth is exact. Hard pairs are turned by 40 to 180 degrees, are half a head, or have noise or a head in disorder for a
scan. A failure is an error of more than 5 degrees or 5 mm, or any pose of what has none. It is caught if the pair is
not comparable: by `score.min_pose_quality` or by `score.min_overlap`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from benchmarks import posed
from benchmarks.alignment import measure_apart
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import pair_registration
from siamese_med.simulation import label_map_synthesis, synthetic_head_scans
from siamese_med.simulation.label_map_synthesis import LabelMap
from siamese_med.simulation.synthetic_head_scans import HeadProtocol
from siamese_med.simulation.tissue_levels import CONTRASTS
from siamese_med.study.config import ScoreConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

SHAPE, PIXEL_MM = (136, 160, 136), 1.5
FAILED_DEGREES, FAILED_MM = 5.0, 5.0
HARD = ("turned by 40 to 180 degrees", "half a head", "noise for a scan", "blocks in disorder")
DRAWS = 2000


def main() -> None:
    """Synthesise, register and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label-maps", type=Path, default=Path("../shared/real/label_maps"))
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--hard", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for person, path in enumerate(sorted(given.label_maps.glob("*.nii.gz"))):
        label_map = label_map_synthesis.read_label_map(path)
        for number in range(given.pairs + given.hard):
            rng = np.random.default_rng([given.seed, person, number])
            kind = "usual" if number < given.pairs else HARD[(number - given.pairs + person) % len(HARD)]
            rows.append({"person": person, "kind": kind, **measure_pair(label_map, kind, rng)})
    print_tables(pd.DataFrame(rows))


def measure_pair(label_map: LabelMap, kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """Synthesise one pair, register it as the product does, and measure its error: a row."""
    first, second = rng.choice(CONTRASTS, 2)
    reach = (40.0, 180.0) if kind == HARD[0] else (0.0, 20.0)
    poses = np.eye(4), posed.motion(rng, *reach, shift_mm=30.0)
    a, b = (_scan(label_map, str(contrast), pose, rng) for contrast, pose in zip((first, second), poses, strict=True))
    if kind in HARD[1:]:
        b = _spoil(b, kind, rng)
    start = time.process_time()
    regions = find_region(a), find_region(b)
    middle = time.process_time()
    pair = pair_registration.register_pair(a, b, regions, ScoreConfig().spacing_mm)
    seconds = time.process_time() - middle
    found = pair.matrix_later @ np.linalg.inv(pair.matrix_earlier)
    degrees, mm = measure_apart(np.linalg.inv(poses[1]) @ poses[0], found)
    none = kind in HARD[2:]
    return {
        "contrasts": "one" if first == second else "two",
        "degrees": np.inf if none else degrees,
        "mm": np.inf if none else mm,
        "failed": none or degrees > FAILED_DEGREES or mm > FAILED_MM,
        "quality": pair.quality,
        "refused": pair.quality < ScoreConfig().min_pose_quality or pair.overlap < ScoreConfig().min_overlap,
        "seconds": seconds,
        "region": middle - start,
    }


def _scan(label_map: LabelMap, contrast: str, pose: Matrix, rng: np.random.Generator) -> Volume:
    drawn = synthetic_head_scans.draw_protocol(rng)
    thick = float(rng.choice([PIXEL_MM, 3.0, 4.0, 6.0]))
    removed = str(rng.choice(["nothing", "face", "scalp"], p=[0.5, 0.25, 0.25]))
    protocol = replace(drawn, contrast=contrast, cut=(0.0, 0.0), slice_mm=thick, spacing_mm=thick, removed=removed)
    return _acquire(label_map, protocol, pose, rng)


def _acquire(label_map: LabelMap, protocol: HeadProtocol, pose: Matrix, rng: np.random.Generator) -> Volume:
    warp = label_map_synthesis.make_rigid_warp(pose)
    return synthetic_head_scans.synthesise_head_scan(label_map, protocol, rng, warp, SHAPE, PIXEL_MM).scan


def _spoil(scan: Volume, kind: str, rng: np.random.Generator) -> Volume:
    voxels = np.asarray(scan.voxels)
    if kind == "half a head":
        half = voxels.shape[2] // 2
        affine = scan.affine.copy()
        affine[:3, 3] += affine[:3, 2] * half
        return Volume(voxels[:, :, half:], affine)
    if kind == "noise for a scan":
        return Volume(rng.random(voxels.shape, dtype=np.float32), scan.affine)
    return Volume(posed.shuffle_blocks(voxels, rng), scan.affine)


def print_tables(rows: pd.DataFrame) -> None:
    """Print errors of usual pairs, and what is noticed of failures; intervals are 95 %, by a bootstrap over people."""
    usual = rows[rows.kind == "usual"]
    print(f"{rows.person.nunique()} people, {len(usual)} usual and {len(rows) - len(usual)} hard pairs")
    print("| pairs | n | failed | degrees p50 | degrees p90 | mm p50 | mm p90 | CPU-s a pair | CPU-s a brain mask |")
    print("|---" * 9 + "|")
    for name, part in [("all", usual), *((f"{kind} contrast", one) for kind, one in usual.groupby("contrasts"))]:
        figures = [_percentile(part, column, share) for column in ("degrees", "mm") for share in (50, 90)]
        times = [f"{part.seconds.mean():.2f}", f"{part.region.mean() / 2:.2f}"]
        print(" | ".join([f"| {name}", str(len(part)), str(int(part.failed.sum())), *figures, *times]) + " |")
    print("\n| pairs | n | failed | of them caught | good | of them refused | quality of failed | of good |")
    print("|---" * 8 + "|")
    for name, part in [("all", rows), *rows.groupby("kind")]:
        bad, good = part[part.failed], part[~part.failed]
        spans = [f"{one.quality.min():.3f} to {one.quality.max():.3f}" if len(one) else "-" for one in (bad, good)]
        counts = [len(part), len(bad), int(bad.refused.sum()), len(good), int(good.refused.sum())]
        print(" | ".join([f"| {name}", *map(str, counts), *spans]) + " |")


def _percentile(part: pd.DataFrame, column: str, share: int) -> str:
    rng = np.random.default_rng(0)
    values = part[column].to_numpy()
    members = [np.flatnonzero(part.person.to_numpy() == person) for person in part.person.unique()]
    drawn = [
        np.percentile(values[np.concatenate([members[n] for n in rng.integers(0, len(members), len(members))])], share)
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.percentile(values, share):.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
