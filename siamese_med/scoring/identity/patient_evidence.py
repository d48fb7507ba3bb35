"""Evidence that a scan is of a given patient, from the distance of its embedding to the mean of that patient's scans.

If scans scatter normally about a point of their patient in the embedding, k / (k + 1) times the squared distance of a
further scan to the mean of k scans has the same distribution for every k. So one curve serves patients with two scans
and with forty.
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
    """The curve from distance to log10 likelihood ratio, and the limit of the wrong-patient alarm.

    Attributes
    ----------
    slope, intercept
        Of the natural log odds over the distance.
    alarm
        Suspicion (log10 of a likelihood ratio) over which the alarm is raised, see `wrong_patient`.

    Examples
    --------
    >>> curve = EvidenceCurve(slope=-2.302585, intercept=2.302585, alarm=1.0)
    >>> curve.of(np.array([0.0, 1.0, 3.0])).round(3).tolist()
    [1.0, 0.0, -2.0]
    """

    slope: float
    intercept: float
    alarm: float

    def of(self, distance: Values) -> Values:
        """Return the log10 likelihood ratio of a patient's own scan against another patient's, at these distances."""
        return np.asarray((self.slope * distance + self.intercept) / np.log(10))


def make_evidence(info: ModelInfo) -> EvidenceCurve:
    """Make the evidence curve of a model from its description."""
    return EvidenceCurve(info.evidence.slope, info.evidence.intercept, info.evidence.alarm)


class PatientAssignment:
    """The patients under whom scans are filed. A scan can be set aside; it then counts for no patient.

    A scan is compared with the other visits of its patient, because a visit is filed as a whole. If the patient has one
    visit only, it is compared with the other scans of that visit.

    Parameters
    ----------
    vectors
        Embeddings (n, e), scaled as the distance uses them.
    subjects, visits
        Patient and visit of each of the n scans, as filed.

    Examples
    --------
    >>> filing = PatientAssignment(np.array([[0.0], [2.0], [9.0]]), ["a", "a", "b"], ["1", "2", "1"])
    >>> filing.own(np.array([0, 2]))  # scan 0 to scan 1: 1/2 of the squared distance; patient b has no other scan
    array([ 2., nan])
    """

    def __init__(self, vectors: Values, subjects: Sequence[str], visits: Sequence[str]) -> None:
        self.vectors = vectors
        self.patients, self.patient = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        self.part = _number_visits(self.patient, visits)
        self.present = np.ones(len(vectors), dtype=bool)
        self.sums, self.counts = _totals(vectors, self.patient)
        self.part_sums, self.part_counts = _totals(vectors, self.part)

    def set_aside(self, scan: int) -> None:
        """Stop counting a scan for its patient."""
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
        """Compute the distance (scans,) of scans to their own patient's other visits; NaN if there are none."""
        part, patient = self.part[scans], self.patient[scans]
        rest = self.counts[patient] - self.part_counts[part]
        middle = (self.sums[patient] - self.part_sums[part]) / np.maximum(rest, 1)[:, None]
        distance = _corrected_distance(np.square(self.vectors[scans] - middle).sum(1), rest)
        return np.asarray(np.where(rest > 0, distance, np.nan))

    def others(self, scans: Places) -> Values:
        """Compute the distance (scans, patients) to all patients; infinite to their own and to those without scans."""
        middle = self.sums / np.maximum(self.counts, 1)[:, None]
        ours = self.vectors[scans]
        square = np.square(ours).sum(1)[:, None] - 2 * ours @ middle.T + np.square(middle).sum(1)
        distance = np.where(self.counts > 0, _corrected_distance(square.clip(0), self.counts), np.inf)
        distance[np.arange(len(scans)), self.patient[scans]] = np.inf
        return distance


def _corrected_distance(square: Values, count: Values) -> Values:
    return np.asarray(square * count / (count + 1))


def _number_visits(patient: Places, visits: Sequence[str]) -> Places:
    """Number the visits; a patient with one visit gets a number for each scan instead."""
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
    """Fit slope and intercept of the evidence curve to distances of scans to their own and to other patients.

    Distances to the mean of each patient, and to single scans (as for a patient with two scans), weigh the same.

    Parameters
    ----------
    vectors
        Embeddings (n, e) of the validation scans.
    subjects, visits
        Patient and visit of each scan.
    """
    filing = PatientAssignment(vectors, subjects, visits)
    everyone = np.arange(len(vectors))
    own, of_others = filing.own(everyone), filing.others(everyone)
    square = np.square(vectors).sum(1)
    single = (square[:, None] - 2 * vectors @ vectors.T + square).clip(0) / 2
    first, second = np.triu_indices(len(vectors), 1)
    alike = filing.patient[first] == filing.patient[second]
    known, other = np.isfinite(own), np.isfinite(of_others)
    distance = np.concatenate([own[known], of_others[other], single[first, second]])
    same = np.concatenate([np.ones(known.sum(), bool), np.zeros(other.sum(), bool), alike])
    return platt_scaling.fit_platt_scaling(distance, same, _balanced_weights(same, known.sum() + other.sum()))


def _balanced_weights(same: NDArray[np.bool_], groups: int) -> Values:
    """Weights with which distances to means and to single scans, each of one and of two patients, weigh the same."""
    to_group = np.arange(len(same)) < groups
    share = [max(int((same[to_group == side] == kind).sum()), 1) for side in (False, True) for kind in (False, True)]
    return np.asarray(1.0 / np.asarray(share)[2 * to_group + same])
