"""False alarms on true rescans: `python -m tests.benchmarks.noise_floor --seed 101 --patients 40 --contrast FLAIR`.

Simulated patients on six machines give the template and the synthesised noise floor of a study. Other patients
are then really scanned again by the machines of a hospital that the study has never seen: by the same machine,
and by another one. Nothing changed in anybody, so at p < 0.05 one pair in twenty may alarm. `--model FOLDER` takes the
network of a model for the detector; the plain residual is used without it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from siamese_med import alignment
from siamese_med.config import ScoreConfig
from siamese_med.network import detection
from siamese_med.phantom import anatomy, scanner
from siamese_med.preparation import template
from siamese_med.scoring import comparison, floor, overlay, rescans, residual
from siamese_med.scoring.change import Finding
from siamese_med.scoring.comparison import Side
from siamese_med.scoring.floor import OTHER, SAME, UNKNOWN, Reference
from siamese_med.scoring.overlay import Detector, PairSpace
from siamese_med.volume import Volume

GRID = (64, 64, 64)
FOR_TEMPLATE = 8
DIFFERENCES = (0.25, 0.7)
"""People differ by these shares of real variation, in turn."""
NOMINAL = 0.05


Figures = tuple[Finding, Finding]
"""Of one pair: brightness and growth."""


@dataclass(frozen=True)
class Bench:
    """What every pair is measured with."""

    grid: Volume
    space: PairSpace
    detector: Detector

    def measure(self, first: Volume, second: Volume) -> Figures:
        """The two figures of two scans: brightness and growth."""
        aligned = alignment.align([first, second], self.grid)
        sides = [
            Side(scan, one.matrix, "MR", UNKNOWN, UNKNOWN, True)
            for scan, one in zip((first, second), aligned, strict=True)
        ]
        found = comparison.measured(sides[0], sides[1], self.space, self.detector)
        return found.finding, found.growth


def main() -> None:
    """Simulate, measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=101)
    arguments.add_argument("--patients", type=int, default=40)
    arguments.add_argument("--sources", type=int, default=12)
    arguments.add_argument("--contrast", default="FLAIR")
    arguments.add_argument("--model", type=Path)
    given = arguments.parse_args()
    sources = [scans[0] for scans in taken(given.seed, 0, given.sources, given.contrast)]
    grid = template.build(sources[:FOR_TEMPLATE], GRID, None, "cpu")
    config = ScoreConfig()
    plain = partial(residual.evidence, smoothing_mm=config.smoothing_mm)
    detector = partial(detection.evidence, given.model) if given.model else plain
    bench = Bench(grid, overlay.pair_space(grid, config.spacing_mm), detector)
    known = {kind: synthesised(bench, sources, kind == SAME, given.seed) for kind in (SAME, OTHER)}
    pairs = [
        (bench.measure(a, b), bench.measure(a, c)) for a, b, c in taken(given.seed, 1, given.patients, given.contrast)
    ]
    print(f"{given.contrast}, seed {given.seed}: {given.patients} patients, {given.model or 'residual'}")
    for kind, found in zip((SAME, OTHER), zip(*pairs, strict=True), strict=True):
        show(kind, known[kind], list(found))


def taken(seed: int, which: int, patients: int, contrast: str) -> Iterator[tuple[Volume, Volume, Volume]]:
    """Each patient scanned by one machine of a fleet, by the same once more, and by another."""
    machines = scanner.fleet(np.random.default_rng([seed, which]), scanner.MACHINES, (contrast,))
    for number in range(patients):
        rng = np.random.default_rng([seed, which, number])
        person = anatomy.patient(rng, DIFFERENCES[number % len(DIFFERENCES)])
        one, other = rng.choice(len(machines), 2, replace=False)
        first, again, elsewhere = (scanner.acquire(person, machines[n], rng).volume for n in (one, one, other))
        yield first, again, elsewhere


def synthesised(bench: Bench, sources: list[Volume], same: bool, seed: int) -> tuple[Reference, Reference]:
    """The reference as a model makes it where a study has no rescans."""
    findings = [
        bench.measure(*rescans.simulated(sources[n % len(sources)], same, np.random.default_rng(seed + n)))
        for n in range(ScoreConfig().simulated_rescans)
    ]
    brightness, growth = zip(*findings, strict=True)
    return rescans.synthesised("brightness", brightness), rescans.synthesised(rescans.GROWTH, growth)


def show(kind: str, known: tuple[Reference, Reference], found: list[Figures]) -> None:
    """Alarms with their 95 % interval, and how the true rescans lie among the synthesised ones."""
    p = np.array([[one.p(figure) for one, figure in zip(known, pair, strict=True)] for pair in found])
    z = np.array([[one.z(figure) for one, figure in zip(known, pair, strict=True)] for pair in found])
    both = [comparison.either(*pair) for pair in p]
    outside = sum(brightness.noise > floor.NOISIER * known[0].noise_max for brightness, _ in found)
    for name, values in (("brightness", p[:, 0]), ("growth", p[:, 1]), ("both", np.array(both))):
        alarms = int((values < NOMINAL).sum())
        low, high = wilson(alarms, len(values))
        share = f"{alarms / len(values):.1%} ({low:.1%} to {high:.1%})"
        print(f"{kind:14} {name:11} alarms {alarms} of {len(values)} = {share}")
    for name, one, column in zip(("brightness", "growth"), known, z.T, strict=True):
        print(
            f"{kind:14} {name:11} z {column.mean():+.2f} +- {column.std():.2f}, sd {one.sd:.3f}, slope {one.slope:.2f}"
        )
    print(f"{kind:14} noisier than the reference: {outside}")


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    middle, reach = hits + 1.92, 1.96 * math.sqrt(hits * (n - hits) / n + 0.96)
    return (middle - reach) / (n + 3.84), (middle + reach) / (n + 3.84)


if __name__ == "__main__":
    main()
