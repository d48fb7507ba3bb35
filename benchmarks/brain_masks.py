"""How well the brain is found: on synthetic scans of label maps not trained on, and on real scans.

    python -m benchmarks.brain_masks [--real ../shared/real] [--scans 40] [--datasets NAME ...] [--deepbet PYTHON]

Synthetic: `--scans` scans of the held-out label maps in each contrast; truth is the label map. Real: open_ms against
the expert masks (common space, carried to the raw scans by the data set's own matrices), ds002748 against what its
source left of the scan, and volumes where no mask is known. `--deepbet` runs deepbet (MIT) on the same real scans in
the given Python, which has to have it installed. Means with 95 % intervals (bootstrap over persons).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.open_ms import read_itk_affine
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from benchmarks.train_brain_network import HELD_OUT, REMOVED_BELOW
from siamese_med.brain import head_grid
from siamese_med.brain.head_grid import CROP_SHAPE
from siamese_med.brain.segmentation import BrainSegmentation, segment_brain
from siamese_med.brain.structures import Structure
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation import synthetic_head_scans as heads
from siamese_med.simulation.tissue_levels import CONTRASTS

DEEPBET = "import sys; from deepbet import run_bet; run_bet(sys.argv[1::2], mask_paths=sys.argv[2::2], no_gpu=True)"


def measure_dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def estimate_interval(values: Sequence[float], persons: Sequence[str]) -> tuple[float, float, float]:
    """Mean and 95 % interval by the bootstrap over persons."""
    groups = defaultdict(list)
    for value, person in zip(values, persons, strict=True):
        groups[person].append(value)
    rng = np.random.default_rng(0)
    names = list(groups)
    means = [np.mean([value for name in rng.choice(names, len(names)) for value in groups[name]]) for _ in range(1000)]
    return float(np.mean(values)), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def show_row(name: str, values: Sequence[float], persons: Sequence[str], seconds: Sequence[float]) -> None:
    """One row of a table."""
    mean, low, high = estimate_interval(values, persons)
    print(
        f"| {name} | {len(values)} ({len(set(persons))}) | {mean:.3f} ({low:.3f} to {high:.3f}) | {min(values):.3f} | "
        f"{np.median(seconds):.2f} |",
        flush=True,
    )


def measure_synthetic(folder: Path, count: int, held_out: Sequence[int]) -> None:
    """Dice on synthetic scans of people not trained on, by contrast."""
    people = {n: synthesis.read_label_map(folder / f"label_maps/training_seg_{n:02d}.nii.gz") for n in held_out}
    print("| synthetic, contrast | scans (people) | Dice | worst | CPU-s |\n|---|---|---|---|---|")
    for contrast in (*CONTRASTS, None):
        rng = np.random.default_rng(7)
        values, persons, seconds, parts = [], [], [], []
        for number in range(count):
            which = held_out[number % len(held_out)]
            warp = synthesis.draw_warp(rng)
            protocol = replace(heads.draw_protocol(rng), contrast=contrast)
            head = heads.synthesise_head_scan(people[which], protocol, rng, warp)
            began = time.process_time()
            found = segment_brain(head.scan)
            seconds.append(time.process_time() - began)
            places = warp.sample(people[which], found.affine, CROP_SHAPE, np.zeros((1, 3)))[0]
            truth = synthesis.get_structures(people[which], places).numpy() * np.asarray(found.inside)
            if protocol.removed == "scalp":
                truth[find_removed_fluid(head.scan, found, truth)] = Structure.BACKGROUND
            values.append(measure_dice(truth > 0, found.mask))
            persons.append(str(which))
            parts.append([measure_dice(truth == n, found.structures == n) for n in range(1, len(Structure))])
        show_row(contrast or "random", values, persons, seconds)
        print("  parts:", np.round(np.mean(parts, 0), 2).tolist())


def find_removed_fluid(scan: Volume, found: BrainSegmentation, truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where fluid was removed with the scalp, so that the scan shows nothing: it is no brain in training either."""
    grid = head_grid.resample_to_grid(scan)
    image = Volume(head_grid.scale_intensity(grid.voxels), grid.affine)
    shown = resampling.resample_volume(image, found.affine, CROP_SHAPE)[0, 0].numpy()
    return np.asarray((shown < REMOVED_BELOW) & (truth == Structure.OTHER_FLUID))


def load_known_mask(scan: RealScan, image: Volume) -> Volume | None:
    """The known mask of a scan on its own grid, None where there is none."""
    if scan.dataset == "ds002748":
        return Volume((image.voxels != 0).astype(np.float32), image.affine)
    if scan.dataset != "open_ms":
        return None
    folder, study = scan.path.parent, scan.path.name[:6]
    mask = volume.read_volume(folder / "brainmask.nii.gz")
    to_scan = read_itk_affine(folder / f"{study}_FLAIR_to_common_space.txt")
    if scan.contrast != "FLAIR":
        word = {"T1w": "T1W", "T2w": "T2W"}[scan.contrast]
        to_scan = read_itk_affine(folder / f"{study}_{word}_intrastudy_to_FLAIR.txt") @ to_scan
    laid = resampling.resample_volume(mask, np.linalg.inv(to_scan) @ image.affine, image.voxels.shape)
    return Volume(laid[0, 0].numpy(), image.affine)


def lay_mask(found: BrainSegmentation, image: Volume) -> NDArray[np.bool_]:
    """The mask on the grid of the scan."""
    there = Volume(found.brain.astype(np.float32), found.affine)
    return np.asarray(resampling.resample_volume(there, image.affine, image.voxels.shape)[0, 0].numpy() >= 127.5)


def run_deepbet(python: Path, scans: Sequence[RealScan]) -> tuple[list[NDArray[np.bool_]], float]:
    """Masks by deepbet, and its CPU-seconds a scan (with the start of Python)."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        names = [part for n, scan in enumerate(scans) for part in (str(scan.path.resolve()), f"{folder}/{n}.nii.gz")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([python, "-c", DEEPBET, *names], check=True, env={"OMP_NUM_THREADS": "1"}, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return [volume.read_volume(Path(name)).voxels > 0.5 for name in names[1::2]], spent / len(scans)


def measure_real(scans: Sequence[RealScan], deepbet: Path | None) -> None:
    """Dice and volumes on real scans."""
    rows: dict[tuple[str, str, str], list[tuple[float, str, float]]] = defaultdict(list)
    others = run_deepbet(deepbet, scans) if deepbet else None
    for number, scan in enumerate(scans):
        image = scan.read()
        began = time.process_time()
        found = segment_brain(image)
        spent = time.process_time() - began
        known = load_known_mask(scan, image)
        masks = {"ours": (lay_mask(found, image), spent)}
        if others:
            masks["deepbet"] = (others[0][number], others[1])
        voxel_ml = float(np.prod(image.spacing_mm)) / 1000
        note = f"{scan.name}: found {found.found()}, confidence {found.confidence():.2f}"
        for name, (mask, seconds) in masks.items():
            note += f", {name} {mask.sum() * voxel_ml:.0f} ml"
            if known is not None:
                value = measure_dice(mask, known.voxels > 0.5)
                note += f" Dice {value:.3f}"
                rows[name, scan.dataset, scan.contrast].append((value, scan.person, seconds))
        if known is not None:
            note += f", known {(known.voxels > 0.5).sum() * voxel_ml:.0f} ml"
        print(note, flush=True)
    print("\n| real: by, data set, contrast | scans (people) | Dice | worst | CPU-s |\n|---|---|---|---|---|")
    for key, row in rows.items():
        values, persons, seconds = zip(*row, strict=True)
        show_row(", ".join(key), values, persons, seconds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--scans", type=int, default=40, help="synthetic scans in each contrast")
    parser.add_argument("--held-out", type=int, nargs="+", default=HELD_OUT)
    parser.add_argument("--datasets", nargs="*", help="only these real data sets")
    parser.add_argument("--deepbet", type=Path, help="a Python that has deepbet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.scans:
        measure_synthetic(given.real, given.scans, given.held_out)
    scans = [scan for scan in list_real_scans(given.real) if not given.datasets or scan.dataset in given.datasets]
    measure_real(scans, given.deepbet)


if __name__ == "__main__":
    main()
