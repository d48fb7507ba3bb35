"""Learn from the readers of a study which listed parts are like those that they rejected, in any of its patients.

Nothing is hidden by it and no verdict or figure follows from it: a page folds such places to look at, and marks such
parts of a changed pair, and says why. Each contrast is learned by itself: what is flow on FLAIR is none on T1.

A part is described by its tissue, sign, volume and strength. A logistic regression with an L2 penalty orders parts from
like confirmed to like rejected. Every answered part is placed by a regression on the other patients' answers alone; a
part counts as like the rejected ones where it lies beyond (n + 1) * MAX_CONFIRMED_FOLDED of the n confirmed ones, so
that of true parts like those no more than that share is expected to lie there (split conformal prediction). There is no
answer at all where few were given, or where fewer than MIN_RECOGNISED_SHARE of the rejected parts lie there themselves.

References
----------
Conformal limit: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.study.thresholds import (
    MAX_CONFIRMED_FOLDED,
    MIN_ANSWERED_PATIENTS,
    MIN_RECOGNISED_SHARE,
    MIN_REJECTED_PARTS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siamese_med.study.component import Component

TISSUES = (
    "periventricular white matter",
    "juxtacortical white matter",
    "deep white matter",
    "deep grey matter",
    "cortex",
    "lateral ventricle",
    "cerebellum",
    "brain stem",
    "fluid spaces",
)
"""Regions of a part without their side; a part with another one, or with none, lies outside them all."""
MIN_LOG10_P = -12.0
"""Smaller p values tell nothing more."""
PENALTY = 1.0
"""Inverse strength of the L2 penalty; every feature lies within about -2 and 2."""


@dataclass(frozen=True)
class AnsweredPart:
    """A part of a change map that a reader confirmed or rejected."""

    subject: str
    contrast: str  # in words
    part: Component
    rejected: bool


@dataclass(frozen=True)
class RejectedKinds:
    """What was learned for one contrast: from how many answers, and the regression.

    `limit` is the least value of `measure_likeness` that counts as like the rejected ones.
    """

    contrast: str
    confirmed: int
    rejected: int
    patients: int
    weights: tuple[float, ...]
    intercept: float
    limit: float

    def includes(self, part: Component) -> bool:
        """Return whether a part is like those that were rejected."""
        return float(describe_part(part) @ np.array(self.weights)) + self.intercept > self.limit


def describe_part(part: Component) -> NDArray[np.float64]:
    """Describe a part by its tissue (one of TISSUES each), sign, volume and strength."""
    region = (part.region or "").removeprefix("left ").removeprefix("right ")
    log_p = max(math.log10(part.p), MIN_LOG10_P) if part.p else MIN_LOG10_P
    log_ml = math.log10(max(part.volume_ml or 0.0, 0.01))
    return np.array([*(float(region == one) for one in TISSUES), float(part.sign or 0), log_ml, -log_p / 6 - 1])


def learn_rejected_kinds(answers: Sequence[AnsweredPart]) -> dict[str, RejectedKinds]:
    """Learn from all answers of a study; by contrast, where there are enough of them and they tell something."""
    by_contrast: dict[str, list[AnsweredPart]] = defaultdict(list)
    for one in answers:
        by_contrast[one.contrast].append(one)
    learned = {contrast: _learn(contrast, given) for contrast, given in sorted(by_contrast.items())}
    return {contrast: one for contrast, one in learned.items() if one}


def _learn(contrast: str, answers: Sequence[AnsweredPart]) -> RejectedKinds | None:
    features = np.array([describe_part(one.part) for one in answers])
    rejected = np.array([one.rejected for one in answers])
    whose = np.array([one.subject for one in answers])
    allowed = math.floor((int((~rejected).sum()) + 1) * MAX_CONFIRMED_FOLDED)
    patients = [len(set(whose[of])) for of in (rejected, ~rejected)]
    if allowed < 1 or rejected.sum() < MIN_REJECTED_PARTS or min(patients) < MIN_ANSWERED_PATIENTS:
        return None
    placed = np.zeros(len(answers))
    for subject in sorted(set(whose)):
        own = whose == subject
        weights, intercept = _fit(features[~own], rejected[~own])
        placed[own] = features[own] @ weights + intercept
    limit = max(float(np.sort(placed[~rejected])[-allowed]), 0.0)
    if (placed[rejected] > limit).mean() < MIN_RECOGNISED_SHARE:
        return None
    weights, intercept = _fit(features, rejected)
    counts = len(answers) - int(rejected.sum()), int(rejected.sum()), len(set(whose))
    return RejectedKinds(contrast, *counts, tuple(weights.tolist()), intercept, limit)


def _fit(features: NDArray[np.float64], rejected: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=PENALTY, class_weight="balanced").fit(features, rejected)
    return np.asarray(fitted.coef_[0]), float(fitted.intercept_[0])
