"""Agreement of the change score with a study's own labels, where it says which visits changed and which did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siamese_med.scoring.identity import verification_metrics
from siamese_med.study.model_metrics import LabelAgreement

BOOTSTRAP_RESAMPLES = 500
"""Resamples of the patients, with replacement, for the 95 % interval."""


@dataclass(frozen=True)
class LabelledPair:
    """The change score `z` of one pair that is labelled as changed or as unchanged, and its patient."""

    subject: str
    changed: bool
    z: float


def measure_label_agreement(pairs: Sequence[LabelledPair], seed: int) -> LabelAgreement | None:
    """Measure the area under the ROC curve of z, changed against unchanged, with a 95 % bootstrap interval.

    Patients are resampled, not pairs, because pairs of one patient are not independent.

    Parameters
    ----------
    pairs
        Labelled pairs of any number of patients.
    seed
        Of the resampling.

    Returns
    -------
    LabelAgreement or None
        None if there are no changed or no unchanged pairs.

    Examples
    --------
    >>> pairs = [LabelledPair("a", True, 4.0), LabelledPair("b", False, 0.5), LabelledPair("b", True, 3.0)]
    >>> measure_label_agreement(pairs, seed=0).auc.value
    1.0
    """
    changed = np.array([pair.changed for pair in pairs], dtype=bool)
    if changed.all() or not changed.any():
        return None
    z = np.array([pair.z for pair in pairs])
    names, patient = np.unique([pair.subject for pair in pairs], return_inverse=True)
    rng, draws = np.random.default_rng(seed), []
    for _ in range(BOOTSTRAP_RESAMPLES):
        weight = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[patient].astype(float)
        if weight[changed].any() and weight[~changed].any():
            draws.append({"auc": _auc(z, changed, weight)})
    found = verification_metrics.compute_intervals({"auc": _auc(z, changed, np.ones(len(z)))}, draws)
    return LabelAgreement(
        auc=verification_metrics.make_estimate(found["auc"]),
        changed=int(changed.sum()),
        unchanged=int((~changed).sum()),
        patients=len(names),
    )


def _auc(
    z: verification_metrics.Values, changed: verification_metrics.Flags, weight: verification_metrics.Values
) -> float:
    false_alarms, hits = verification_metrics.compute_roc(z, changed, weight)
    return float(np.trapezoid(hits, false_alarms))
