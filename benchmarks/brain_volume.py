"""Change of brain volume by `brain_volume_fit`: atrophy that bidsgate planted in real heads, and pairs without change.

This measure is a candidate. The product does not have it: see `docs/results-simulated-change.md`, Volume.

    python -m benchmarks.brain_volume --json OUT [--real ../shared/real] [--datasets ixi_2mm] [--every N] [--show]

The outside program bidsgate (of the `bench` extra) shrinks the brain of a real T1w head by .5, 1 or 2 %, in turn. Half
of that is taken off one scan and added to the other, so that both are interpolated alike. Simulated scanners scan
before and after: one machine for one pair, two for the other; and so they scan the head as it is. Each scan is taken as
the product would: its brain is found in it, and the pair is registered. A head that is done is appended to OUT.

Printed: recovery (slope of the measured change on the true one, with an intercept), the 95th percentile of the absolute
change in pairs without change, both with bootstrap intervals over people, and the root mean square of the latter in
standard errors of the fit. People with even numbers are for choosing, odd ones for judging.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import brain_volume_fit
from benchmarks.brain_volume_fit import VolumeChange
from benchmarks.own_false_alarms import read_records
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.segmentation_files import make_probability_volume, make_structure_volume
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_brain
from siamese_med.scoring.change import pair_registration, simulated_rescans
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.simulation import rescan
from siamese_med.simulation.rescan import ScannedBody
from siamese_med.simulation.scanner import Scanner
from siamese_med.study.config import ScoreConfig

LOSSES = (0.5, 1.0, 2.0)
KINDS = ("same machine", "other machine")
SEED = 20
BOOTSTRAPS = 2000
CONFIG = ScoreConfig()


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--datasets", nargs="+", default=["ixi_2mm", "ds000011", "ds002748"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = read_records(given.json)
    known = {record["scan"] for record in done}
    for number, scan in () if given.show else list_heads(given.real, given.datasets, given.every):
        if scan.name in known:
            continue
        record: dict[str, Any] = {
            "scan": scan.name,
            "person": scan.person,
            "dataset": scan.dataset,
            "pairs": measure_head(scan, number),
        }
        done.append(record)
        with given.json.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{len(done)}: {scan.name} {[[*pair.values()][:3] for pair in record['pairs']]}", flush=True)
    show(done)


def list_heads(folder: Path, datasets: Sequence[str], every: int) -> Iterator[tuple[int, RealScan]]:
    """The T1w heads of the data sets in turn, with their numbers: the first of each, then the second of each."""
    scans = [scan for scan in list_real_scans(folder) if scan.contrast == "T1w"]
    sets = [[scan for scan in scans if scan.dataset == name] for name in datasets]
    longest = max(map(len, sets), default=0)
    mixed = [one[n] for n in range(longest) for one in sets if n < len(one)]
    yield from list(enumerate(mixed))[::every]


def measure_head(scan: RealScan, number: int) -> list[dict[str, Any]]:
    """Measure four pairs of a head: without change and with a loss, on one machine and on two."""
    head = scan.read()
    body, grid = rescan.extract_body(head), volume.reorient_to_ras(head).affine
    found = find_brain(head, scan.contrast)
    if found is None:
        return []
    region = make_probability_volume(found.segmentation)
    brain = resampling.resample_volume(region, grid, body.signal.shape)[0, 0].numpy() > 0.5
    rng = np.random.default_rng([SEED, number])
    chosen = draw_two_machines(body, rng)

    def take(shown: ScannedBody, machine: int) -> PairScan | None:
        taken = rescan.acquire_rescan(shown, chosen[machine][0], rng, contrast=chosen[machine][1])
        return make_side(taken.volume, scan.contrast, f"machine-{machine}")

    pairs = []
    for loss in (0.0, LOSSES[number % len(LOSSES)]):
        root = (1 - loss / 100) ** 0.5
        before, after = shrink(body, grid, brain, 1 / root), shrink(body, grid, brain, root)
        first = take(before, 0)
        for machine, kind in enumerate(KINDS):
            change = measure_change(first, take(after, machine))
            if change is not None:
                pairs.append({"kind": kind, "loss": loss, **vars(change)})
    return pairs


def draw_two_machines(body: ScannedBody, rng: np.random.Generator) -> list[tuple[Scanner, NDArray[np.float64]]]:
    """Draw two simulated scanners that may scan a head, each with its contrast levels."""
    machines = rescan.draw_rescan_scanners(body.spacing_mm, rng)
    return [
        (
            replace(machines[n], noise=body.noise * rng.uniform(*simulated_rescans.NOISE_FRACTION_RANGE)),
            rescan.draw_contrast_levels(rng),
        )
        for n in rng.choice(len(machines), 2, replace=False)
    ]


def shrink(body: ScannedBody, grid: NDArray[np.float64], brain: NDArray[np.bool_], factor: float) -> ScannedBody:
    """Let bidsgate scale the brain's volume by a factor; what is around it follows over 12 mm."""
    from bidsgate.inject_atrophy import AtrophySpec, inject

    if factor == 1:
        return body
    with tempfile.TemporaryDirectory() as name:
        paths = {key: Path(name) / f"{key}.nii.gz" for key in ("t1", "brain", "out")}
        volume.write_volume(paths["t1"], Volume(body.signal, grid))
        volume.write_volume(paths["brain"], Volume(brain.astype(np.uint8), grid))
        spec = AtrophySpec(volume_factor=factor)
        inject(paths["t1"], None, paths["out"], None, Path(name) / "truth.json", spec, paths["brain"])
        signal = np.asarray(volume.read_volume(paths["out"]).voxels, dtype=np.float32)
    return replace(body, signal=signal)


def make_side(scan: Volume, contrast: str, scanner: str) -> PairScan | None:
    """A scan as the product reads it: with the brain that is found in it, or None."""
    found = find_brain(scan, contrast)
    if found is None:
        return None
    region, structures = make_probability_volume(found.segmentation), make_structure_volume(found.segmentation)
    return PairScan(scan, region, None, "MR", contrast, scanner, structures)


def measure_change(first: PairScan | None, second: PairScan | None) -> VolumeChange | None:
    """Register two scans and measure the change of volume between them."""
    if first is None or second is None:
        return None
    regions = first.region, second.region
    pair = pair_registration.register_pair(first.scan, second.scan, regions, CONFIG.spacing_mm)
    return brain_volume_fit.measure_volume_change(pair, (first.structures, second.structures))


def show(records: Sequence[dict[str, Any]]) -> None:
    """Print the tables, for all and for the halves of the people."""
    pairs = [{**pair, **record} for record in records for pair in record["pairs"]]
    halves: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
        ("all", lambda _: True),
        ("even numbers", lambda one: int(one["person"][-1]) % 2 == 0),
        ("odd numbers", lambda one: int(one["person"][-1]) % 2 == 1),
        *((name, lambda one, name=name: one["dataset"] == name) for name in sorted({one["dataset"] for one in pairs})),
    ]
    print(
        "| people | machine | n with loss | recovery | n without | 95 % of absolute change (%) | in standard errors |"
    )
    print("|---" * 7 + "|")
    for name, chosen in halves:
        for kind in KINDS:
            some = [one for one in pairs if chosen(one) and one["kind"] == kind]
            quiet = [one for one in some if not one["loss"]]
            if len(quiet) < 2 or len(some) - len(quiet) < 2:
                continue
            slope, spread = (bootstrap(some, statistic) for statistic in (measure_recovery, measure_spread))
            ratio = np.sqrt(np.mean([(one["percent"] / one["percent_error"]) ** 2 for one in quiet]))
            print(f"| {name} | {kind} | {len(some) - len(quiet)} | {slope} | {len(quiet)} | {spread} | {ratio:.1f} |")
    for loss in LOSSES:
        for kind in KINDS:
            found = [-one["percent"] for one in pairs if one["loss"] == loss and one["kind"] == kind]
            if found:
                print(f"{loss} % lost, {kind}: measured {np.mean(found):.3f} +- {np.std(found):.3f} (n {len(found)})")


def measure_recovery(pairs: Sequence[dict[str, Any]]) -> float:
    """Slope of the measured loss on the true one, by least squares, with an intercept."""
    true = np.array([one["loss"] for one in pairs])
    return float(np.polyfit(true, [-one["percent"] for one in pairs], 1)[0]) if np.ptp(true) else np.nan


def measure_spread(pairs: Sequence[dict[str, Any]]) -> float:
    """95th percentile of the absolute change of the pairs without change."""
    quiet = [abs(one["percent"]) for one in pairs if not one["loss"]]
    return float(np.quantile(quiet, 0.95)) if quiet else np.nan


def bootstrap(pairs: Sequence[dict[str, Any]], statistic: Callable[[Sequence[dict[str, Any]]], float]) -> str:
    """A statistic with its 95 % interval where people are drawn again, with all their pairs."""
    people = sorted({one["person"] for one in pairs})
    own = {person: [one for one in pairs if one["person"] == person] for person in people}
    rng = np.random.default_rng(0)
    drawn = [statistic([one for n in rng.choice(people, len(people)) for one in own[n]]) for _ in range(BOOTSTRAPS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{statistic(pairs):.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
