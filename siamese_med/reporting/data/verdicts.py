"""The label, icon and urgency of each verdict."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.study.vocabulary import PatientStatus, Verdict


@dataclass(frozen=True)
class VerdictStatus:
    """Presentation of one status.

    Parameters
    ----------
    key
        Word in report.json and in the templates.
    label
        Text on the page.
    shape
        Name of its icon, so that colour is never the only sign.
    rank
        Urgency; 0 is the most urgent.
    alarm
        Whether the summary lists patients with this status.
    """

    key: str
    label: str
    shape: str
    rank: int
    alarm: bool


SCAN_FILED_ELSEWHERE = str(PatientStatus.CLAIMED)
"""Status of a patient whose scan seems to be filed under another one; it is listed in addition to the verdict."""

STATUSES = {
    status.key: status
    for status in (
        VerdictStatus(str(PatientStatus.WRONG_PATIENT), "Check the patient", "hexagon", 0, True),
        VerdictStatus(SCAN_FILED_ELSEWHERE, "A scan filed elsewhere?", "diamond", 1, True),
        VerdictStatus(str(Verdict.CHANGED), "Changed", "triangle", 2, True),
        VerdictStatus(str(Verdict.UNCERTAIN), "Too uncertain to tell", "question", 3, True),
        VerdictStatus(str(Verdict.NOT_COMPARABLE), "Not comparable", "slash", 4, True),
        VerdictStatus(str(Verdict.NO_CHANGE), "No change beyond a rescan", "circle", 5, False),
        VerdictStatus(str(PatientStatus.ONE_VISIT), "One visit only", "ring", 6, False),
    )
}
"""Every status of a pair or a patient by its key, the most urgent first."""


def choose_pair_status(verdict: str | None, doubtful: bool) -> str:
    """Choose the status of a pair of one patient.

    Parameters
    ----------
    verdict
        Verdict on change; an unknown word counts as not_comparable.
    doubtful
        Whether a scan of the pair is under a wrong-patient alarm, which comes before every verdict.

    Returns
    -------
    str
        A key of STATUSES.

    Examples
    --------
    >>> choose_pair_status("no_change", doubtful=False), choose_pair_status("no_change", doubtful=True)
    ('no_change', 'wrong_patient')
    >>> choose_pair_status(None, doubtful=False)
    'not_comparable'
    """
    if doubtful:
        return str(PatientStatus.WRONG_PATIENT)
    return verdict if verdict in STATUSES else str(Verdict.NOT_COMPARABLE)
