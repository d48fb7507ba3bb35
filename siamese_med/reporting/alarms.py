"""Scans that look like another patient's than the one under whose name they are filed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siamese_med import cells, wording
from siamese_med.reporting.content import Alarm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]

ADVICE = "Nothing was moved; check the records."


def alarms(owners: Iterable[Row], scans: Iterable[Row]) -> tuple[Alarm, ...]:
    """The alarms of the owner table, the plainest first; of scans and patients that the scan table does not know, none.

    `owners` has records.OWNER_COLUMNS, `scans` records.SCAN_COLUMNS.
    """
    known = {str(row["id"]): row for row in scans}
    subjects = {str(row["subject"]) for row in known.values()}
    raised = [row for row in owners if cells.truth(row["alarm"]) and str(row["scan"]) in known]
    found = [_alarm(row, known[str(row["scan"])], subjects) for row in raised]
    return tuple(sorted(found, key=urgency))


def _alarm(row: Row, scan: Row, subjects: set[str]) -> Alarm:
    evidence, owner = cells.number(row["evidence"]), cells.text(row["owner"])
    known = owner in subjects and owner != scan["subject"]
    owner_evidence = cells.number(row["owner_evidence"]) if known else None
    return Alarm(
        scan=str(row["scan"]),
        session=str(scan["session"]),
        subject=str(scan["subject"]),
        evidence=evidence,
        owner=owner if known else None,
        owner_evidence=owner_evidence,
        against=_against(evidence),
        in_favour=_in_favour(owner_evidence),
    )


def _against(evidence: float | None) -> str:
    if evidence is None:
        return "There is no other scan of this patient to tell by."
    return _sentence("that it is another person's", -evidence, evidence)


def _in_favour(evidence: float | None) -> str:
    if evidence is None:
        return "No patient of this study fits it clearly better."
    return _sentence("that it is the likelier owner's", evidence, evidence)


def _sentence(of_what: str, exponent: float, figure: float) -> str:
    if exponent <= 0:
        return f"There is no evidence {of_what} (log10 likelihood ratio {wording.fixed(figure, 1)})."
    return (
        f"The evidence {of_what} is {wording.strength(exponent)}: what is seen is {wording.times(exponent)} as likely "
        f"then as otherwise (log10 likelihood ratio {wording.fixed(figure, 1)})."
    )


def urgency(alarm: Alarm) -> tuple[bool, float, str]:
    """Sorts the plainest alarm first."""
    return alarm.evidence is None, alarm.evidence or 0.0, alarm.scan
