"""How well a score tells same from different patients; intervals by resampling patients, never pairs.

A score is higher for the same patient. `same` tells which pairs are of one patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import NotEnoughDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

RESAMPLES = 500


def roc(score: Values, same: Flags, weight: Values | None = None) -> tuple[Values, Values]:
    """False-accept and true-accept rate at every threshold, from strict to lax."""
    from sklearn.metrics import roc_curve

    false_accepts, true_accepts, _ = roc_curve(same, score, sample_weight=weight, drop_intermediate=False)
    return false_accepts, true_accepts


def equal_error_rate(false_accepts: Values, true_accepts: Values) -> float:
    """Where false accepts and false rejects are equally frequent, interpolated."""
    return float(np.interp(0.0, false_accepts - (1 - true_accepts), false_accepts))


def tar_at_far(false_accepts: Values, true_accepts: Values, rate: float) -> float:
    """True-accept rate at the laxest threshold whose false-accept rate is at most `rate`."""
    return float(true_accepts[false_accepts <= rate].max())


def rank_one(scores: Values, subjects: Sequence[str], weight: Values) -> float:
    """Share of scans whose best other scan is of the same patient; only patients with two scans ask; scores (n, n)."""
    names = np.asarray(subjects)
    matrix = np.array(scores, dtype=float)
    np.fill_diagonal(matrix, -np.inf)
    matrix[:, weight == 0] = -np.inf
    asked = np.array([(names == name).sum() > 1 for name in names]) & (weight > 0)
    return float(np.average((names[matrix.argmax(1)] == names)[asked], weights=weight[asked]))


def calibration_bins(probability: Values, same: Flags, bins: int = 10) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error (Naeini et al., AAAI 2015) and the bins behind it; both classes weigh the same."""
    weight = np.where(same, 0.5 / max(same.sum(), 1), 0.5 / max((~same).sum(), 1))
    place = np.minimum((probability * bins).astype(int), bins - 1)
    rows, error = [], 0.0
    for number in range(bins):
        inside = place == number
        if inside.any():
            share = weight[inside].sum()
            predicted = float(np.average(probability[inside], weights=weight[inside]))
            observed = float(np.average(same[inside], weights=weight[inside]))
            error += share * abs(predicted - observed)
            rows.append({"predicted": predicted, "observed": observed, "n": int(inside.sum())})
    return float(error), rows


def verification(matrix: Values, subjects: Sequence[str], weight: Values | None = None) -> dict[str, float]:
    """AUC, EER, TAR at FAR 1 % and rank-1 over all pairs of n scans; `matrix` (n, n) is symmetric.

    `weight` (n,) says how often each scan's patient was drawn; a pair of two patients weighs the product.
    """
    names = np.asarray(subjects)
    drawn = np.ones(len(names)) if weight is None else weight
    first, second = np.triu_indices(len(names), 1)
    same = names[first] == names[second]
    pair_weight = np.where(same, drawn[first], drawn[first] * drawn[second])
    false_accepts, true_accepts = roc(matrix[first, second], same, pair_weight)
    return {
        "auc": float(np.trapezoid(true_accepts, false_accepts)),
        "eer": equal_error_rate(false_accepts, true_accepts),
        "tar_at_far_1pct": tar_at_far(false_accepts, true_accepts, 0.01),
        "rank1": rank_one(matrix, subjects, drawn),
    }


def with_intervals(matrix: Values, subjects: Sequence[str], seed: int = 0) -> dict[str, dict[str, float]]:
    """The figures of `verification` with 95 % intervals from a bootstrap over patients (percentiles)."""
    _require_both_kinds(subjects)
    point = verification(matrix, subjects)
    draws = [verification(matrix, subjects, weight) for weight in patient_draws(subjects, seed)]
    summary = {}
    for name, value in point.items():
        low, high = np.percentile([figures[name] for figures in draws], [2.5, 97.5])
        summary[name] = {"value": value, "low": float(low), "high": float(high)}
    return summary


def _require_both_kinds(subjects: Sequence[str]) -> None:
    """Figures need pairs of one patient and of two; without them no draw of patients would ever do."""
    counts = np.unique(np.asarray(subjects), return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise NotEnoughDataError(
            f"{len(subjects)} scans of {len(counts)} patients cannot be evaluated: two patients are needed, "
            "one of them with two scans; ingest more patients"
        )


def patient_draws(subjects: Sequence[str], seed: int, resamples: int = RESAMPLES) -> list[Values]:
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
