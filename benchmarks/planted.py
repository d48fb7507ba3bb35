"""Pairs of which the change is known because it was planted: simulated patients, each scanned twice and laid.

    python -m benchmarks.planted FOLDER [--sets learning validation ...] [--pairs N]

Every person of a set is scanned once at the earlier date and several times later: without change, and with one to four
new lesions of one family (`lesion_shapes`) in white matter, bright or dark, of a total volume within one of BINS_MM3.
Sets differ in persons, families, machines and contrast, see SETS. What is there already is left as it is.

<folder>/template.nii.gz                   of patients and machines to learn from; defines the pair's grid at 1.5 mm
        /<set>/<person>_<family>_<mm3>.npz a, b (float16), inside (bool), truth (int8, signed percent) and facts (JSON)
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.lesion_shapes import FAMILIES, HELD_OUT, Family
from siamese_med.preparation.scan_placement import find_region
from siamese_med.runtime import files
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair, register_pair
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import CSF_CHANNEL, VOXEL_MM3, WHITE_CHANNEL, Anatomy
from siamese_med.simulation.mni_head import HEAD_GRID_SHAPE
from siamese_med.simulation.scanner import Acquisition

SEED = 50
SPACING_MM = 1.5
DIFFERENCE = 1.0
"""People differ as real ones do."""
BINS_MM3 = (20, 60, 150, 500, 2500, 8000)
MAX_LESIONS, SMALLEST_MM3 = 4, 15.0
BRIGHT = 0.75
"""Share of pairs whose lesions are bright; the others' are dark as fluid is."""
STRENGTH = (0.35, 1.0)
"""How much of a full lesion's signal is reached; full is 80 % above white matter, or below."""
ROOM = 0.7
"""A place is taken where so much of the lesion finds healthy tissue."""
CHANGED = 0.3
"""Share of a voxel from which it counts as changed; below, but for CLEAR, it counts neither way."""
CLEAR = 0.1
NONE = "none"


class Set(NamedTuple):
    """Patients of their own (`stream` of the seed), machines, and what becomes of each patient."""

    stream: int
    patients: int
    fleet: int
    families: tuple[str, ...]
    bins_each: int
    contrast: str = "FLAIR"


KNOWN, UNSEEN = 1, 2
"""Fleets of machines: that of the scans to learn from, and another."""
SETS = {
    "learning": Set(7, 30, KNOWN, ("ellipsoid",), 1),
    "validation": Set(6, 30, KNOWN, ("ellipsoid",), 1),
    "test": Set(5, 60, UNSEEN, HELD_OUT, 5),
    "known_machines": Set(8, 60, KNOWN, (), 0),
    "T1w": Set(9, 20, UNSEEN, (), 0, "T1w"),
    "T2w": Set(10, 20, UNSEEN, (), 0, "T2w"),
}
"""`test`: unseen patients, unseen machines and held-out families. The last three hold no change."""


@dataclass(frozen=True)
class Facts:
    """What is known of a pair; `volume_mm3` is that of the planted change, `sign` +1 for brighter later."""

    name: str
    patient: str
    family: str
    volume_mm3: float
    sign: int
    lesions: int
    contrast: str
    machines: tuple[str, str]
    quality: float
    overlap: float


@dataclass(frozen=True)
class Planted:
    """A laid pair; `truth`: signed share of each voxel that changed, float32 (i, j, k) on the pair's grid."""

    facts: Facts
    overlay: RegisteredPair
    truth: Tensor

    @property
    def changed(self) -> Tensor:
        """Voxels that changed."""
        return self.truth.abs() >= CHANGED

    @property
    def counted(self) -> Tensor:
        """Voxels inside that changed or did not; those at a border did neither."""
        return self.overlay.inside & (self.changed | (self.truth.abs() < CLEAR))


@dataclass(frozen=True)
class Plan:
    """One later scan of a person: None of a family is a rescan."""

    family: str
    low_mm3: float = 0.0
    high_mm3: float = 0.0


def pairs(folder: Path, name: str) -> Iterator[Planted]:
    """All pairs of a set that are there, in the order of their names."""
    for path in sorted((folder / name).glob("*.npz")):
        yield read(path)


def read(path: Path) -> Planted:
    """One pair."""
    with np.load(path) as kept:
        a, b = (torch.from_numpy(kept[side].astype(np.float32)) for side in ("a", "b"))
        inside = torch.from_numpy(kept["inside"])
        truth = torch.from_numpy(kept["truth"].astype(np.float32) / 100)
        stored = json.loads(str(kept["facts"]))
    facts = facts_of(stored)
    space = PairSpace(np.diag([SPACING_MM] * 3 + [1.0]), inside.numpy())
    overlay = RegisteredPair(space, a, b, a, b, inside, facts.overlap, facts.quality, np.eye(4), np.eye(4))
    return Planted(facts, overlay, truth)


def facts_of(stored: dict[str, Any]) -> Facts:
    """From JSON."""
    return Facts(**{**stored, "machines": tuple(stored["machines"])})


def make(folder: Path, name: str) -> Iterator[Path]:
    """Make what is missing of a set, patient by patient; yields what was made."""
    chosen = SETS[name]
    for number in range(chosen.patients):
        wanted = {_path(folder / name, number, plan): plan for plan in _plans(chosen, number)}
        missing = {path: plan for path, plan in wanted.items() if not path.is_file()}
        if missing:
            yield from _make_patient(missing, chosen, number)


def _plans(chosen: Set, number: int) -> list[Plan]:
    """One rescan, and as many bins as the set gives a patient; families and bins take turns over the patients."""
    plans = [Plan(NONE)]
    for step in range(chosen.bins_each):
        place = (number + step) % (len(BINS_MM3) - 1)
        family = chosen.families[(number + step) % len(chosen.families)]
        plans.append(Plan(family, BINS_MM3[place], BINS_MM3[place + 1]))
    return plans


def _path(folder: Path, number: int, plan: Plan) -> Path:
    return folder / f"p{number:03d}_{plan.family}_{plan.low_mm3:04.0f}.npz"


def _make_patient(missing: dict[Path, Plan], chosen: Set, number: int) -> Iterator[Path]:
    """The earlier scan is the same however many of the later ones are missing: each has a seed of its own."""
    rng = np.random.default_rng([SEED, chosen.stream, number])
    machines = scanner.draw_scanners(
        np.random.default_rng([SEED, 100 + chosen.fleet]), scanner.SCANNER_COUNT, (chosen.contrast,)
    )
    person = anatomy.simulate_anatomy(rng, DIFFERENCE)
    first = machines[int(rng.integers(len(machines)))]
    earlier = scanner.acquire_scan(person, first, rng)
    region = find_region(earlier.volume)
    for path, plan in missing.items():
        seeds = np.random.default_rng([SEED, chosen.stream, number, 1 + int(plan.low_mm3)])
        later_person, change, count = planted(person, plan, seeds)
        second = machines[int(seeds.integers(len(machines)))]
        later = scanner.acquire_scan(later_person, second, seeds).volume
        laid = register_pair(earlier.volume, later, (region, find_region(later)), SPACING_MM)
        facts = Facts(
            path.stem, f"{path.parent.name}-{number:03d}", plan.family, float(change.abs().sum()) * VOXEL_MM3,
            int(torch.sign(change.sum())), count, chosen.contrast, (first.name, second.name),
            laid.quality, laid.overlap,
        )  # fmt: skip
        write(path, facts, laid, on_pair(change, earlier, laid))
        yield path


def planted(person: Anatomy, plan: Plan, rng: np.random.Generator) -> tuple[Anatomy, Tensor, int]:
    """The person later, the signed share of each voxel that changed on the anatomy's grid, and how many lesions did."""
    change = torch.zeros(HEAD_GRID_SHAPE)
    if plan.family == NONE:
        return person, change, 0
    total = 0.0
    while not plan.low_mm3 <= total < plan.high_mm3:  # the tissue that is there takes its part
        asked = math.exp(rng.uniform(math.log(plan.low_mm3), math.log(plan.high_mm3)))
        count = min(int(rng.integers(1, MAX_LESIONS + 1)), max(1, int(asked / SMALLEST_MM3)))
        change = torch.zeros(HEAD_GRID_SHAPE)
        for share in rng.dirichlet(np.full(count, 3.0)):
            _add(change, person, FAMILIES[plan.family], max(SMALLEST_MM3, share * asked), rng)
        total = float(change.sum()) * VOXEL_MM3
    sign = 1 if rng.random() < BRIGHT else -1
    return _with_lesions(person, change * rng.uniform(*STRENGTH), sign), sign * change, count


def _add(change: Tensor, person: Anatomy, family: Family, volume_mm3: float, rng: np.random.Generator) -> None:
    """Draw one lesion into `change` at a place in white matter where most of it finds healthy tissue."""
    room = (person.tissue[:2].sum(0).clamp(0, 1) * (1 - person.lesion)) * (change == 0)
    white = np.flatnonzero(((person.tissue[WHITE_CHANNEL] > 0.7) & (room > 0.9)).numpy().ravel())
    for _ in range(40):
        shape = torch.from_numpy(family(rng, volume_mm3))
        low = np.array(np.unravel_index(rng.choice(white), HEAD_GRID_SHAPE)) - np.array(shape.shape) // 2
        high = low + shape.shape
        if (low < 0).any() or (high > HEAD_GRID_SHAPE).any():
            continue
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        part = shape * room[box]
        if float(part.sum()) >= ROOM * float(shape.sum()):
            change[box] = torch.maximum(change[box], part)
            return


def _with_lesions(person: Anatomy, share: Tensor, sign: int) -> Anatomy:
    """Bright lesions are lesion tissue; dark ones are fluid instead of what was there."""
    if sign > 0:
        return replace(person, lesion=torch.maximum(person.lesion, share))
    tissue = person.tissue * (1 - share)
    tissue[CSF_CHANNEL] += share
    return replace(person, tissue=tissue)


def on_pair(change: Tensor, earlier: Acquisition, laid: RegisteredPair) -> Tensor:
    """A field of the anatomy's grid on the pair's, by the true pose of the earlier scan and its alignment."""
    space = laid.space
    points = scanner.compute_grid_points(earlier.to_anatomy @ laid.matrix_earlier @ space.affine, space.inside.shape)
    return anatomy.sample_channels(change[None], points)[0]


def write(path: Path, facts: Facts, laid: RegisteredPair, truth: Tensor) -> None:
    """Keep one pair, all at once."""
    content = io.BytesIO()
    np.savez(
        content,
        a=laid.a.half().numpy(),
        b=laid.b.half().numpy(),
        inside=laid.inside.numpy(),
        truth=(100 * truth).round().to(torch.int8).numpy(),
        facts=json.dumps(asdict(facts)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replace_atomically(path) as temporary:
        temporary.write_bytes(content.getvalue())


def main() -> None:
    """Make what is missing, and say how far it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--pairs", type=int, help="stop after so many of each set")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.sets:
        start = time.process_time()
        made = sum(1 for _ in islice(make(given.folder, name), given.pairs))
        there = len(list((given.folder / name).glob("*.npz")))
        print(f"{name}: {there} pairs, {made} made in {time.process_time() - start:.0f} CPU-seconds", flush=True)


if __name__ == "__main__":
    main()
