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

from siamese_med.records import OWNER_COLUMNS
from siamese_med.scoring import evidence
from siamese_med.scoring.evidence import Evidence, Filing

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Places = NDArray[np.intp]

NOT_HERE = 0.2
"""Of the wrongly filed scans, the share that is taken to belong to nobody in the study."""

LEAST = 0.5
"""Suspicion (3 to 1) below which no alarm is raised, however well the validation scans are told apart."""

BLOCK = 1024
"""Scans held against all patients at once."""

SWAPPED, ROUNDS = 0.05, 60
"""Share of the validation scans exchanged between patients to find the limit of the alarm, and how often."""


@dataclass
class Suspicion:
    """Of every scan: evidence for its own patient, the best other patient and the evidence for him, and suspicion."""

    own: Values
    owner: Places
    owner_evidence: Values
    value: Values


def suspicions(filing: Filing, curve: Evidence, scans: Places) -> Suspicion:
    """How suspect scans are, as filed; not at all (minus infinity) where nothing is known of their patient."""
    parts = [_block(filing, curve, scans[start : start + BLOCK]) for start in range(0, len(scans), BLOCK)]
    parts = parts or [_block(filing, curve, scans)]
    return Suspicion(*(np.concatenate([getattr(part, name) for part in parts]) for name in Suspicion.__annotations__))


def _block(filing: Filing, curve: Evidence, scans: Places) -> Suspicion:
    own = curve.of(filing.own(scans))
    others = curve.of(filing.others(scans))
    best = others.argmax(1) if others.size else np.zeros(len(scans), dtype=np.intp)
    best_evidence = others[np.arange(len(scans)), best]
    strangers = max(int((filing.counts > 0).sum()) - 1, 1)
    highest = np.maximum(best_evidence, -300.0)
    together = highest + np.log10((10 ** (others - highest[:, None])).sum(1) + 1e-300)
    value = (
        np.logaddexp2(np.log2(NOT_HERE), np.log2((1 - NOT_HERE) / strangers) + together / np.log10(2)) * np.log10(2)
        - own
    )
    return Suspicion(own, best, best_evidence, np.where(np.isnan(own), -np.inf, value))


def set_aside(filing: Filing, curve: Evidence, least: float) -> Iterator[tuple[int, float]]:
    """The scans that are suspect by `least` or more, each with its suspicion when it was set aside, one by one."""
    found = suspicions(filing, curve, np.arange(len(filing.vectors)))
    while len(found.value):
        scan = int(found.value.argmax())
        if found.value[scan] < least:
            return
        yield scan, float(found.value[scan])
        filing.set_aside(scan)
        found.value[scan] = -np.inf
        touched = (filing.patient == filing.patient[scan]) | (found.owner == filing.patient[scan])
        _again(found, filing, curve, np.flatnonzero(touched & filing.present))


def _again(found: Suspicion, filing: Filing, curve: Evidence, scans: Places) -> None:
    new = suspicions(filing, curve, scans)
    for name in Suspicion.__annotations__:
        getattr(found, name)[scans] = getattr(new, name)


def learn(vectors: Values, subjects: Sequence[str], visits: Sequence[str], rate: float, seed: int) -> Evidence:
    """The curve and the limit of the alarm from validation scans, of which some are exchanged again and again.

    At the limit `rate` of the scans that stayed with their patients are suspect.
    """
    slope, intercept = evidence.learn(vectors, subjects, visits)
    curve = Evidence(slope, intercept, 0.0)
    rng = np.random.default_rng(seed)
    wrongly: list[float] = []
    stayed = 0
    for _ in range(ROUNDS):
        filed = exchanged(subjects, visits, SWAPPED, rng)
        lowest = np.inf
        filing = Filing(vectors, filed.subjects, filed.visits)
        for scan, value in set_aside(filing, curve, -1.0):
            lowest = min(lowest, value)
            wrongly += [] if filed.moved[scan] else [lowest]
        stayed += int((~filed.moved).sum())
    return Evidence(slope, intercept, max(LEAST, _limit(np.array(wrongly), rate * stayed)))


def _limit(wrongly: Values, allowed: float) -> float:
    """The suspicion that `allowed` of the values reach or pass."""
    if len(wrongly) <= allowed:
        return 0.0
    return float(np.sort(wrongly)[::-1][int(allowed)])


@dataclass(frozen=True)
class Exchange:
    """Under whom and as which visit each scan is filed after some scans changed places, and which these are."""

    subjects: list[str]
    visits: list[str]
    moved: NDArray[np.bool_]


def exchanged(subjects: Sequence[str], visits: Sequence[str], share: float, rng: np.random.Generator) -> Exchange:
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
    return Exchange(list(names), filed, moved)


def judged(scans: pd.DataFrame, aligned: NDArray[np.bool_], about: dict[str, Any]) -> NDArray[np.bool_]:
    """Which scans the model can tell by: aligned, of a modality and a contrast that it was trained on."""
    known = scans.modality.isin(about["modalities"]) & scans.contrast.isin(about["contrasts"])
    return np.asarray(known.to_numpy() & aligned)


def table(scans: pd.DataFrame, judged: NDArray[np.bool_], vectors: Values, curve: Evidence) -> pd.DataFrame:
    """One row a scan with records.OWNER_COLUMNS; those that cannot be judged have no evidence and no alarm.

    `scans` has columns id, subject and session; `vectors` (n, e) are embeddings as the distance sees them.
    """
    import pandas as pd

    places = np.flatnonzero(judged)
    filing = Filing(vectors[places], scans.subject.to_numpy()[places], scans.session.to_numpy()[places])
    as_filed = suspicions(filing, curve, np.arange(len(places)))
    alarms = {scan for scan, _ in set_aside(filing, curve, curve.alarm)}
    found = suspicions(filing, curve, np.arange(len(places)))
    nothing = {"evidence": np.nan, "alarm": False, "owner": None, "owner_evidence": np.nan}
    rows = [dict(nothing) for _ in range(len(scans))]
    for number, place in enumerate(places):
        rows[place] = _row(number, filing, found, as_filed, number in alarms)
    said = pd.DataFrame(rows, columns=list(nothing), index=scans.index)
    whole = said.assign(scan=scans.id, subject=scans.subject, owner=said.owner.astype(object))
    return whole[list(OWNER_COLUMNS)].reset_index(drop=True)


def _row(scan: int, filing: Filing, found: Suspicion, as_filed: Suspicion, alarm: bool) -> dict[str, Any]:
    """Evidence from what was not set aside, where any is left.

    An owner is named where he is likelier than both the patient it is filed under and somebody who is not here.
    """
    own = as_filed.own[scan] if alarm and np.isnan(found.own[scan]) else found.own[scan]
    strangers = max(int((filing.counts > 0).sum()) - 1, 1)
    enough = np.log10(NOT_HERE / (1 - NOT_HERE) * strangers)
    named = alarm and found.owner_evidence[scan] > max(own, enough)
    return {
        "evidence": own,
        "alarm": alarm,
        "owner": str(filing.patients[found.owner[scan]]) if named else None,
        "owner_evidence": found.owner_evidence[scan] if named else np.nan,
    }
