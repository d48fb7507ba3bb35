"""The words and shapes of a verdict, and which of them asks for a look first."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.records import WRONG_PATIENT


@dataclass(frozen=True)
class Status:
    """`rank` 0 is the loudest; `shape` names an icon, so that colour is never the only sign."""

    key: str
    label: str
    shape: str
    rank: int
    alarm: bool


CLAIMED = "claimed"
"""The status of a patient whose scan seems to be filed under another; it stands beside the verdict."""

STATUSES = {
    status.key: status
    for status in (
        Status(WRONG_PATIENT, "Check the patient", "hexagon", 0, True),
        Status(CLAIMED, "A scan filed elsewhere?", "diamond", 1, True),
        Status("changed", "Changed", "triangle", 2, True),
        Status("not_comparable", "Not comparable", "slash", 3, True),
        Status("no_change", "No change beyond a rescan", "circle", 4, False),
        Status("one_visit", "One visit only", "ring", 5, False),
    )
}


def of_pair(verdict: str, doubtful: bool) -> str:
    """The status of a same-patient pair: its verdict, unless one of its scans seems to be another person's."""
    if doubtful:
        return WRONG_PATIENT
    return verdict if verdict in STATUSES else "not_comparable"
