"""Platt's logistic curve (1999) from a distance to the log odds that two things are of one patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


def fit_platt_scaling(distance: Values, same: NDArray[np.bool_], weight: Values | None = None) -> tuple[float, float]:
    """Slope, below zero, and intercept of the log odds where both kinds are equally likely beforehand.

    `weight` says how much each row counts among its kind. Platt's soft targets keep the curve finite where the kinds
    are separable, as few validation pairs often are.
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
