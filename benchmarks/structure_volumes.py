"""Repeatability of the volumes of brain tissue and lateral ventricles, on simulated rescans of real heads.

    python -m benchmarks.structure_volumes --json OUT [--real ../shared/real] [--every N] [--show]

Each real head is scanned three times by simulated machines: twice by one, once by another one. The brain is found in
each scan, as `prepare` does. A head that is done is appended to OUT, so that a run that was stopped goes on.

Printed, in percent of the volume: the standard deviation of one measurement (the root mean square of the differences of
two scans, over the root of two), from one machine and from two. People with even numbers are for choosing the errors
that the product states (`study.thresholds`); of the others the share of differences within 1.96 stated errors is shown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.brain_volume import draw_two_machines
from benchmarks.own_false_alarms import read_records
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.segmentation import segment_brain
from siamese_med.simulation import rescan
from siamese_med.study.thresholds import STRUCTURE_VOLUME_ERROR, THICK_SLICE_FACTOR, THICK_SLICE_MM

KINDS = ("same machine", "other machine")
STRUCTURES = ("brain", "ventricles")
DATASETS = ("ixi_2mm", "ds000011", "ds002748", "open_ms", "brain_tumor_progression")
SEED = 30
BOOTSTRAPS = 2000


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = read_records(given.json)
    known = {record["scan"] for record in done}
    for number, scan in () if given.show else list_heads(given.real, given.every):
        if scan.name not in known:
            known_of = {"scan": scan.name, "person": scan.person, "contrast": scan.contrast}
            done.append({**known_of, "slice_mm": max(measure_spacing(scan)), "volumes": measure_head(scan, number)})
            with given.json.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(f"{len(done)}: {done[-1]}", flush=True)
    show(done)


def list_heads(folder: Path, every: int) -> Iterator[tuple[int, RealScan]]:
    """The first scan of each person in each contrast, the data sets in turn, with their numbers."""
    first = {(scan.dataset, scan.person, scan.contrast): scan for scan in reversed(list_real_scans(folder))}
    sets = [[scan for scan in reversed(first.values()) if scan.dataset == name] for name in DATASETS]
    mixed = [one[n] for n in range(max(map(len, sets), default=0)) for one in sets if n < len(one)]
    yield from list(enumerate(mixed))[::every]


def measure_spacing(scan: RealScan) -> list[float]:
    """Edges of a voxel in mm."""
    return [float(np.linalg.norm(axis)) for axis in scan.read().affine[:3, :3].T]


def measure_head(scan: RealScan, number: int) -> list[dict[str, float | None]]:
    """Measure three scans of a head: two by one simulated machine, one by another."""
    body = rescan.extract_body(scan.read())
    rng = np.random.default_rng([SEED, number])
    chosen = draw_two_machines(body, rng)
    volumes = []
    for machine, levels in (chosen[0], chosen[0], chosen[1]):
        taken = rescan.acquire_rescan(body, machine, rng, contrast=levels).volume
        found = segment_brain(taken).measure_volumes()
        volumes.append({"brain": found.brain_ml, "ventricles": found.ventricles_ml})
    return volumes


def list_differences(records: Sequence[dict[str, Any]], structure: str, kind: str) -> list[float]:
    """Differences of the logarithm of a volume: between both scans of one machine, or between two machines."""
    places = (0, 1) if kind == KINDS[0] else (0, 2)
    pairs = [[record["volumes"][place][structure] for place in places] for record in records]
    return [float(np.log(later / earlier)) for earlier, later in pairs if earlier and later]


def show(records: Sequence[dict[str, Any]]) -> None:
    """Print the table, for all and for the halves of the people."""
    halves = {
        f"{half} numbers, slices {kind} {THICK_SLICE_MM:g} mm": [
            one
            for one in records
            if int(one["person"][-1]) % 2 == place and (one["slice_mm"] >= THICK_SLICE_MM) == (kind == "from")
        ]
        for place, half in enumerate(("even", "odd"))
        for kind in ("below", "from")
    }
    print("| people | structure | machine | n | error of one measurement (%) | within 1.96 stated errors |")
    print("|---" * 6 + "|")
    for name, chosen in halves.items():
        for structure in STRUCTURES:
            for kind in KINDS:
                differences = np.array(list_differences(chosen, structure, kind))
                if len(differences) > 1:
                    factor = THICK_SLICE_FACTOR if chosen[0]["slice_mm"] >= THICK_SLICE_MM else 1.0
                    stated = factor * STRUCTURE_VOLUME_ERROR[structure][KINDS.index(kind)]
                    within = np.mean(np.abs(differences) <= 1.96 * np.sqrt(2) * stated)
                    print(f"| {name} | {structure} | {kind} | {len(differences)} ", end="")
                    print(f"| {_interval(differences)} | {within:.2f} |")


def _interval(differences: np.ndarray) -> str:
    """The error of one measurement in percent, with its 95 % interval from drawing heads."""
    rng = np.random.default_rng(0)
    drawn = [_error(rng.choice(differences, len(differences))) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{_error(differences):.2f} ({low:.2f} to {high:.2f})"


def _error(differences: np.ndarray) -> float:
    return 100 * float(np.sqrt(np.mean(differences**2) / 2))


if __name__ == "__main__":
    main()
