"""What is left of a difference that is none, and of one that is a lesion, by how the brightness of a pair is matched.

    python -m benchmarks.matched_intensities [../shared/real] [--every N] [--evidence]

Every Nth real scan is scanned again by another simulated scanner, and both orders of the two are measured. Nothing
changed, so whatever is left is an error. Printed for each way of matching: robust standard deviation of the difference
inside the brain, and the quantiles .999 and .9999 of its absolute value after smoothing by 2 mm, as shares of the
brain's median (geometric means over pairs, and the largest). Then balls of BALLS are planted in the later scan before
matching, in one order: the median share of their brightness that is left, and what was added to the 2 to 9 mm around
them, as a share of the brain's median. `--evidence` prints how much the figure of the pair's map, on which the verdict
rests, grows by balls of FAINT_BALLS: the mean of the logarithms, in standard deviations over the pairs without change.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.lesion_froc import build_detector
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.imaging import volume
from siamese_med.imaging.resampling import smooth_images
from siamese_med.scoring.change import change_map, pair_registration
from siamese_med.scoring.change.detectability import MIN_TISSUE_INTENSITY
from siamese_med.scoring.change.pair_registration import (
    MATCHING_QUANTILES,
    RegisteredPair,
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
FAINT_BALLS = ((0.12, 0.3), (0.5, 0.3), (3.0, 0.3), (12.0, 0.3))
"""The same for `--evidence`."""
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
    parser.add_argument(
        "--evidence", action="store_true", help="also what the evidence of the detector that ships shows"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[list[float]]] = defaultdict(list)
    planted: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    figures: dict[str, list[list[float]]] = defaultdict(list)
    for number, scan in enumerate(list_real_scans(given.real)[:: given.every]):
        for order, pair in enumerate(scan_twice(scan, number)):
            a, b, inside = pair.earlier, pair.later, pair.inside
            for way, match in WAYS.items():
                found[way].append(measure_error(*match(a, b, inside), inside))
                if order == 0:
                    planted[way].append(plant_balls(a, b, inside, match, np.random.default_rng([SEED, number])))
                if order == 0 and given.evidence:
                    figures[way].append(measure_figures(pair, match, np.random.default_rng([SEED, number])))
        print(scan.person, scan.contrast, *(f"| {way} {found[way][-1][1]:.3f}" for way in WAYS), flush=True)
    balls = " | ".join(f"{ml:g} ml: left | around" for ml, _ in BALLS)
    print(f"\n| matching, {len(found['midway'])} pairs | noise | .999 | .9999 | worst .999 | {balls} |")
    print("|---" * (5 + 2 * len(BALLS)) + "|")
    for way, rows in found.items():
        means = np.exp(np.log(np.array(rows)).mean(0))
        kept = " | ".join(f"{left:.2f} | {around:+.3f}" for left, around in np.median(np.array(planted[way]), axis=0))
        worst = np.array(rows)[:, 1].max()
        print(f"| {way} | {means[0]:.4f} | {means[1]:.4f} | {means[2]:.4f} | {worst:.3f} | {kept} |")
    if figures:
        print("\n| matching | spread of log figure | " + " | ".join(f"{ml:g} ml" for ml, _ in FAINT_BALLS) + " |")
        print("|---" * (2 + len(FAINT_BALLS)) + "|")
    for way, found_figures in figures.items():
        logs = np.log(np.array(found_figures))
        spread = logs[:, 0].std(ddof=1)
        gains = (logs[:, 1:] - logs[:, :1]).mean(0) / spread
        print(f"| {way} | {spread:.3f} | " + " | ".join(f"{gain:.2f}" for gain in gains) + " |")


def scan_twice(scan: RealScan, number: int) -> Iterator[RegisteredPair]:
    """Yield a head and a rescan of it, registered, in both orders."""
    head = volume.reorient_to_ras(scan.read())
    rng = np.random.default_rng(SEED + number)
    machines = rescan.draw_rescan_scanners(head.spacing_mm, rng, scan.contrast)
    again = rescan.acquire_rescan(rescan.extract_body(head), machines[number % len(machines)], rng).volume
    scans = head, again
    brains = [make_probability_volume(segment_brain(one)) for one in scans]
    for first, second in ((0, 1), (1, 0)):
        yield pair_registration.register_pair(scans[first], scans[second], (brains[first], brains[second]), SPACING_MM)


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
    first, second = match(a, b, inside)
    without, median = second - first, float(first[inside].median())
    shares = []
    for away, radius, contrast in draw_balls(a, b, inside, BALLS, rng):
        added = b * contrast * torch.sigmoid((radius - away) / EDGE_VOXELS)
        first, second = match(a, b + added, inside)
        change = (second - first) - without
        core = (away < radius - 1) & inside
        around = (away > radius + RING_VOXELS[0]) & (away < radius + RING_VOXELS[1]) & inside
        shares.append((float(change[core].mean() / added[core].mean()), float(change[around].mean()) / median))
    return shares


def draw_balls(
    a: Tensor, b: Tensor, inside: Tensor, balls: Sequence[tuple[float, float]], rng: np.random.Generator
) -> Iterator[tuple[Tensor, float, float]]:
    """Yield for each ball the distance of every voxel from its middle, its radius, both in voxels, and its contrast."""
    places = torch.nonzero(inside & (torch.minimum(a, b) > MIN_TISSUE_INTENSITY)).numpy()
    for volume_ml, contrast in balls:
        centre = places[rng.integers(len(places))]
        axes = np.ogrid[tuple(slice(-int(c), n - int(c)) for c, n in zip(centre, a.shape, strict=True))]
        away = torch.from_numpy(np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in axes)))
        yield away, (3000 * volume_ml / (4 * np.pi)) ** (1 / 3) / SPACING_MM, contrast


def measure_figures(pair: RegisteredPair, match: Matching, rng: np.random.Generator) -> list[float]:
    """Return the figure of the pair's map without a ball, and with each of FAINT_BALLS."""
    detector = build_detector("pretrained")
    scans = [pair.later]
    for away, radius, contrast in draw_balls(pair.earlier, pair.later, pair.inside, FAINT_BALLS, rng):
        scans.append(pair.later * (1 + contrast * torch.sigmoid((radius - away) / EDGE_VOXELS)))
    found = []
    for later in scans:
        a, b = match(pair.earlier, later, pair.inside)
        one = replace(pair, later=later, a=a, b=b)
        found.append(change_map.summarise_map(detector(one, SPACING_MM), one).figure)
    return found


if __name__ == "__main__":
    main()
