"""Enlarging ventricles: what is the least that is seen?

    python -m benchmarks.atrophy FOLDER [--seed 202] [--patients 30] [--contrast FLAIR] [--model DIR]

Simulated patients (difference 1.0), scanned before and after by machines of one fleet: without change, and with
ventricles larger by 0.5 to 10 ml (`anatomy.with_larger_ventricles`), on the same machine and on another one. Every
figure is read by the tool's own floor against the pairs without change of the same kind, of other patients where it is
called found. The sign is right where the local volume grows (expansion) or the image turns to fluid (the others).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch

from benchmarks import two_dates
from benchmarks.response import auc
from benchmarks.two_dates import Clinic, Look, Patient
from siamese_med.scoring.change import noise_floor
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import VOXEL_MM3, Anatomy
from siamese_med.simulation.mni_head import TISSUES, load_tissue_fractions

ENLARGED_ML = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
KINDS = ("same", "other")
QUIET = 2
"""Pairs without change, of each patient and kind."""
SIGNIFICANCE, POWER, AUC = 0.05, 0.8, 0.9
EXPANSION = "expansion"
BRAIN = ("grey", "white", "csf")


@dataclass(frozen=True)
class Read:
    """A pair and what a detector found in it: z against all pairs without change, p against other patients' alone."""

    patient: int
    kind: str
    ml: float
    sign: int
    z: float
    p: float


def main() -> None:
    """Simulate, measure and print."""
    torch.set_num_threads(1)
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--seed", type=int, default=202)
    options.add_argument("--patients", type=int, default=30)
    options.add_argument("--contrast", choices=list(scanner.TISSUE_SIGNALS_BY_CONTRAST), default="FLAIR")
    options.add_argument("--model", type=Path, help="a model folder, whose network is measured too")
    given = options.parse_args()
    clinic = Clinic(given.folder, given.seed, contrast=given.contrast)
    print(f"{given.patients} simulated patients, {given.contrast}, seed {given.seed}; brains of {brain_ml():.0f} ml")
    for name, look in {EXPANSION: two_dates.by_expansion, **two_dates.detectors(given.model)}.items():
        _print(name, readings(clinic, given.patients, name, look))


def pairs(clinic: Clinic, number: int) -> Iterator[tuple[str, float, Path]]:
    """Kind of machine, ml and overlay of one patient's pairs; each later scan has a pose and noise of its own."""
    patient = Patient(clinic, number)

    @cache
    def enlarged(ml: float) -> Anatomy:
        return anatomy.enlarge_ventricles(patient.anatomy, 1000 * ml) if ml else patient.anatomy

    for kind, ml in product(KINDS, ENLARGED_ML):
        for again in range(1 if ml else QUIET):
            name = f"{kind}_{ml:g}_{again}" if again else f"{kind}_{ml:g}"
            yield kind, ml, patient.later(name, partial(enlarged, ml), kind == "same")


def readings(clinic: Clinic, patients: int, name: str, look: Look) -> list[Read]:
    """All pairs as one detector sees them."""
    found = [
        (number, kind, ml, two_dates.looked_at(path, name, look))
        for number in range(patients)
        for kind, ml, path in pairs(clinic, number)
    ]
    growth = 1 if name == EXPANSION else fluid_sign(clinic.contrast)
    return [_read(number, kind, ml, finding, found, growth) for number, kind, ml, finding in found]


def _read(
    number: int,
    kind: str,
    ml: float,
    mine: MapSummary,
    found: Sequence[tuple[int, str, float, MapSummary]],
    growth: int,
) -> Read:
    quiet = [(other, one) for other, alike, change_ml, one in found if alike == kind and not change_ml]
    everyones = noise_floor.build_no_change_reference([one for _, one in quiet], "rescans")
    others = noise_floor.build_no_change_reference([one for other, one in quiet if other != number], "rescans")
    return Read(number, kind, ml, mine.sign * growth, everyones.z(mine), others.p(mine))


def fluid_sign(contrast: str) -> int:
    """+1 where fluid is brighter than white matter."""
    levels = dict(zip(TISSUES, scanner.TISSUE_SIGNALS_BY_CONTRAST[contrast], strict=False))
    return 1 if levels["csf"] > levels["white"] else -1


def brain_ml() -> float:
    """Of the head that all patients are warped from, fluid included."""
    return float(sum(load_tissue_fractions()[TISSUES.index(name)].sum() for name in BRAIN)) * VOXEL_MM3 / 1000


def _print(name: str, found: Sequence[Read]) -> None:
    for kind in KINDS:
        mine = [one for one in found if one.kind == kind]
        alarms = [one.p < SIGNIFICANCE for one in mine if not one.ml]
        print(f"\n{name}, {kind} machine; false alarms at p < {SIGNIFICANCE}: {sum(alarms)} of {len(alarms)}")
        print("   ml    n  median z  sign right  found  AUC against no change")
        for ml in ENLARGED_ML[1:]:
            low, high = two_dates.interval([one.patient for one in mine], partial(_auc_of, mine, ml))
            some = [one for one in mine if one.ml == ml]
            z, right, seen = (np.array([[one.z, one.sign > 0, one.p < SIGNIFICANCE] for one in some])).T
            area = _auc_of(mine, ml, range(len(mine)))
            print(
                f"{ml:5.1f} {len(some):4d} {np.median(z):9.2f} {right.mean():11.2f} {seen.mean():6.2f}"
                f"  {area:.3f} [{low:.3f}, {high:.3f}]"
            )
        _print_smallest(mine)


def _auc_of(found: Sequence[Read], ml: float, places: Sequence[int]) -> float:
    drawn = [found[place] for place in places]
    return auc([one.z for one in drawn if one.ml == ml], [one.z for one in drawn if not one.ml])


def _print_smallest(found: Sequence[Read]) -> None:
    everyone = range(len(found))
    areas = [_auc_of(found, ml, everyone) for ml in ENLARGED_ML[1:]]
    powers = [float(np.mean([one.p < SIGNIFICANCE for one in found if one.ml == ml])) for ml in ENLARGED_ML[1:]]
    for what, values, goal in (("AUC", areas, AUC), ("power", powers, POWER)):
        least = reached(values, goal)
        print(f"smallest with {what} {goal}: {least:.2f} ml, {100 * least / brain_ml():.2f} % of the brain")


def reached(values: Sequence[float], goal: float) -> float:
    """The ml from which on all of ENLARGED_ML reach the goal, log-linearly between them; the first or infinity at most.

    A figure that reaches it at once is only known to do so at the smallest ml.
    """
    enlarged = ENLARGED_ML[1:]
    if values[-1] < goal:
        return math.inf
    for (ml, value), (next_ml, next_value) in reversed(list(pairwise(zip(enlarged, values, strict=True)))):
        if value < goal:
            return float(ml * (next_ml / ml) ** ((goal - value) / (next_value - value)))
    return enlarged[0]


if __name__ == "__main__":
    main()
