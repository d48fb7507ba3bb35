"""Given two dates of one patient with a growing lesion: which is the later one?

    python -m benchmarks.ordering FOLDER [--seed 202] [--patients 30] [--contrast FLAIR] [--model DIR]

One lesion of a simulated patient grows by 100 to 4,000 mm3, log-uniformly; each date has its own machine. The answer is
the sign of the evidence (`change.find`), that of the strongest places; nothing else is known of a date.

What the sign means is known beforehand, not read from the scans: a lesion is brighter than white matter on FLAIR and
T2w, darker on T1w, so growth is positive on the former and negative on the latter. A lesion that shrinks, or one that
turns dark, puts the dates the other way round; so does one machine that shows lesions brighter than the other.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from benchmarks import two_dates
from benchmarks.two_dates import Clinic, Look, Patient
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.mni_head import TISSUES

GROWN_MM3 = (100, 200, 400, 1000, 4000)
GROWTHS = 6
"""Of each patient, one at a time, each against the first date."""
ASKED_MM3 = 400

Answers = Sequence[tuple[int, float, bool]]
"""Patient, mm3 of growth, and whether the order was right."""


def main() -> None:
    """Simulate, measure and print."""
    torch.set_num_threads(1)
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--seed", type=int, default=202)
    options.add_argument("--patients", type=int, default=30)
    options.add_argument("--contrast", choices=list(scanner.TISSUE_SIGNALS_BY_CONTRAST), default="FLAIR")
    options.add_argument("--model", type=Path, help="a model folder, whose network is asked too")
    given = options.parse_args()
    clinic = Clinic(given.folder, given.seed, contrast=given.contrast)
    print(f"{given.patients} simulated patients, {given.contrast}, seed {given.seed}, another machine at each date")
    for name, look in two_dates.detectors(given.model).items():
        _print(name, answers(clinic, given.patients, name, look))


def pairs(clinic: Clinic, number: int) -> Iterator[tuple[float, Path]]:
    """Least growth in mm3 and overlay of one patient's pairs: one lesion grown, seen by another machine."""
    patient = Patient(clinic, number)
    for growth in range(GROWTHS):
        rng = clinic.chance(7, number, growth)
        wanted = math.exp(rng.uniform(math.log(GROWN_MM3[0]), math.log(GROWN_MM3[-1])))
        yield wanted, patient.later(f"grown_{growth}", partial(_grown, patient, rng, wanted), same_machine=False)


def _grown(patient: Patient, rng: np.random.Generator, volume_mm3: float) -> Anatomy:
    return anatomy.grow_lesion(patient.anatomy, rng, volume_mm3)


def answers(clinic: Clinic, patients: int, name: str, look: Look) -> Answers:
    """Right or wrong for all pairs by one detector; a pair of which nothing is said is wrong."""
    growth = lesion_sign(clinic.contrast)
    return [
        (number, volume_mm3, two_dates.looked_at(path, name, look).sign == growth)
        for number in range(patients)
        for volume_mm3, path in pairs(clinic, number)
    ]


def lesion_sign(contrast: str) -> int:
    """+1 where lesions are brighter than white matter."""
    levels = scanner.TISSUE_SIGNALS_BY_CONTRAST[contrast]
    return 1 if levels[-1] > levels[TISSUES.index("white")] else -1


def _print(name: str, given: Answers) -> None:
    print(f"\n{name}\n        mm3     n  right order")
    for low, high in [*pairwise(GROWN_MM3), (ASKED_MM3, GROWN_MM3[-1])]:
        some = [one for one in given if low <= one[1] < high]
        if not some:
            continue
        right = [one[2] for one in some]
        lowest, highest = _bounds([one[0] for one in some], right)
        print(f"{low:5d} -{high:5d} {len(some):5d}  {np.mean(right):.3f} [{lowest:.3f}, {highest:.3f}]")


def _bounds(patients: Sequence[int], right: Sequence[bool]) -> tuple[float, float]:
    """95 %: the wider of a bootstrap over patients, blind to errors that did not occur, and Clopper and Pearson's."""
    exact = binomtest(sum(right), len(right)).proportion_ci()
    drawn = two_dates.interval(patients, partial(_share, right))
    return min(float(exact.low), drawn[0]), max(float(exact.high), drawn[1])


def _share(right: Sequence[bool], places: Sequence[int]) -> float:
    return float(np.mean([right[place] for place in places]))


if __name__ == "__main__":
    main()
