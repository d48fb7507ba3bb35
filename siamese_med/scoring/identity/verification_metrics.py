"""Metrics of verification: how well a score separates pairs of one patient from pairs of two patients.

Scores are higher for one patient; `same` (pairs,), bool, marks those pairs. Intervals come from a bootstrap over
patients, never over pairs, because pairs that share a patient are not independent.
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
"""`value` and the 95 % interval from `low` to `high`; all None if there are too few pairs for the metric."""

BOOTSTRAP_RESAMPLES = 500
"""Resamples of the patients, with replacement."""
FALSE_ACCEPT_RATES = {"tar_at_far_1pct": 0.01, "tar_at_far_01pct": 0.001}
"""False-accept rates (FAR) at which the true-accept rate (TAR) is reported, by the name of the metric."""


@dataclass(frozen=True)
class ScanPairs:
    """All n (n - 1) / 2 pairs of n scans, in the order of the upper triangle of a matrix (n, n).

    Examples
    --------
    >>> pairs = ScanPairs(["a", "a", "b"])
    >>> [place.tolist() for place in pairs.places], pairs.same.tolist()
    ([[0, 0, 1], [1, 2, 2]], [True, False, False])
    """

    subjects: Sequence[str]

    @cached_property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions of the first and of the second scan of each pair."""
        first, second = np.triu_indices(len(self.subjects), 1)
        return first, second

    @cached_property
    def same(self) -> Flags:
        """Return for each pair whether it is of one patient."""
        names = np.asarray(self.subjects)
        first, second = self.places
        return np.asarray(names[first] == names[second])

    def weights(self, drawn: Values) -> Values:
        """Compute how often each pair is drawn in a bootstrap sample of patients.

        `drawn` (n,) tells how often the patient of each scan was drawn. For pairs of two patients the numbers multiply.
        """
        first, second = self.places
        return np.asarray(np.where(self.same, drawn[first], drawn[first] * drawn[second]))


def compute_roc(score: Values, same: Flags, weight: Values | None = None) -> tuple[Values, Values]:
    """Compute the ROC curve: false-accept and true-accept rate at every threshold, from strict to lax.

    Both start at 0 and end at 1. Equal scores are one threshold. `weight` (pairs,) is 1 by default.

    Examples
    --------
    >>> false_accepts, true_accepts = compute_roc(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
    >>> false_accepts.tolist(), true_accepts.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    return compute_ranked_roc(*rank_scores(score), same, np.ones(len(score)) if weight is None else weight)


def rank_scores(score: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sort the pairs by score, highest first; return their order and the positions at which each group of ties ends."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return order, ends


def compute_ranked_roc(
    order: NDArray[np.intp], ends: NDArray[np.intp], same: Flags, weight: Values
) -> tuple[Values, Values]:
    """Compute the ROC curve of scores that were sorted by `rank_scores`; faster for many weights of the same scores."""
    kinds = same[order]
    true_accepts = np.cumsum(weight[order] * kinds)[ends]
    false_accepts = np.cumsum(weight[order] * ~kinds)[ends]
    return np.append(0.0, false_accepts / false_accepts[-1]), np.append(0.0, true_accepts / true_accepts[-1])


def equal_error_rate(false_accepts: Values, true_accepts: Values) -> float:
    """Return the equal error rate of a ROC curve: where false-accept and false-reject rate are equal, interpolated.

    Examples
    --------
    >>> equal_error_rate(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0]))
    0.5
    """
    return float(np.interp(0.0, false_accepts - (1 - true_accepts), false_accepts))


def tar_at_far(false_accepts: Values, true_accepts: Values, rate: float) -> float:
    """Return the true-accept rate at the laxest threshold with a false-accept rate of at most `rate`.

    Examples
    --------
    >>> tar_at_far(np.array([0.0, 0.01, 1.0]), np.array([0.6, 0.8, 1.0]), rate=0.01)
    0.8
    """
    return float(true_accepts[false_accepts <= rate].max())


def rank_one_rate(scores: Values, subjects: Sequence[str], weight: Values) -> float:
    """Return the rank-1 identification rate: the share of scans whose most similar other scan is of the same patient.

    Parameters
    ----------
    scores
        Scores (n, n) of all pairs of scans.
    subjects
        Patient of each scan. Scans of patients with one scan are candidates, but are not asked for.
    weight
        How often the patient of each scan counts (n,); scans with 0 are left out.

    Examples
    --------
    >>> scores = np.array([[0.0, 0.9, 0.2], [0.9, 0.0, 0.3], [0.2, 0.3, 0.0]])
    >>> rank_one_rate(scores, ["a", "a", "b"], np.ones(3))
    1.0
    """
    _, patient, scans = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    matrix = np.array(scores, dtype=float)
    np.fill_diagonal(matrix, -np.inf)
    matrix[:, weight == 0] = -np.inf
    asked = (scans[patient] > 1) & (weight > 0)
    return float(np.average((patient[matrix.argmax(1)] == patient)[asked], weights=weight[asked]))


def calibration_bins(
    probability: Values, same: Flags, weight: Values | None = None, bins: int = 10
) -> tuple[float, list[dict[str, float]]]:
    """Compute the expected calibration error (Naeini et al., AAAI 2015) and its bins, of equal width from 0 to 1.

    `weight` (pairs,) is the weight of each pair within its kind, by default 1. Both kinds of pairs weigh the same.

    Returns
    -------
    error
        Mean absolute difference of predicted and observed frequency.
    rows
        `predicted`, `observed` and the number `n` of pairs of every bin that is not empty.

    Examples
    --------
    >>> error, rows = calibration_bins(np.array([0.95, 0.05]), np.array([True, False]))
    >>> round(error, 2), [row["observed"] for row in rows]
    (0.05, [0.0, 1.0])
    """
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
    """Compute AUC, equal error rate, TAR at two FARs and the rank-1 rate over all pairs of n scans.

    Parameters
    ----------
    matrix
        Scores (n, n), symmetric.
    subjects
        Patient of each scan.
    weight
        How often the patient of each scan was drawn (n,); by default once.
    """
    return _verification_function(matrix, ScanPairs(subjects))(np.ones(len(subjects)) if weight is None else weight)


def bootstrap_verification(matrix: Values, subjects: Sequence[str], seed: int = 0) -> dict[str, BootstrapInterval]:
    """Compute the metrics of `compute_verification` with 95 % intervals (percentile bootstrap over patients).

    A TAR at a FAR is None if there are too few pairs of two patients for one false accept at that rate.

    Raises
    ------
    NotEnoughDataError
        There are not two patients, or none has two scans.
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
    """Return the metrics as a function of how often each scan's patient is drawn; the scores are sorted once."""
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
    """Compute the 95 % interval of each metric: the 2.5th and the 97.5th percentile of its bootstrap draws.

    `point` has each metric on all patients, `draws` has them on each bootstrap sample.

    Examples
    --------
    >>> compute_intervals({"auc": 0.9}, [{"auc": 0.8}, {"auc": 1.0}])
    {'auc': {'value': 0.9, 'low': 0.805, 'high': 0.995}}
    """
    drawn = list(draws)
    return {
        name: {
            "value": value,
            **dict(zip(("low", "high"), map(float, np.percentile([d[name] for d in drawn], [2.5, 97.5])), strict=True)),
        }
        for name, value in point.items()
    }


def make_estimate(interval: BootstrapInterval) -> Estimate:
    """Convert an interval to the form in which the metrics of a model record it."""
    return Estimate(interval["value"], interval["low"], interval["high"])


def _require_both_kinds(subjects: Sequence[str]) -> None:
    """Require pairs of one patient and of two; without them no bootstrap sample would have both."""
    counts = np.unique(np.asarray(subjects), return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise NotEnoughDataError(
            f"{len(subjects)} scans of {len(counts)} patients cannot be evaluated: two patients are needed, "
            "one of them with two scans; ingest more patients"
        )


def draw_patients(subjects: Sequence[str], seed: int, resamples: int = BOOTSTRAP_RESAMPLES) -> list[Values]:
    """Draw bootstrap samples of patients; return how often each scan's patient was drawn, (n,) per sample.

    Samples without both kinds of pairs (one patient, two patients) are drawn again.

    Parameters
    ----------
    subjects
        Patient of each of the n scans. Two patients, one of them with two scans, are needed; otherwise no sample ends
        the search.
    seed
        The same seed gives the same samples.
    resamples
        Number of samples.
    """
    names = np.asarray(subjects)
    everyone, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    draws: list[Values] = []
    while len(draws) < resamples:
        times = np.bincount(rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)).astype(float)
        if (times > 0).sum() > 1 and counts[times > 0].max() > 1:
            draws.append(times[place])
    return draws
