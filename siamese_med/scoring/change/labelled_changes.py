"""Where a study says which visits changed and which did not: how well the change score tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siamese_med.scoring.identity import verification_metrics
from siamese_med.study.model_metrics import LabelAgreement

BOOTSTRAP_RESAMPLES = 500


@dataclass(frozen=True)
class LabelledPair:
    """One pair of a patient that is known to have changed, or not to."""

    subject: str
    changed: bool
    z: float


def measure_label_agreement(pairs: Sequence[LabelledPair], seed: int) -> LabelAgreement | None:
    """AUC of z with its 95 % interval (patients drawn) and the counts; None where one kind of pair is missing."""
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
