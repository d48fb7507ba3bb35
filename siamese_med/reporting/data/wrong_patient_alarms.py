"""Alarms of scans that look like another patient's than the one under whose name they are filed, and their wording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.data.report_content import EvidenceStatement, WrongPatientAlarm
from siamese_med.study import table_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, object]

ALARM_ADVICE = "Nothing was moved; check the records."
"""Shown with every alarm."""

MIN_COMPARISONS = 2
"""Number of comparisons that is assumed where it was not recorded: the wording then claims next to nothing."""


def list_wrong_patient_alarms(
    owners: Iterable[Row], scans: Iterable[Row], comparisons: int | None
) -> tuple[WrongPatientAlarm, ...]:
    """List the alarms of the owner table, the strongest evidence first.

    Scans that are not in the scan table are left out, and so are likelier owners that are not in it.

    Parameters
    ----------
    owners
        Rows with tables.OWNER_COLUMNS.
    scans
        Rows with tables.SCAN_COLUMNS.
    comparisons
        Number of comparisons with other patients from which the evidence was learned. The wording claims no likelihood
        ratio above it; None counts as MIN_COMPARISONS.
    """
    known = {str(row["id"]): row for row in scans}
    subjects = {str(row["subject"]) for row in known.values()}
    raised = [row for row in owners if table_cells.parse_flag(row["alarm"]) and str(row["scan"]) in known]
    max_exponent = math.log10(max(comparisons or 0, MIN_COMPARISONS))
    found = [_alarm(row, known[str(row["scan"])], subjects, max_exponent) for row in raised]
    return tuple(sorted(found, key=get_alarm_sort_key))


def _alarm(row: Row, scan: Row, subjects: set[str], max_exponent: float) -> WrongPatientAlarm:
    evidence, owner = table_cells.parse_number(row["evidence"]), table_cells.parse_text(row["owner"])
    known = owner in subjects and owner != scan["subject"]
    owner_evidence = table_cells.parse_number(row["owner_evidence"]) if known else None
    return WrongPatientAlarm(
        scan=str(row["scan"]),
        session=str(scan["session"]),
        subject=str(scan["subject"]),
        evidence=evidence,
        owner=owner if known else None,
        owner_evidence=owner_evidence,
        against=_against(evidence, max_exponent),
        in_favour=_in_favour(owner_evidence, max_exponent),
    )


def _against(evidence: float | None, max_exponent: float) -> EvidenceStatement:
    if evidence is None:
        return EvidenceStatement("unknown", "", "There is no other scan of this patient to tell by.")
    return _weight("that it is another person's", -evidence, evidence, max_exponent)


def _in_favour(evidence: float | None, max_exponent: float) -> EvidenceStatement:
    if evidence is None:
        return EvidenceStatement("unknown", "", "No patient of this study fits it clearly better.")
    return _weight("that it is the likelier owner's", evidence, evidence, max_exponent)


def _weight(of_what: str, exponent: float, figure: float, max_exponent: float) -> EvidenceStatement:
    ratio = f"(log10 likelihood ratio {formatting.fixed(figure, 1)})"
    if exponent <= 0:
        return EvidenceStatement("none", "", f"There is no evidence {of_what} {ratio}.")
    strength, times = (
        formatting.describe_evidence_strength(min(exponent, max_exponent)),
        formatting.describe_likelihood_ratio(exponent, max_exponent),
    )
    if exponent > max_exponent:
        strength = f"at least {strength}"
        ratio = f"{ratio}, and the validation patients do not support a larger value"
    sentence = (
        f"The evidence {of_what} is {strength}: the images are {times} as likely in that case as otherwise {ratio}."
    )
    return EvidenceStatement(strength, times, sentence)


def get_alarm_sort_key(alarm: WrongPatientAlarm) -> tuple[bool, float, str]:
    """Return the key by which alarms are sorted: the strongest evidence first, unknown evidence last."""
    return alarm.evidence is None, alarm.evidence or 0.0, alarm.scan
