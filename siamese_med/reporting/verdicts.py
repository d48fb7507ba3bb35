"""The words and shapes of a verdict, and which of them asks for a look first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IDENTITY_NOT_JUDGED = frozenset({"other_modality", "other_contrast", "alignment_failed"})
"""Reasons under which a low similarity says nothing about the person: the network never saw such pairs."""


@dataclass(frozen=True)
class Status:
    """`rank` 0 is the loudest; `shape` names an icon, so that colour is never the only sign."""

    key: str
    label: str
    shape: str
    rank: int
    alarm: bool


STATUSES = {
    status.key: status
    for status in (
        Status("wrong_patient", "Check the patient", "hexagon", 0, True),
        Status("changed", "Changed", "triangle", 1, True),
        Status("not_comparable", "Not comparable", "slash", 2, True),
        Status("no_change", "No change beyond a rescan", "circle", 3, False),
        Status("one_visit", "One visit only", "ring", 4, False),
    )
}


def of_pair(verdict: str, similarity: float | None, threshold: float | None, identity_judged: bool) -> str:
    """The status of a same-patient pair: its verdict, unless the scans look like two persons."""
    if identity_judged and similarity is not None and threshold is not None and similarity < threshold:
        return "wrong_patient"
    return verdict if verdict in STATUSES else "not_comparable"


def loudest(statuses: Iterable[str]) -> str:
    """The status that asks for a look first."""
    return min(statuses, key=lambda key: STATUSES[key].rank, default="one_visit")
