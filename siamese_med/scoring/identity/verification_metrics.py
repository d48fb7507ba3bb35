"""How well a score tells same from different patients; intervals by resampling patients, never pairs.

A score is higher for the same patient. `same` tells which pairs are of one patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import NotEnoughDataError
from siamese_med.study.model_metrics import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BootstrapInterval = dict[str, float | None]
"""`value`, `low` and `high`; all missing where the pairs are too few for the figure."""

BOOTSTRAP_RESAMPLES = 500
FALSE_ACCEPT_RATES = {"tar_at_far_1pct": 0.01, "tar_at_far_01pct": 0.001}
"""False-accept rates at which the true-accept rate is given, by the figure's name."""


@dataclass(frozen=True)
class ScanPairs:
    """All pairs of n scans and the patients whose they are."""

    subjects: Sequence[str]

    @cached_property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions of the first and the second scan of each pair."""
        first, second = np.triu_indices(len(self.subjects), 1)
        return first, second

    @cached_property
    def same(self) -> Flags:
        """Which pairs are of one patient."""
        names = np.asarray(self.subjects)
        first, second = self.places
        return np.asarray(names[first] == names[second])

    def weights(self, drawn: Values) -> Values:
        """How often each pair is drawn where scan n's patient is drawn `drawn[n]` times; two patients multiply."""
        first, second = self.places
        return np.asarray(np.where(self.same, drawn[first], drawn[first] * drawn[second]))


def compute_roc(score: Values, same: Flags, weight: Values | None = None) -> tuple[Values, Values]:
    """False-accept and true-accept rate at every threshold, from strict to lax."""
    return compute_ranked_roc(*rank_scores(score), same, np.ones(len(score)) if weight is None else weight)


def rank_scores(score: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order of the pairs, most alike first, and the places in it where a group of ties ends."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return order, ends


def compute_ranked_roc(
    order: NDArray[np.intp], ends: NDArray[np.intp], same: Flags, weight: Values
) -> tuple[Values, Values]:
    """As `compute_roc`, for an order that many weights share."""
    kinds = same[order]
    true_accepts = np.cumsum(weight[order] * kinds)[ends]
    false_accepts = np.cumsum(weight[order] * ~kinds)[ends]
    return np.append(0.0, false_accepts / false_accepts[-1]), np.append(0.0, true_accepts / true_accepts[-1])


def equal_error_rate(false_accepts: Values, true_accepts: Values) -> float:
    """Where false accepts and false rejects are equally frequent, interpolated."""
    return float(np.interp(0.0, false_accepts - (1 - true_accepts), false_accepts))


def tar_at_far(false_accepts: Values, true_accepts: Values, rate: float) -> float:
    """True-accept rate at the laxest threshold whose false-accept rate is at most `rate`."""
    return float(true_accepts[false_accepts <= rate].max())


def rank_one_rate(scores: Values, subjects: Sequence[str], weight: Values) -> float:
    """Share of scans whose best other scan is of the same patient; only patients with two scans ask; scores (n, n)."""
    _, patient, scans = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    matrix = np.array(scores, dtype=float)
    np.fill_diagonal(matrix, -np.inf)
    matrix[:, weight == 0] = -np.inf
    asked = (scans[patient] > 1) & (weight > 0)
    return float(np.average((patient[matrix.argmax(1)] == patient)[asked], weights=weight[asked]))


def calibration_bins(
    probability: Values, same: Flags, weight: Values | None = None, bins: int = 10
) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error (Naeini et al., AAAI 2015) and the bins behind it; both kinds weigh the same."""
    weight = np.ones(len(same)) if weight is None else weight
    weight = 0.5 * weight / np.where(same, weight[same].sum(), weight[~same].sum())
    place = np.minimum((probability * bins).astype(int), bins - 1)
    share, predicted, observed = (
        np.bincount(place, weights=weight * part, minlength=bins) for part in (np.ones(len(same)), probability, same)
    )
    counts = np.bincount(place, minlength=bins)
    rows = [
        {"predicted": float(predicted[n] / share[n]), "observed": float(observed[n] / share[n]), "n": int(counts[n])}
        for n in np.flatnonzero(share)
    ]
    return float(np.abs(predicted - observed).sum()), rows


def compute_verification(matrix: Values, subjects: Sequence[str], weight: Values | None = None) -> dict[str, float]:
    """AUC, EER, TAR at two FARs and rank-1 over all pairs of n scans; `matrix` (n, n) is symmetric.

    `weight` (n,) says how often each scan's patient was drawn.
    """
    return _verification_function(matrix, ScanPairs(subjects))(np.ones(len(subjects)) if weight is None else weight)


def bootstrap_verification(matrix: Values, subjects: Sequence[str], seed: int = 0) -> dict[str, BootstrapInterval]:
    """The figures of `compute_verification` with 95 % intervals from a bootstrap over patients (percentiles).

    A false-accept rate of which the different pairs do not make one false accept has no figure.
    """
    _require_both_kinds(subjects)
    pairs = ScanPairs(subjects)
    figures = _verification_function(matrix, pairs)
    draws = draw_patients(subjects, seed)
    summary = compute_intervals(figures(np.ones(len(subjects))), [figures(drawn) for drawn in draws])
    for name, rate in FALSE_ACCEPT_RATES.items():
        if (~pairs.same).sum() < 1 / rate:
            summary[name] = {"value": None, "low": None, "high": None}
    return summary


def _verification_function(matrix: Values, pairs: ScanPairs) -> Callable[[Values], dict[str, float]]:
    """The figures as a function of how often each scan's patient is drawn; the scores are sorted once."""
    order, ends = rank_scores(np.asarray(matrix[pairs.places], dtype=float))

    def figures(drawn: Values) -> dict[str, float]:
        curve = compute_ranked_roc(order, ends, pairs.same, pairs.weights(drawn))
        return {
            "auc": float(np.trapezoid(curve[1], curve[0])),
            "eer": equal_error_rate(*curve),
            **{name: tar_at_far(*curve, rate) for name, rate in FALSE_ACCEPT_RATES.items()},
            "rank1": rank_one_rate(matrix, pairs.subjects, drawn),
        }

    return figures


def compute_intervals(point: dict[str, float], draws: Iterable[dict[str, float]]) -> dict[str, BootstrapInterval]:
    """Each figure with the 2.5th and the 97.5th percentile of its draws."""
    drawn = list(draws)
    return {
        name: {
            "value": value,
            **dict(zip(("low", "high"), map(float, np.percentile([d[name] for d in drawn], [2.5, 97.5])), strict=True)),
        }
        for name, value in point.items()
    }


def make_estimate(interval: BootstrapInterval) -> Estimate:
    """Return a figure with its interval as a model's metrics record it."""
    return Estimate(interval["value"], interval["low"], interval["high"])


def _require_both_kinds(subjects: Sequence[str]) -> None:
    """Figures need pairs of one patient and of two; without them no draw of patients would ever do."""
    counts = np.unique(np.asarray(subjects), return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise NotEnoughDataError(
            f"{len(subjects)} scans of {len(counts)} patients cannot be evaluated: two patients are needed, "
            "one of them with two scans; ingest more patients"
        )


def draw_patients(subjects: Sequence[str], seed: int, resamples: int = BOOTSTRAP_RESAMPLES) -> list[Values]:
    """How often each scan's patient is drawn, per resample; draws without both kinds of pair are drawn again."""
    names = np.asarray(subjects)
    everyone, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    draws: list[Values] = []
    while len(draws) < resamples:
        times = np.bincount(rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)).astype(float)
        if (times > 0).sum() > 1 and counts[times > 0].max() > 1:
            draws.append(times[place])
    return draws
