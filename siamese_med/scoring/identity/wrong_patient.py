"""Scans that seem to be filed under the wrong patient, and whose they may be. Nothing is moved.

A scan is suspect by how much likelier it is another's than its own patient's: log10 of

    p(seen | of a patient who is not here, or of one of the others) / p(seen | of its own patient)

The most suspect scan is set aside first and the rest is judged again without it; so one stray scan does not make its
companions suspect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
"""Scans held against all patients at once."""

EXCHANGED_FRACTION, EXCHANGE_ROUNDS = 0.05, 60
"""Share of the validation scans exchanged between patients to find the limit of the alarm, and how often."""


@dataclass
class ScanSuspicions:
    """Of every scan: evidence for its own patient, the best other patient and the evidence for him, and suspicion."""

    own: Values
    owner: Places
    owner_evidence: Values
    value: Values


def measure_suspicions(filing: PatientAssignment, curve: EvidenceCurve, scans: Places) -> ScanSuspicions:
    """How suspect scans are, as filed; not at all (minus infinity) where nothing is known of their patient."""
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
    strangers = max(int((filing.counts > 0).sum()) - 1, 1)
    highest = np.maximum(best_evidence, -300.0)
    together = highest + np.log10((10 ** (others - highest[:, None])).sum(1) + 1e-300)
    value = (
        np.logaddexp2(
            np.log2(P_OWNER_NOT_IN_STUDY), np.log2((1 - P_OWNER_NOT_IN_STUDY) / strangers) + together / np.log10(2)
        )
        * np.log10(2)
        - own
    )
    return ScanSuspicions(own, best, best_evidence, np.where(np.isnan(own), -np.inf, value))


def set_aside_suspects(filing: PatientAssignment, curve: EvidenceCurve, least: float) -> Iterator[tuple[int, float]]:
    """The scans that are suspect by `least` or more, each with its suspicion when it was set aside, one by one."""
    found = measure_suspicions(filing, curve, np.arange(len(filing.vectors)))
    while len(found.value):
        scan = int(found.value.argmax())
        if found.value[scan] < least:
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
    """The curve and the limit of the alarm from validation scans, of which some are exchanged again and again.

    At the limit `rate` of the scans that stayed with their patients are suspect.
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
    """The suspicion that `allowed` of the values reach or pass."""
    if len(wrongly) <= allowed:
        return 0.0
    return float(np.sort(wrongly)[::-1][int(allowed)])


@dataclass(frozen=True)
class ScanExchange:
    """Under whom and as which visit each scan is filed after some scans changed places, and which these are."""

    subjects: list[str]
    visits: list[str]
    moved: NDArray[np.bool_]


def exchange_scans(
    subjects: Sequence[str], visits: Sequence[str], share: float, rng: np.random.Generator
) -> ScanExchange:
    """A share of the scans exchanged two by two between patients; each comes as a visit of its own."""
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


def find_judgeable_scans(scans: pd.DataFrame, aligned: NDArray[np.bool_], info: ModelInfo) -> NDArray[np.bool_]:
    """Which scans the model can tell by: aligned, of a modality and a contrast that it was trained on."""
    known = scans.modality.isin(info.modalities) & scans.contrast.isin(info.contrasts)
    return np.asarray(known.to_numpy() & aligned)


def build_owner_table(
    scans: pd.DataFrame, judged: NDArray[np.bool_], vectors: Values, curve: EvidenceCurve
) -> pd.DataFrame:
    """One row a scan with tables.OWNER_COLUMNS; those that cannot be judged have no evidence and no alarm.

    `scans` has columns id, subject and session; `vectors` (n, e) are embeddings as the distance sees them.
    """
    import pandas as pd

    places = np.flatnonzero(judged)
    filing = PatientAssignment(vectors[places], scans.subject.to_numpy()[places], scans.session.to_numpy()[places])
    as_filed = measure_suspicions(filing, curve, np.arange(len(places)))
    alarms = {scan for scan, _ in set_aside_suspects(filing, curve, curve.alarm)}
    found = measure_suspicions(filing, curve, np.arange(len(places)))
    nothing = {"evidence": np.nan, "alarm": False, "owner": None, "owner_evidence": np.nan}
    rows = [dict(nothing) for _ in range(len(scans))]
    for number, place in enumerate(places):
        rows[place] = _row(number, filing, found, as_filed, number in alarms)
    said = pd.DataFrame(rows, columns=list(nothing), index=scans.index)
    whole = said.assign(scan=scans.id, subject=scans.subject, owner=said.owner.astype(object))
    return whole[list(OWNER_COLUMNS)].reset_index(drop=True)


def _row(
    scan: int, filing: PatientAssignment, found: ScanSuspicions, as_filed: ScanSuspicions, alarm: bool
) -> dict[str, Any]:
    """Evidence from what was not set aside, where any is left.

    An owner is named where he is likelier than both the patient it is filed under and somebody who is not here.
    """
    own = as_filed.own[scan] if alarm and np.isnan(found.own[scan]) else found.own[scan]
    strangers = max(int((filing.counts > 0).sum()) - 1, 1)
    enough = np.log10(P_OWNER_NOT_IN_STUDY / (1 - P_OWNER_NOT_IN_STUDY) * strangers)
    named = alarm and found.owner_evidence[scan] > max(own, enough)
    return {
        "evidence": own,
        "alarm": alarm,
        "owner": str(filing.patients[found.owner[scan]]) if named else None,
        "owner_evidence": found.owner_evidence[scan] if named else np.nan,
    }
