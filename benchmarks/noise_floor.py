"""False alarms on true rescans: `python -m benchmarks.noise_floor --seed 101 --patients 40 --contrast FLAIR`.

Simulated patients on six machines give the synthesised noise floor of a study. Other patients
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

from siamese_med.imaging.volume import Volume
from siamese_med.network import change_inference
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import pair_measurement, pair_scoring, residual_detector
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import OTHER_SCANNER, SAME_SCANNER, NoChangeReference
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import GROWTH, build_synthetic_reference, simulate_scan_pair
from siamese_med.simulation import anatomy, rescan, scanner
from siamese_med.study.config import ScoreConfig
from siamese_med.study.thresholds import MAX_NOISE_RATIO
from siamese_med.study.vocabulary import UNKNOWN

FOR_TEMPLATE = 8
DIFFERENCES = (0.25, 0.7)
"""People differ by these shares of real variation, in turn."""
NOMINAL = 0.05


Figures = tuple[MapSummary, MapSummary]
"""Of one pair: brightness and growth."""


@dataclass(frozen=True)
class Bench:
    """What every pair is measured with."""

    spacing_mm: float
    detector: ChangeDetector

    def measure(self, first: Volume, second: Volume) -> Figures:
        """The two figures of two scans: brightness and growth."""
        sides = [PairScan(scan, find_region(scan), None, "MR", UNKNOWN, UNKNOWN) for scan in (first, second)]
        found = pair_measurement.measure_pair(sides[0], sides[1], self.spacing_mm, self.detector)
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
    config = ScoreConfig()
    plain = partial(residual_detector.detect_with_residual, smoothing_mm=config.smoothing_mm)
    detector = partial(change_inference.detect_with_network, given.model) if given.model else plain
    bench = Bench(config.spacing_mm, detector)
    known = {
        kind: synthesised(bench, sources, kind == SAME_SCANNER, given.seed) for kind in (SAME_SCANNER, OTHER_SCANNER)
    }
    pairs = [
        (bench.measure(a, b), bench.measure(a, c)) for a, b, c in taken(given.seed, 1, given.patients, given.contrast)
    ]
    print(f"{given.contrast}, seed {given.seed}: {given.patients} patients, {given.model or 'residual'}")
    for kind, found in zip((SAME_SCANNER, OTHER_SCANNER), zip(*pairs, strict=True), strict=True):
        show(kind, known[kind], list(found))


def taken(seed: int, which: int, patients: int, contrast: str) -> Iterator[tuple[Volume, Volume, Volume]]:
    """Each patient scanned by one machine of a fleet, by the same once more, and by another."""
    machines = scanner.draw_scanners(np.random.default_rng([seed, which]), scanner.SCANNER_COUNT, (contrast,))
    for number in range(patients):
        rng = np.random.default_rng([seed, which, number])
        person = anatomy.simulate_anatomy(rng, DIFFERENCES[number % len(DIFFERENCES)])
        one, other = rng.choice(len(machines), 2, replace=False)
        first, again, elsewhere = (scanner.acquire_scan(person, machines[n], rng).volume for n in (one, one, other))
        yield first, again, elsewhere


def synthesised(
    bench: Bench, sources: list[Volume], same: bool, seed: int
) -> tuple[NoChangeReference, NoChangeReference]:
    """The reference as a model makes it where a study has no rescans."""
    bodies = [rescan.extract_body(source) for source in sources]
    findings = [
        bench.measure(*(one.volume for one in simulate_scan_pair(bodies[n % len(sources)], same, rng)))
        for n, rng in enumerate(map(np.random.default_rng, range(seed, seed + ScoreConfig().simulated_rescans)))
    ]
    brightness, growth = zip(*findings, strict=True)
    return build_synthetic_reference("brightness", brightness), build_synthetic_reference(GROWTH, growth)


def show(kind: str, known: tuple[NoChangeReference, NoChangeReference], found: list[Figures]) -> None:
    """Alarms with their 95 % interval, and how the true rescans lie among the synthesised ones."""
    p = np.array([[one.p(figure) for one, figure in zip(known, pair, strict=True)] for pair in found])
    z = np.array([[one.z(figure) for one, figure in zip(known, pair, strict=True)] for pair in found])
    both = [pair_scoring.combine_p_values(*pair) for pair in p]
    outside = sum(brightness.noise > MAX_NOISE_RATIO * known[0].noise_max for brightness, _ in found)
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
