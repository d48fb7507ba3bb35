"""Detection of scans that are filed under the wrong patient, and of the patient they may belong to. Nothing is moved.

The suspicion of a scan is the log10 likelihood ratio of another patient against its own::

    log10 [ p(scan | a patient outside the study, or one of the other patients) / p(scan | its own patient) ]

The most suspect scan is set aside first, and the others are judged again without it. So one misfiled scan does not make
the other scans of the patient suspect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from siamese_med.scoring.identity import patient_evidence
from siamese_med.scoring.identity.patient_evidence import EvidenceCurve, PatientAssignment
from siamese_med.study.tables import OWNER_COLUMNS
from siamese_med.study.thresholds import MIN_SUSPICION_LOG10, P_OWNER_NOT_IN_STUDY

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from siamese_med.study.model_info import ModelInfo

    Values = NDArray[np.float64]
    Places = NDArray[np.intp]

SCANS_PER_BLOCK = 1024
"""Scans that are compared with all patients at once, to limit memory."""

EXCHANGED_FRACTION, EXCHANGE_ROUNDS = 0.05, 60
"""Share of the validation scans that are exchanged between patients to set the limit of the alarm, and the number of
rounds. Source: our choice."""


@dataclass
class ScanSuspicions:
    """Evidence and suspicion of n scans; all evidence is log10 likelihood ratios.

    Attributes
    ----------
    own
        Evidence for the patient under whom the scan is filed (n,); NaN if nothing else is known of that patient.
    owner
        Number of the most likely other patient (n,).
    owner_evidence
        Evidence for that patient (n,).
    value
        Suspicion (n,); minus infinity where `own` is NaN.
    """

    own: Values
    owner: Places
    owner_evidence: Values
    value: Values


def measure_suspicions(filing: PatientAssignment, curve: EvidenceCurve, scans: Places) -> ScanSuspicions:
    """Measure the suspicion of scans as they are filed.

    Parameters
    ----------
    filing
        All scans and the patients under whom they are filed.
    curve
        From distances to evidence.
    scans
        Numbers of the scans to measure (n,).
    """
    parts = [
        _measure_block(filing, curve, scans[start : start + SCANS_PER_BLOCK])
        for start in range(0, len(scans), SCANS_PER_BLOCK)
    ]
    parts = parts or [_measure_block(filing, curve, scans)]
    return ScanSuspicions(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ScanSuspicions.__annotations__)
    )


def _measure_block(filing: PatientAssignment, curve: EvidenceCurve, scans: Places) -> ScanSuspicions:
    own = curve.of(filing.own(scans))
    others = curve.of(filing.others(scans))
    best = others.argmax(1) if others.size else np.zeros(len(scans), dtype=np.intp)
    best_evidence = others[np.arange(len(scans)), best]
    other_patients = max(int((filing.counts > 0).sum()) - 1, 1)
    highest = np.maximum(best_evidence, -300.0)
    together = highest + np.log10((10 ** (others - highest[:, None])).sum(1) + 1e-300)
    value = (
        np.logaddexp2(
            np.log2(P_OWNER_NOT_IN_STUDY), np.log2((1 - P_OWNER_NOT_IN_STUDY) / other_patients) + together / np.log10(2)
        )
        * np.log10(2)
        - own
    )
    return ScanSuspicions(own, best, best_evidence, np.where(np.isnan(own), -np.inf, value))


def set_aside_suspects(filing: PatientAssignment, curve: EvidenceCurve, limit: float) -> Iterator[tuple[int, float]]:
    """Set aside the most suspect scan again and again, as long as its suspicion exceeds `limit`.

    Yields
    ------
    scan, suspicion
        Number of each scan that was set aside, and its suspicion then. `filing` is changed.
    """
    found = measure_suspicions(filing, curve, np.arange(len(filing.vectors)))
    while len(found.value):
        scan = int(found.value.argmax())
        if found.value[scan] <= limit:
            return
        yield scan, float(found.value[scan])
        filing.set_aside(scan)
        found.value[scan] = -np.inf
        touched = (filing.patient == filing.patient[scan]) | (found.owner == filing.patient[scan])
        _update_suspicions(found, filing, curve, np.flatnonzero(touched & filing.present))


def _update_suspicions(found: ScanSuspicions, filing: PatientAssignment, curve: EvidenceCurve, scans: Places) -> None:
    new = measure_suspicions(filing, curve, scans)
    for name in ScanSuspicions.__annotations__:
        getattr(found, name)[scans] = getattr(new, name)


def calibrate_evidence_curve(
    vectors: Values, subjects: Sequence[str], visits: Sequence[str], rate: float, seed: int
) -> EvidenceCurve:
    """Fit the evidence curve to validation scans, and set the limit of the alarm in simulated misfilings of them.

    Parameters
    ----------
    vectors
        Embeddings (n, e) of the validation scans.
    subjects, visits
        Patient and visit of each scan.
    rate
        Share of correctly filed scans that may raise an alarm. In EXCHANGE_ROUNDS rounds, EXCHANGED_FRACTION of the
        scans are exchanged between patients. The limit is at least MIN_SUSPICION_LOG10.
    seed
        Of the exchanges.
    """
    slope, intercept = patient_evidence.fit_evidence_curve(vectors, subjects, visits)
    curve = EvidenceCurve(slope, intercept, 0.0)
    rng = np.random.default_rng(seed)
    wrongly: list[float] = []
    stayed = 0
    for _ in range(EXCHANGE_ROUNDS):
        filed = exchange_scans(subjects, visits, EXCHANGED_FRACTION, rng)
        lowest = np.inf
        filing = PatientAssignment(vectors, filed.subjects, filed.visits)
        for scan, value in set_aside_suspects(filing, curve, -1.0):
            lowest = min(lowest, value)
            wrongly += [] if filed.moved[scan] else [lowest]
        stayed += int((~filed.moved).sum())
    return EvidenceCurve(slope, intercept, max(MIN_SUSPICION_LOG10, _alarm_limit(np.array(wrongly), rate * stayed)))


def _alarm_limit(wrongly: Values, allowed: float) -> float:
    """The suspicion that at most `allowed` of the values exceed."""
    if len(wrongly) <= allowed:
        return 0.0
    return float(np.sort(wrongly)[::-1][int(allowed)])


@dataclass(frozen=True)
class ScanExchange:
    """Patient and visit of each scan after some scans were exchanged, and which ones were (`moved`)."""

    subjects: list[str]
    visits: list[str]
    moved: NDArray[np.bool_]


def exchange_scans(
    subjects: Sequence[str], visits: Sequence[str], share: float, rng: np.random.Generator
) -> ScanExchange:
    """Exchange a share of the scans in twos between patients; each exchanged scan becomes a visit of its own.

    Parameters
    ----------
    subjects, visits
        Patient and visit of each scan.
    share
        Share of the scans to exchange; at least two scans, if there are two patients.
    rng
        Source of the choice.

    Examples
    --------
    >>> exchange_scans(["a", "b"], ["1", "1"], 1.0, np.random.default_rng(0)).subjects
    ['b', 'a']
    """
    names, moved = np.array(subjects, dtype=object), np.zeros(len(subjects), dtype=bool)
    for scan in rng.permutation(len(names)):
        if moved.sum() >= max(2, round(share * len(names))):
            break
        free = np.flatnonzero(~moved & (np.asarray(subjects) != subjects[scan]))
        if moved[scan] or not len(free):
            continue
        other = int(rng.choice(free))
        names[[scan, other]] = names[[other, scan]]
        moved[[scan, other]] = True
    filed = [f"moved-{place}" if moved[place] else visit for place, visit in enumerate(visits)]
    return ScanExchange(list(names), filed, moved)


class OwnerRow(TypedDict):
    """The measured columns of a row of the wrong-patient table, see `tables.OWNER_COLUMNS`."""

    evidence: float
    alarm: bool
    owner: str | None
    owner_evidence: float


def find_judgeable_scans(scans: pd.DataFrame, aligned: NDArray[np.bool_], info: ModelInfo) -> NDArray[np.bool_]:
    """Find the scans that a model can judge: aligned, and of a modality and a contrast that it was trained on.

    Parameters
    ----------
    scans
        Scan table with columns modality and contrast.
    aligned
        Whether each scan is aligned (n,).
    info
        Description of the model.

    Returns
    -------
    NDArray[np.bool_]
        (n,), in the order of `scans`.
    """
    known = scans.modality.isin(info.modalities) & scans.contrast.isin(info.contrasts)
    return np.asarray(known.to_numpy() & aligned)


def build_owner_table(
    scans: pd.DataFrame, judged: NDArray[np.bool_], vectors: Values, curve: EvidenceCurve
) -> pd.DataFrame:
    """Build the table of wrong-patient alarms.

    Parameters
    ----------
    scans
        Scan table with columns id, subject and session.
    judged
        Which scans can be judged (n,), see `find_judgeable_scans`.
    vectors
        Embeddings (n, e), scaled as the distance uses them.
    curve
        The evidence curve and the limit of the alarm.

    Returns
    -------
    pandas.DataFrame
        One row per scan, with `tables.OWNER_COLUMNS`. Scans that cannot be judged have no evidence and no alarm.
    """
    import pandas as pd

    places = np.flatnonzero(judged)
    filing = PatientAssignment(vectors[places], scans.subject.to_numpy()[places], scans.session.to_numpy()[places])
    as_filed = measure_suspicions(filing, curve, np.arange(len(places)))
    alarms = {scan for scan, _ in set_aside_suspects(filing, curve, curve.alarm)}
    found = measure_suspicions(filing, curve, np.arange(len(places)))
    nothing = OwnerRow(evidence=np.nan, alarm=False, owner=None, owner_evidence=np.nan)
    rows = [nothing.copy() for _ in range(len(scans))]
    for number, place in enumerate(places):
        rows[place] = _row(number, filing, found, as_filed, number in alarms)
    said = pd.DataFrame(rows, columns=list(nothing), index=scans.index)
    whole = said.assign(scan=scans.id, subject=scans.subject, owner=said.owner.astype(object))
    return whole[list(OWNER_COLUMNS)].reset_index(drop=True)


def _row(
    scan: int, filing: PatientAssignment, found: ScanSuspicions, as_filed: ScanSuspicions, alarm: bool
) -> OwnerRow:
    """The row of one scan; its evidence comes from the scans that were not set aside, if the patient has any.

    The other patient is named only if more likely than the patient as filed and than one outside the study.
    """
    own = as_filed.own[scan] if alarm and np.isnan(found.own[scan]) else found.own[scan]
    other_patients = max(int((filing.counts > 0).sum()) - 1, 1)
    enough = np.log10(P_OWNER_NOT_IN_STUDY / (1 - P_OWNER_NOT_IN_STUDY) * other_patients)
    named = alarm and found.owner_evidence[scan] > max(own, enough)
    return {
        "evidence": own,
        "alarm": alarm,
        "owner": str(filing.patients[found.owner[scan]]) if named else None,
        "owner_evidence": found.owner_evidence[scan] if named else np.nan,
    }
