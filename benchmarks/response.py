"""Dose and response of a detector: figures over its readings, with intervals by a bootstrap over patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata

from benchmarks.planted import BINS_MM3, NONE, Facts
from benchmarks.readings import THRESHOLDS, Reading
from siamese_med.scoring.change import noise_floor
from siamese_med.scoring.change.noise_floor import NoChangeReference
from siamese_med.scoring.identity.verification_metrics import BOOTSTRAP_RESAMPLES, BootstrapInterval

SIGNIFICANCE = 0.05
WANTED_AUC = 0.90
ENOUGH = 3
"""Fewer pairs of a kind than this have no figure."""


@dataclass(frozen=True)
class Settings:
    """What is fixed on validation pairs: the place in THRESHOLDS, and what pairs without change look like."""

    place: int
    reference: NoChangeReference

    @property
    def threshold(self) -> float:
        """Evidence from which a part of the map counts."""
        return float(THRESHOLDS[self.place])

    def judged(self, readings: Sequence[Reading]) -> list[Judged]:
        """Readings with z, p and the hits at the threshold."""
        return [
            Judged(
                one.facts,
                self.reference.z(one.finding),
                self.reference.p(one.finding),
                one.precision,
                one.peak_inside,
                one.lesions,
                one.found[self.place],
                one.false[self.place],
            )
            for one in readings
        ]


@dataclass(frozen=True)
class Judged:
    """A reading under settings: z and p, as in `readings.Reading`, and hits at one threshold."""

    facts: Facts
    z: float
    p: float
    precision: float | None
    peak_inside: bool | None
    lesions: int
    found: int
    false: int


def choose_settings(validation: Sequence[Reading]) -> Settings:
    """The threshold with the best lesion-wise F1, and the reference of no change."""
    reference = noise_floor.build_no_change_reference(
        [one.finding for one in validation if one.facts.family == NONE], "validation"
    )
    tried = [Settings(place, reference) for place in range(len(THRESHOLDS))]
    return max(tried, key=lambda settings: lesion_wise(settings.judged(validation))["f1"])


def figures(pairs: Sequence[Judged]) -> dict[str, float]:
    """All figures of one detector on one set; what cannot be told from the pairs there are is not a number."""
    still, moved = quiet(pairs), changed(pairs)
    found = {
        "spearman": spearman(pairs),
        "spearman_changed": spearman(moved),
        **by_volume(moved, still),
        "precision": _mean([one.precision for one in moved if one.precision is not None]),
        "peak_inside": _mean([float(one.peak_inside) for one in moved if one.peak_inside is not None]),
        **lesion_wise(pairs),
        "alarms": _mean([float(one.p < SIGNIFICANCE) for one in still]),
    }
    found["smallest_mm3"] = smallest(moved, found)
    return found


def by_volume(moved: Sequence[Judged], still: Sequence[Judged]) -> dict[str, float]:
    """AUC against no change and mean average precision of the pairs in each of BINS_MM3, by the bin's lower end."""
    found = {}
    for low, high in pairwise(BINS_MM3):
        mine = [one for one in moved if low <= one.facts.volume_mm3 < high]
        found[f"auc_{low}"] = auc([one.z for one in mine], [one.z for one in still])
        found[f"precision_{low}"] = _mean([one.precision for one in mine if one.precision is not None])
    return found


def smallest(moved: Sequence[Judged], found: dict[str, float]) -> float:
    """Volume (mm3) at which the AUC passes WANTED_AUC, between the bins' mean volumes, log-linearly.

    The lowest bin's where that passes already; infinite where the highest does not.
    """
    points = []
    for low, high in pairwise(BINS_MM3):
        volumes = [math.log(one.facts.volume_mm3) for one in moved if low <= one.facts.volume_mm3 < high]
        if len(volumes) >= ENOUGH:
            points.append((float(np.mean(volumes)), found[f"auc_{low}"]))
    if not points or points[-1][1] < WANTED_AUC:
        return math.inf
    if points[0][1] >= WANTED_AUC:
        return math.exp(points[0][0])
    (x0, y0), (x1, y1) = [pair for pair in pairwise(points) if pair[0][1] < WANTED_AUC <= pair[1][1]][-1]
    return math.exp(x0 + (x1 - x0) * (WANTED_AUC - y0) / (y1 - y0))


def lesion_wise(pairs: Sequence[Judged]) -> dict[str, float]:
    """Share of lesions found, F1 over all pairs, and false parts a pair without change."""
    lesions, found = sum(one.lesions for one in pairs), sum(one.found for one in pairs)
    return {
        "found": found / lesions if lesions else math.nan,
        "f1": 2 * found / max(1, lesions + found + sum(one.false for one in pairs)),
        "false_parts": _mean([float(one.false) for one in quiet(pairs)]),
    }


def quiet(pairs: Sequence[Judged]) -> list[Judged]:
    """The pairs without change."""
    return [one for one in pairs if one.facts.family == NONE]


def changed(pairs: Sequence[Judged]) -> list[Judged]:
    """The pairs with change."""
    return [one for one in pairs if one.facts.family != NONE]


def auc(above: Sequence[float], below: Sequence[float]) -> float:
    """Chance that one of the first exceeds one of the second; ties count half."""
    if len(above) < ENOUGH or len(below) < ENOUGH:
        return math.nan
    ranks = rankdata([*above, *below])[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / len(above) / len(below))


def spearman(pairs: Sequence[Judged]) -> float:
    """Rank correlation of z with the volume that changed."""
    scores, volumes = rankdata([one.z for one in pairs]), rankdata([one.facts.volume_mm3 for one in pairs])
    if len(set(scores)) < ENOUGH or len(set(volumes)) < ENOUGH:
        return math.nan
    return float(np.corrcoef(scores, volumes)[0, 1])


def with_intervals(
    sets: Sequence[Sequence[Judged]], seed: int = 0, resamples: int = BOOTSTRAP_RESAMPLES
) -> dict[str, BootstrapInterval]:
    """Figures with 95 % intervals, averaged over detectors of the same pairs; patients are drawn once for all."""
    point = _averaged([figures(pairs) for pairs in sets])
    draws = []
    for places in _draws([one.facts.patient for one in sets[0]], seed, resamples):
        draws.append(_averaged([figures([pairs[place] for place in places]) for pairs in sets]))
    return {name: _interval(value, [draw[name] for draw in draws]) for name, value in point.items()}


def _averaged(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def _interval(value: float, draws: Sequence[float]) -> BootstrapInterval:
    """Percentiles of the draws that have the figure; infinity is a figure."""
    known = [one for one in draws if not math.isnan(one)]
    if math.isnan(value) or not known:
        return {"value": None, "low": None, "high": None}
    low, high = (float(part) for part in np.percentile(known, [2.5, 97.5], method="nearest"))
    return {"value": value, "low": low, "high": high}


def _draws(patients: Sequence[str], seed: int, resamples: int) -> Iterator[list[int]]:
    """Places of the readings of patients drawn with replacement."""
    everyone = sorted(set(patients))
    places = [[place for place, name in enumerate(patients) if name == one] for one in everyone]
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield [place for drawn in rng.integers(len(everyone), size=len(everyone)) for place in places[drawn]]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
