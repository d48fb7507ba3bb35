"""Dose and response of a detector: figures over its readings, with intervals by a bootstrap over patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from siamese_med.scoring.metrics import RESAMPLES, Interval
from tests.benchmarks.planted import BINS_MM3, NONE
from tests.benchmarks.readings import THRESHOLDS, Reading

Values = NDArray[np.float64]
Figures = Callable[[Sequence[Reading]], dict[str, float]]

SIGNIFICANCE = 0.05
WANTED_AUC = 0.90
ENOUGH = 3
"""Fewer pairs of a kind than this have no figure."""


@dataclass(frozen=True)
class Settings:
    """What is fixed on validation pairs: the place in THRESHOLDS, and log figures of pairs without change."""

    place: int
    quiet: tuple[float, ...]

    @property
    def threshold(self) -> float:
        """Evidence from which a part of the map counts."""
        return float(THRESHOLDS[self.place])

    def p(self, figure: float) -> float:
        """Chance that another pair without change reaches this figure (predictive t)."""
        n, spread = len(self.quiet), float(np.std(self.quiet, ddof=1))
        return float(t.sf((_log(figure) - float(np.mean(self.quiet))) / spread / math.sqrt(1 + 1 / n), n - 1))


def settle(validation: Sequence[Reading]) -> Settings:
    """The threshold with the best lesion-wise F1, and the reference of no change."""
    place = int(np.argmax([lesion_wise(validation, place)["f1"] for place in range(len(THRESHOLDS))]))
    return Settings(place, tuple(_log(one.figure) for one in quiet(validation)))


def figures(readings: Sequence[Reading], settings: Settings) -> dict[str, float]:
    """All figures of one detector on one set; what cannot be told from the pairs there are is not a number."""
    still, moved = quiet(readings), [one for one in readings if one.family != NONE]
    found = {
        "spearman": spearman([one.figure for one in readings], [one.volume_mm3 for one in readings]),
        "spearman_changed": spearman([one.figure for one in moved], [one.volume_mm3 for one in moved]),
        **by_volume(moved, still),
        "precision": _mean([one.precision for one in moved if one.precision is not None]),
        "peak_inside": _mean([float(one.peak_inside) for one in moved if one.peak_inside is not None]),
        **lesion_wise(readings, settings.place),
        "alarms": alarms(still, settings),
    }
    found["smallest_mm3"] = smallest(moved, found)
    return found


def by_volume(moved: Sequence[Reading], still: Sequence[Reading]) -> dict[str, float]:
    """AUC against no change and mean average precision of the pairs in each of BINS_MM3, by the bin's lower end."""
    found = {}
    for low, high in pairwise(BINS_MM3):
        mine = [one for one in moved if low <= one.volume_mm3 < high]
        found[f"auc_{low}"] = auc([one.figure for one in mine], [one.figure for one in still])
        found[f"precision_{low}"] = _mean([one.precision for one in mine if one.precision is not None])
    return found


def smallest(moved: Sequence[Reading], found: dict[str, float]) -> float:
    """Volume (mm3) at which the AUC passes WANTED_AUC, between the bins' mean volumes, log-linearly.

    The lowest bin's where that passes already; infinite where the highest does not.
    """
    points = []
    for low, high in pairwise(BINS_MM3):
        volumes = [math.log(one.volume_mm3) for one in moved if low <= one.volume_mm3 < high]
        if len(volumes) >= ENOUGH:
            points.append((float(np.mean(volumes)), found[f"auc_{low}"]))
    if not points or points[-1][1] < WANTED_AUC:
        return math.inf
    if points[0][1] >= WANTED_AUC:
        return math.exp(points[0][0])
    (x0, y0), (x1, y1) = [pair for pair in pairwise(points) if pair[0][1] < WANTED_AUC <= pair[1][1]][-1]
    return math.exp(x0 + (x1 - x0) * (WANTED_AUC - y0) / (y1 - y0))


def lesion_wise(readings: Sequence[Reading], place: int) -> dict[str, float]:
    """Share of lesions found, F1 over all pairs, and false parts a pair without change, at one of THRESHOLDS."""
    lesions, found = sum(one.lesions for one in readings), sum(one.found[place] for one in readings)
    false = sum(one.false[place] for one in readings)
    return {
        "found": found / lesions if lesions else math.nan,
        "f1": 2 * found / max(1, lesions + found + false),
        "false_parts": _mean([float(one.false[place]) for one in quiet(readings)]),
    }


def alarms(still: Sequence[Reading], settings: Settings) -> float:
    """Share of pairs without change whose p lies below SIGNIFICANCE."""
    return _mean([float(settings.p(one.figure) < SIGNIFICANCE) for one in still])


def quiet(readings: Sequence[Reading]) -> list[Reading]:
    """The pairs without change."""
    return [one for one in readings if one.family == NONE]


def auc(above: Sequence[float], below: Sequence[float]) -> float:
    """Chance that one of the first exceeds one of the second; ties count half."""
    if len(above) < ENOUGH or len(below) < ENOUGH:
        return math.nan
    ranks = rankdata([*above, *below])[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / len(above) / len(below))


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation."""
    if len(set(one)) < ENOUGH or len(set(other)) < ENOUGH:
        return math.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def with_intervals(
    sets: Sequence[Sequence[Reading]], figures_of: Sequence[Figures], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Figures with 95 % intervals, averaged over detectors of the same pairs; patients are drawn once for all."""
    point = _averaged([of(readings) for of, readings in zip(figures_of, sets, strict=True)])
    draws = []
    for places in _draws([one.patient for one in sets[0]], seed, resamples):
        drawn = [[readings[place] for place in places] for readings in sets]
        draws.append(_averaged([of(readings) for of, readings in zip(figures_of, drawn, strict=True)]))
    return {name: _interval(value, [draw[name] for draw in draws]) for name, value in point.items()}


def _averaged(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def _interval(value: float, draws: Sequence[float]) -> Interval:
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


def _log(figure: float) -> float:
    return math.log(max(figure, 1e-6))
