"""Platt scaling: a logistic curve from a distance to the log odds that two scans show one patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


def fit_platt_scaling(distance: Values, same: NDArray[np.bool_], weight: Values | None = None) -> tuple[float, float]:
    """Fit slope (negative) and intercept of the log odds of one patient over the distance, for equal prior odds.

    Platt's soft targets keep the curve finite if the two kinds of pairs are separable, as few validation pairs often
    are.

    Parameters
    ----------
    distance
        Distances (n,).
    same
        Which of them are of one patient (n,). Both kinds must occur, and weigh the same.
    weight
        Weight of each distance within its kind (n,); by default all are equal.

    References
    ----------
    Platt, Probabilistic outputs for support vector machines. Advances in Large Margin Classifiers, 1999.

    Examples
    --------
    >>> slope, intercept = fit_platt_scaling(np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False]))
    >>> slope < 0, abs(slope * 0.5 + intercept) < 1e-6
    (True, True)
    """
    from scipy.optimize import minimize

    weight = np.ones(len(distance)) if weight is None else weight
    weight = 0.5 * weight / np.where(same, weight[same].sum(), weight[~same].sum())
    positives, negatives = int(same.sum()), int((~same).sum())
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, scale = float(distance.mean()), float(distance.std()) or 1.0
    standard = (distance - centre) / scale

    def loss(parameters: Values) -> tuple[float, Values]:
        logit = parameters[0] * standard + parameters[1]
        off = weight * (1 / (1 + np.exp(-np.clip(logit, -700, 700))) - target)
        value = float((weight * (np.logaddexp(0, logit) - target * logit)).sum())
        return value, np.array([off @ standard, off.sum()])

    slope, intercept = minimize(loss, np.array([-1.0, 0.0]), method="BFGS", jac=True).x
    slope = min(float(slope), -1e-3)  # a larger distance never makes one person likelier
    return slope / scale, float(intercept) - slope * centre / scale
