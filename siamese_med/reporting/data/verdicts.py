"""The words and shapes of a verdict, and which of them asks for a look first."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.study.vocabulary import PatientStatus, Verdict


@dataclass(frozen=True)
class VerdictStatus:
    """`rank` 0 is the loudest; `shape` names an icon, so that colour is never the only sign."""

    key: str
    label: str
    shape: str
    rank: int
    alarm: bool


SCAN_FILED_ELSEWHERE = str(PatientStatus.CLAIMED)
"""The status of a patient whose scan seems to be filed under another; it stands beside the verdict."""

STATUSES = {
    status.key: status
    for status in (
        VerdictStatus(str(PatientStatus.WRONG_PATIENT), "Check the patient", "hexagon", 0, True),
        VerdictStatus(SCAN_FILED_ELSEWHERE, "A scan filed elsewhere?", "diamond", 1, True),
        VerdictStatus(str(Verdict.CHANGED), "Changed", "triangle", 2, True),
        VerdictStatus(str(Verdict.NOT_COMPARABLE), "Not comparable", "slash", 3, True),
        VerdictStatus(str(Verdict.NO_CHANGE), "No change beyond a rescan", "circle", 4, False),
        VerdictStatus(str(PatientStatus.ONE_VISIT), "One visit only", "ring", 5, False),
    )
}


def choose_pair_status(verdict: str | None, doubtful: bool) -> str:
    """The status of a same-patient pair: its verdict, unless one of its scans seems to be another person's."""
    if doubtful:
        return str(PatientStatus.WRONG_PATIENT)
    return verdict if verdict in STATUSES else str(Verdict.NOT_COMPARABLE)
