"""What is left of a difference that is none, and of one that is a lesion, by how the brightness of a pair is matched.

    python -m benchmarks.matched_intensities [../shared/real] [--every N]

Every Nth real scan is scanned again by another simulated scanner, and both orders of the two are measured. Nothing
changed, so whatever is left is an error. Printed for each way of matching: robust standard deviation of the difference
inside the brain, and the quantiles .999 and .9999 of its absolute value after smoothing by 2 mm, as shares of the
brain's median (geometric means over pairs, and the largest). Then balls of BALLS are planted in the later scan before
matching, in one order: the median share of their brightness that is left, and what was added to the 2 to 9 mm around
them, as a share of the brain's median.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.imaging import volume
from siamese_med.imaging.resampling import smooth_images
from siamese_med.scoring.change import pair_registration
from siamese_med.scoring.change.detectability import MIN_TISSUE_INTENSITY
from siamese_med.scoring.change.pair_registration import (
    MATCHING_QUANTILES,
    equalise_histograms,
    remove_relative_bias,
)
from siamese_med.simulation import rescan

SPACING_MM, SMOOTHING_MM, SEED = 1.5, 2.0, 500
QUANTILES = (0.999, 0.9999)
FORMER_ROUNDS = 2
"""Rounds of histogram matching and bias correction in the former ways."""
BALLS = ((0.5, 0.3), (3.0, 0.5), (25.0, 0.5))
"""Volume of a planted ball in ml, and how much brighter it is."""
EDGE_VOXELS, RING_VOXELS = 0.5, (1.5, 6.0)
"""Softness of the edge of a ball, and where its surroundings begin and end outside its radius."""

Matching = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def match_onto_later(a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Match the histogram of the first scan to that of the second, then remove the bias: as it was first."""
    levels = torch.linspace(0, 1, MATCHING_QUANTILES)
    for _ in range(FORMER_ROUNDS):
        source, goal = (torch.quantile(scan[inside][::7], levels).numpy() for scan in (a, b))
        source = source + np.arange(MATCHING_QUANTILES) * 1e-7
        a = a.clone()
        a[inside] = torch.from_numpy(np.interp(a[inside].numpy(), source, goal).astype(np.float32))
        a, b = remove_relative_bias(a, b, inside, SPACING_MM, 0)
    return a, b


def match_midway(a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Match both histograms midway, but remove no bias before."""
    for _ in range(FORMER_ROUNDS):
        a, b = equalise_histograms(a, b, inside)
        a, b = remove_relative_bias(a, b, inside, SPACING_MM, 0)
    return a, b


def match_bias_first(a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Remove the bias, then match both midway; a lesion counts for the bias like everything else."""
    return match_midway(*remove_relative_bias(a, b, inside, SPACING_MM, 0), inside)


def match_as_shipped(a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Remove the bias without what differs by much more, then match both histograms midway."""
    return pair_registration.match_intensities(a, b, inside, SPACING_MM)


WAYS: dict[str, Matching] = {
    "onto the later scan": match_onto_later,
    "midway": match_midway,
    "bias first, midway": match_bias_first,
    "bias without lesions first, midway (as shipped)": match_as_shipped,
}


def main() -> None:
    """Print a line a pair and a table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, nargs="?", default=REAL)
    parser.add_argument("--every", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[list[float]]] = defaultdict(list)
    planted: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for number, scan in enumerate(list_real_scans(given.real)[:: given.every]):
        for order, (a, b, inside) in enumerate(scan_twice(scan, number)):
            for way, match in WAYS.items():
                found[way].append(measure_error(*match(a, b, inside), inside))
                if order == 0:
                    planted[way].append(plant_balls(a, b, inside, match, np.random.default_rng([SEED, number])))
        print(scan.person, scan.contrast, *(f"| {way} {found[way][-1][1]:.3f}" for way in WAYS), flush=True)
    balls = " | ".join(f"{ml:g} ml: left | around" for ml, _ in BALLS)
    print(f"\n| matching, {len(found['midway'])} pairs | noise | .999 | .9999 | worst .999 | {balls} |")
    print("|---" * (5 + 2 * len(BALLS)) + "|")
    for way, rows in found.items():
        means = np.exp(np.log(np.array(rows)).mean(0))
        kept = " | ".join(f"{left:.2f} | {around:+.3f}" for left, around in np.median(np.array(planted[way]), axis=0))
        worst = np.array(rows)[:, 1].max()
        print(f"| {way} | {means[0]:.4f} | {means[1]:.4f} | {means[2]:.4f} | {worst:.3f} | {kept} |")


def scan_twice(scan: RealScan, number: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield a head and a rescan of it, normalised on the grid of the pair, with the mask, in both orders."""
    head = volume.reorient_to_ras(scan.read())
    rng = np.random.default_rng(SEED + number)
    machines = rescan.draw_rescan_scanners(head.spacing_mm, rng, scan.contrast)
    again = rescan.acquire_rescan(rescan.extract_body(head), machines[number % len(machines)], rng).volume
    scans = head, again
    brains = [make_probability_volume(segment_brain(one)) for one in scans]
    for first, second in ((0, 1), (1, 0)):
        pair = pair_registration.register_pair(scans[first], scans[second], (brains[first], brains[second]), SPACING_MM)
        yield pair.earlier, pair.later, pair.inside


def measure_error(a: Tensor, b: Tensor, inside: Tensor) -> list[float]:
    """Return the noise and the quantiles of the smoothed difference inside the mask, as shares of the median."""
    middle = ((a[inside] + b[inside]) / 2).median()
    left = torch.where(inside, (b - a) / middle, torch.zeros(()))
    smooth = smooth_images(left[None, None], SMOOTHING_MM / SPACING_MM)[0, 0][inside].abs()
    return [1.4826 * float(left[inside].abs().median()), *np.quantile(smooth.numpy(), QUANTILES).tolist()]


def plant_balls(
    a: Tensor, b: Tensor, inside: Tensor, match: Matching, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return for each of BALLS the share of its brightness that is left, and what is added around it."""
    places = torch.nonzero(inside & (torch.minimum(a, b) > MIN_TISSUE_INTENSITY)).numpy()
    first, second = match(a, b, inside)
    without, median = second - first, float(first[inside].median())
    shares = []
    for volume_ml, contrast in BALLS:
        radius = (3000 * volume_ml / (4 * np.pi)) ** (1 / 3) / SPACING_MM
        centre = places[rng.integers(len(places))]
        axes = np.ogrid[tuple(slice(-int(c), n - int(c)) for c, n in zip(centre, a.shape, strict=True))]
        away = torch.from_numpy(np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in axes)))
        added = b * contrast * torch.sigmoid((radius - away) / EDGE_VOXELS)
        first, second = match(a, b + added, inside)
        change = (second - first) - without
        core = (away < radius - 1) & inside
        around = (away > radius + RING_VOXELS[0]) & (away < radius + RING_VOXELS[1]) & inside
        shares.append((float(change[core].mean() / added[core].mean()), float(change[around].mean()) / median))
    return shares


if __name__ == "__main__":
    main()
