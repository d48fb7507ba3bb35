"""What ten pairs with marked changes are worth to the change head, on patients that it has not seen.

    python -m benchmarks.marked_pairs FOLDER [--seeds 0 1 2] [--steps 150] [--share 0.5]

Simulated patients are scanned by one fleet of machines, once and again later with one to four new lesions of shapes
that training does not draw (`lesion_shapes`), on a pair grid of 3 mm inside the true brain; the network has half the
usual width, to be affordable. Of the training patients every scan is a source
of synthesised follow-ups; in one of two arms their pairs are marked too, by a mask on the later scan's grid that goes
the way of a user's (`marked_pairs.lay_marks`). Both arms take the same number of steps; CPU-seconds are printed.
Printed for the pairs of the test patients: voxel average precision, and the share of lesions found at the threshold
at which a pair has one false part on average, with the head as it starts (plain deviations) for comparison. Differences
are means over seeds, with 95 % intervals by a bootstrap over patients. What is there in FOLDER already is used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import planted, readings
from benchmarks.lesion_shapes import HELD_OUT
from benchmarks.planted import BINS_MM3, CHANGED, CLEAR, DIFFERENCE, SEED, UNSEEN, Plan
from siamese_med.imaging.volume import Volume
from siamese_med.network import atlas, change_inference
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import files
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import TrainConfig
from siamese_med.training import change_training, marked_pairs, synthetic_follow_ups
from siamese_med.training.synthetic_follow_ups import ChangeSource

STREAM = 21
PATIENTS = {"train": 10, "validation": 2, "test": 12}
SPACING_MM = 3.0
BINS = tuple(pairwise(BINS_MM3[2:]))
"""Total volumes of the lesions of a pair, which patients take in turn."""
THRESHOLDS = np.geomspace(0.5, 60, 40)
MARGIN_VOXELS = 8
MASK_SHARE = 0.5
"""Share of a voxel of the later scan from which a reader would mark it."""
VALIDATION_BATCHES = 4
WIDTH = 8
ARMS = ("none", "marked")


@dataclass(frozen=True)
class KnownPair:
    """A registered pair (i, j, k): scans, what is compared, the true signed share of change, and what a user marked."""

    a: Tensor
    b: Tensor
    inside: Tensor
    truth: Tensor
    marks: Tensor


@dataclass(frozen=True)
class Found:
    """Of one test pair: average precision; lesions, and how many are found and parts false at each of THRESHOLDS."""

    precision: float
    lesions: int
    found: NDArray[np.int64]
    false: NDArray[np.int64]


def read_or_make(folder: Path, group: str, number: int) -> KnownPair:
    """Read one patient's pair, which is made where it is not there."""
    path = folder / f"{group}-{number:02d}.npz"
    if not path.is_file():
        made = simulate_pair(list(PATIENTS).index(group), number)
        with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: part.float().numpy().astype(np.float16) for name, part in vars(made).items()})
    with np.load(path) as kept:
        parts = {name: torch.from_numpy(kept[name].astype(np.float32)) for name in kept.files}
    return KnownPair(**{**parts, "inside": parts["inside"] > 0})


def simulate_pair(group: int, number: int) -> KnownPair:
    """Scan one patient twice, with new lesions at the later date, and register the scans."""
    rng = np.random.default_rng([SEED, STREAM, group, number])
    machines = scanner.draw_scanners(np.random.default_rng([SEED, 100 + UNSEEN]), scanner.SCANNER_COUNT, ("FLAIR",))
    person = anatomy.simulate_anatomy(rng, DIFFERENCE)
    plan = Plan(HELD_OUT[number % len(HELD_OUT)], *BINS[number % len(BINS)])
    person_later, change, _ = planted.planted(person, plan, rng)
    earlier, later = (
        scanner.acquire_scan(one, machines[int(rng.integers(len(machines)))], rng) for one in (person, person_later)
    )
    brain = person.tissue[:2].sum(0)
    regions = sample_on_scan(brain, earlier), sample_on_scan(brain, later)
    laid = register_pair(earlier.volume, later.volume, regions, SPACING_MM)
    drawn = sample_on_scan(change.abs(), later)
    marks = marked_pairs.lay_marks(Volume((drawn.voxels >= MASK_SHARE).astype(np.float32), drawn.affine), laid)
    truth = planted.on_pair(change, earlier, laid)
    low, high = (getattr(torch.nonzero(laid.inside), end)(0).values for end in ("min", "max"))
    box = tuple(slice(max(0, int(a) - MARGIN_VOXELS), int(b) + MARGIN_VOXELS) for a, b in zip(low, high, strict=True))
    return KnownPair(*(part[box] for part in (laid.a, laid.b, laid.inside, truth, marks)))


def sample_on_scan(field: Tensor, scan: Acquisition) -> Volume:
    """A field of the anatomy's grid, such as the share of each voxel that is brain, on the grid of a scan."""
    grid = scan.volume.affine
    points = scanner.compute_grid_points(scan.to_anatomy @ grid, scan.volume.voxels.shape)
    return Volume(anatomy.sample_channels(field[None], points)[0].numpy(), grid)


def train_head(
    pairs: dict[str, list[KnownPair]], arm: str, config: TrainConfig, folder: Path
) -> tuple[SiameseNetwork, float]:
    """Train a change head in one arm; returns the network and the CPU-seconds of training."""
    sources: dict[str, list[ChangeSource]] = {}
    for group in ("train", "validation"):
        singles = [(scan, pair.inside) for pair in pairs[group] for scan in (pair.a, pair.b)]
        sources[group] = [
            synthetic_follow_ups.write_change_source(folder / f"{group}-{n}.npy", scan, scan, inside, SPACING_MM)
            for n, (scan, inside) in enumerate(singles)
        ]
    if arm == "marked":
        sources["train"] += [
            synthetic_follow_ups.write_change_source(
                folder / f"marked-{n}.npy", pair.a, pair.b, pair.inside, SPACING_MM, pair.marks
            )
            for n, pair in enumerate(pairs["train"])
        ]
    network = start_head(config)
    started = time.process_time()
    change_training.train_change_head(
        network,
        (sources["train"], sources["validation"]),
        config,
        folder,
        Fabric(accelerator="cpu", devices=1),
        lambda _: None,
    )
    return network, time.process_time() - started


def start_head(config: TrainConfig) -> SiameseNetwork:
    """The network as it is before training."""
    torch.manual_seed(config.seed)
    return SiameseNetwork(config, atlas.build_empty_atlas((64, 64, 64), ((0, 64), (0, 64), (0, 64))))


def measure_pair(network: SiameseNetwork, pair: KnownPair) -> Found:
    """Measure what the evidence of one pair shows."""
    evidence = change_inference.infer_change_evidence(network.watcher, pair.a, pair.b, pair.inside)
    strength, share = evidence.abs().numpy(), pair.truth.abs()
    changed = ((share >= CHANGED) & pair.inside).numpy()
    counted = (pair.inside & ((share >= CHANGED) | (share < CLEAR))).numpy()
    lesions, count = readings.parts(changed)
    near = (share >= CLEAR).numpy()
    hits = [_count_hits(strength >= threshold, lesions, near) for threshold in THRESHOLDS]
    precision = readings.average_precision(strength[counted], changed[counted])
    return Found(precision, count, np.array([one for one, _ in hits]), np.array([one for _, one in hits]))


def _count_hits(mask: NDArray[np.bool_], lesions: NDArray[np.int32], near: NDArray[np.bool_]) -> tuple[int, int]:
    """Lesions that a part of the mask touches, and parts that touch none."""
    numbered, count = readings.parts(mask)
    touched = np.setdiff1d(lesions[mask & (numbered > 0)], [0])
    return len(touched), count - len(np.setdiff1d(numbered[near & mask], [0]))


def compute_figures(found: Sequence[Found]) -> tuple[float, float]:
    """Mean average precision, and the share of lesions found where a pair has at most one false part on average."""
    false = np.mean([one.false for one in found], axis=0)
    place = min(int(np.flatnonzero(false > 1).max(initial=-1)) + 1, len(THRESHOLDS) - 1)
    lesions = sum(one.lesions for one in found)
    return float(np.mean([one.precision for one in found])), sum(int(one.found[place]) for one in found) / lesions


def compare_arms(found: dict[str, list[list[Found]]], seed: int = 0, resamples: int = 2000) -> list[dict[str, float]]:
    """Gain of `marked` over `none`, averaged over seeds, with its interval; one for each of the two figures."""
    patients = len(found["none"][0])

    def gain(places: Sequence[int]) -> NDArray[np.float64]:
        each = {arm: [compute_figures([run[n] for n in places]) for run in found[arm]] for arm in ARMS}
        return np.asarray(np.mean(each["marked"], axis=0) - np.mean(each["none"], axis=0))

    rng = np.random.default_rng(seed)
    draws = np.array([gain(rng.integers(patients, size=patients)) for _ in range(resamples)])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return [
        {"gain": float(g), "low": float(a), "high": float(b)}
        for g, a, b in zip(gain(range(patients)), low, high, strict=True)
    ]


def main() -> None:
    """Make what is missing, train both arms of every seed, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--share", type=float, default=TrainConfig().change_marked_share)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    pairs = {group: [read_or_make(given.folder, group, n) for n in range(count)] for group, count in PATIENTS.items()}
    change_training.VALIDATION_BATCHES = VALIDATION_BATCHES
    start = [measure_pair(start_head(TrainConfig(width=WIDTH)), pair) for pair in pairs["test"]]
    lesions = sum(one.lesions for one in start)
    print(f"{len(start)} test patients, {lesions} lesions; average precision, lesions found at one false part a pair")
    print("plain deviations: {:.3f}, {:.3f}".format(*compute_figures(start)), flush=True)
    found: dict[str, list[list[Found]]] = {arm: [] for arm in ARMS}
    for seed in given.seeds:
        config = TrainConfig(
            seed=seed, width=WIDTH, change_steps=given.steps, change_marked_share=given.share, accelerator="cpu"
        )
        for arm in ARMS:
            with tempfile.TemporaryDirectory() as folder:
                network, seconds = train_head(pairs, arm, config, Path(folder))
            found[arm].append([measure_pair(network, pair) for pair in pairs["test"]])
            figures = compute_figures(found[arm][-1])
            print(f"seed {seed}, {arm}: {figures[0]:.3f}, {figures[1]:.3f}; {seconds:.0f} CPU-s", flush=True)
    for name, gain in zip(("average precision", "found at one false part"), compare_arms(found), strict=True):
        print(f"gain in {name}: {gain['gain']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})")
    each = {arm: [[vars(one)["precision"] for one in run] for run in runs] for arm, runs in found.items()}
    (given.folder / f"precision-{given.share:g}.json").write_text(json.dumps(each))


if __name__ == "__main__":
    main()
