"""Simulated patients at two dates, laid on each other: what the benchmarks of volume change and of ordering measure.

A patient is `anatomy.patient` at full difference; each date has a machine of one `scanner.fleet`. Overlays are kept
under a folder, because making them takes longer than measuring them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import torch

from siamese_med.imaging.volume import Volume
from siamese_med.network import change_inference
from siamese_med.preparation.scan_placement import find_region
from siamese_med.runtime.files import replace_atomically, write_json_file
from siamese_med.scoring.change import boundary_shift, change_map, pair_registration
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.detectors import build_residual_detector as unlearned
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace, RegisteredPair
from siamese_med.scoring.identity.verification_metrics import BOOTSTRAP_RESAMPLES
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Scanner
from siamese_med.study.config import ScoreConfig

if TYPE_CHECKING:
    Placed = tuple[Volume, Volume | None]

DIFFERENCE = 1.0

Look = Callable[[RegisteredPair], MapSummary]


@dataclass(frozen=True)
class Clinic:
    """Machines of one contrast, and a folder for what is slow to make."""

    folder: Path
    seed: int
    spacing_mm: float = 1.5
    contrast: str = "FLAIR"

    @property
    def overlays(self) -> Path:
        """Where they are kept."""
        return self.folder / f"{self.contrast}_{self.seed}_{self.spacing_mm:g}mm"

    @cached_property
    def machines(self) -> list[Scanner]:
        """Six machines."""
        return scanner.draw_scanners(self.chance(1), scanner.SCANNER_COUNT, (self.contrast,))

    def chance(self, *what: int) -> np.random.Generator:
        """The same for the same numbers, whatever was made before."""
        return np.random.default_rng([self.seed, *what])

    def machine(self, rng: np.random.Generator, other_than: Scanner | None = None) -> Scanner:
        """One of the machines, but not `other_than`."""
        choice = [machine for machine in self.machines if machine is not other_than]
        return choice[rng.integers(len(choice))]

    def placed(self, person: Anatomy, machine: Scanner, rng: np.random.Generator) -> Placed:
        """A scan of a person, and its brain."""
        scan = scanner.acquire_scan(person, machine, rng).volume
        return scan, find_region(scan)


class Patient:
    """One person: the first scan, and the overlays of the later ones; what is already kept is not made again."""

    def __init__(self, clinic: Clinic, number: int) -> None:
        self.clinic, self.number = clinic, number

    @cached_property
    def anatomy(self) -> Anatomy:
        """At the first date."""
        return anatomy.simulate_anatomy(self.clinic.chance(2, self.number), DIFFERENCE)

    @cached_property
    def machine(self) -> Scanner:
        """Of the first date."""
        return self.clinic.machine(self.clinic.chance(4, self.number))

    @cached_property
    def first(self) -> Placed:
        """The first scan."""
        return self.clinic.placed(self.anatomy, self.machine, self.clinic.chance(5, self.number))

    def later(self, name: str, person: Callable[[], Anatomy], same_machine: bool) -> Path:
        """The first scan laid with one of a later date, whose pose, noise and perhaps machine are its own."""
        path = self.clinic.overlays / f"{self.number:03d}_{name}.npz"
        if not path.is_file():
            rng = self.clinic.chance(6, self.number, crc32(name.encode()))
            machine = self.machine if same_machine else self.clinic.machine(rng, self.machine)
            scan, region = self.clinic.placed(person(), machine, rng)
            regions = self.first[1], region
            _keep(path, pair_registration.register_pair(self.first[0], scan, regions, self.clinic.spacing_mm))
        return path


def _keep(path: Path, pair: RegisteredPair) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            scans=torch.stack([pair.a, pair.b]).numpy().astype(np.float16),
            inside=pair.inside.numpy(),
            affine=pair.space.affine,
            figures=np.array([pair.overlap, pair.quality]),
            matrices=np.stack([pair.matrix_earlier, pair.matrix_later]),
        )


def _kept(path: Path) -> RegisteredPair:
    """The overlay as kept; of the scans only the matched ones, which all detectors look at."""
    with np.load(path) as kept:
        a, b = torch.from_numpy(kept["scans"].astype(np.float32))
        overlap, quality = map(float, kept["figures"])
        space = PairSpace(kept["affine"], kept["inside"])
        return RegisteredPair(space, a, b, a, b, torch.from_numpy(kept["inside"]), overlap, quality, *kept["matrices"])


def looked_at(path: Path, name: str, look: Look) -> MapSummary:
    """What a detector finds in a kept overlay (but for the tail), kept too: detectors are slow."""
    answer = path.with_name(f"{path.stem}_{name}.json")
    if not answer.is_file():
        found = look(_kept(path))
        write_json_file(answer, {part: getattr(found, part) for part in ("figure", "sign", "level", "noise")})
    return MapSummary(**json.loads(answer.read_text()), tail=np.zeros(len(change_map.TAIL_THRESHOLDS)))


def detectors(model: Path | None) -> dict[str, Look]:
    """Those of brightness: the residual, and a model's network where one is given."""
    found: dict[str, Look] = {"residual": partial(_by, unlearned(ScoreConfig()))}
    return (
        {**found, f"network {model.name}": partial(_by, partial(change_inference.detect_with_network, model))}
        if model
        else found
    )


def by_expansion(pair: RegisteredPair) -> MapSummary:
    """Local volume change."""
    return boundary_shift.summarise_boundary_shift(
        boundary_shift.measure_boundary_shift(pair, pair.space.spacing_mm), pair
    )


def _by(detector: ChangeDetector, pair: RegisteredPair) -> MapSummary:
    return change_map.summarise_map(detector(pair, pair.space.spacing_mm), pair)


def interval(patients: Sequence[int], figure: Callable[[list[int]], float]) -> tuple[float, float]:
    """95 % interval of a figure of the given places (of the list), by drawing patients with replacement."""
    rng, everyone = np.random.default_rng(0), sorted(set(patients))
    places = {one: [place for place, patient in enumerate(patients) if patient == one] for one in everyone}
    draws = [
        figure([place for one in rng.choice(everyone, len(everyone)) for place in places[int(one)]])
        for _ in range(BOOTSTRAP_RESAMPLES)
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)
