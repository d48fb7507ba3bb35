"""How strongly a scan speaks for being of a patient, from its distance to the middle of that patient's scans.

With scans scattered around their patient's own place in the embedding, k / (k + 1) times the squared distance of one
more scan to the mean of k is distributed alike for every k; so one curve serves patients with two scans and with forty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring.identity import platt_scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siamese_med.study.model_info import ModelInfo

    Values = NDArray[np.float64]
    Places = NDArray[np.intp]


@dataclass(frozen=True)
class EvidenceCurve:
    """The curve from distance to log10 likelihood ratio, and the suspicion from which on the alarm is raised."""

    slope: float
    intercept: float
    alarm: float

    def of(self, distance: Values) -> Values:
        """log10 likelihood ratio that a scan is of a patient against that it is of a stranger."""
        return np.asarray((self.slope * distance + self.intercept) / np.log(10))


def make_evidence(info: ModelInfo) -> EvidenceCurve:
    """Return the curve and the limit of the alarm that a model learned."""
    return EvidenceCurve(info.evidence.slope, info.evidence.intercept, info.evidence.alarm)


class PatientAssignment:
    """Who is filed under whom: scans may be set aside, and then count for nobody.

    `vectors` (n, e) are embeddings as the distance sees them. What a scan is judged by are its patient's other
    visits, since a visit is filed as a whole; its other scans where there is one visit.
    """

    def __init__(self, vectors: Values, subjects: Sequence[str], visits: Sequence[str]) -> None:
        self.vectors = vectors
        self.patients, self.patient = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        self.part = _number_visits(self.patient, visits)
        self.present = np.ones(len(vectors), dtype=bool)
        self.sums, self.counts = _totals(vectors, self.patient)
        self.part_sums, self.part_counts = _totals(vectors, self.part)

    def set_aside(self, scan: int) -> None:
        """Let a scan no longer count for its patient."""
        self._count(scan, -1)

    def _count(self, scan: int, sign: int) -> None:
        self.present[scan] = sign > 0
        for sums, counts, place in (
            (self.sums, self.counts, self.patient[scan]),
            (self.part_sums, self.part_counts, self.part[scan]),
        ):
            sums[place] += sign * self.vectors[scan]
            counts[place] += sign

    def own(self, scans: Places) -> Values:
        """Distance of scans to the rest of their patients; missing where there is no rest."""
        part, patient = self.part[scans], self.patient[scans]
        rest = self.counts[patient] - self.part_counts[part]
        middle = (self.sums[patient] - self.part_sums[part]) / np.maximum(rest, 1)[:, None]
        distance = _corrected_distance(np.square(self.vectors[scans] - middle).sum(1), rest)
        return np.asarray(np.where(rest > 0, distance, np.nan))

    def others(self, scans: Places) -> Values:
        """Distance of scans to all patients (scans, patients): infinite to their own and to those with no scan."""
        middle = self.sums / np.maximum(self.counts, 1)[:, None]
        ours = self.vectors[scans]
        square = np.square(ours).sum(1)[:, None] - 2 * ours @ middle.T + np.square(middle).sum(1)
        distance = np.where(self.counts > 0, _corrected_distance(square.clip(0), self.counts), np.inf)
        distance[np.arange(len(scans)), self.patient[scans]] = np.inf
        return distance


def _corrected_distance(square: Values, count: Values) -> Values:
    return np.asarray(square * count / (count + 1))


def _number_visits(patient: Places, visits: Sequence[str]) -> Places:
    """A number a visit, or a scan where the patient has but one visit."""
    names, name = np.unique(np.asarray(visits, dtype=str), return_inverse=True)
    visit = patient * len(names) + name
    patients_of_visits = np.unique(visit) // max(len(names), 1)
    several = np.bincount(patients_of_visits, minlength=patient.max(initial=-1) + 1) > 1
    alone = visit.max(initial=0) + 1 + np.arange(len(patient))
    return np.unique(np.where(several[patient], visit, alone), return_inverse=True)[1]


def _totals(vectors: Values, group: Places) -> tuple[Values, Values]:
    sums = np.zeros((group.max(initial=-1) + 1, vectors.shape[1]))
    np.add.at(sums, group, vectors)
    return sums, np.bincount(group, minlength=len(sums)).astype(float)


def fit_evidence_curve(vectors: Values, subjects: Sequence[str], visits: Sequence[str]) -> tuple[float, float]:
    """Slope and intercept of the evidence, from scans against their own patients and against all strangers.

    Every scan is held against each patient's mean, and against single scans as a patient with two has them.
    """
    filing = PatientAssignment(vectors, subjects, visits)
    everyone = np.arange(len(vectors))
    own, strangers = filing.own(everyone), filing.others(everyone)
    square = np.square(vectors).sum(1)
    single = (square[:, None] - 2 * vectors @ vectors.T + square).clip(0) / 2
    first, second = np.triu_indices(len(vectors), 1)
    alike = filing.patient[first] == filing.patient[second]
    known, other = np.isfinite(own), np.isfinite(strangers)
    distance = np.concatenate([own[known], strangers[other], single[first, second]])
    same = np.concatenate([np.ones(known.sum(), bool), np.zeros(other.sum(), bool), alike])
    return platt_scaling.fit_platt_scaling(distance, same, _balanced_weights(same, known.sum() + other.sum()))


def _balanced_weights(same: NDArray[np.bool_], groups: int) -> Values:
    """Weights that let distances to means and to single scans count alike, of either kind."""
    to_group = np.arange(len(same)) < groups
    share = [max(int((same[to_group == side] == kind).sum()), 1) for side in (False, True) for kind in (False, True)]
    return np.asarray(1.0 / np.asarray(share)[2 * to_group + same])
