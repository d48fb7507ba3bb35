"""Build one patient's report as data, from the tables of the score stage.

`build_patient_report` is the whole content of report.html, report.json and pairs.tsv except for the pictures. Its
classes are in `report_content`; visits and pairs are put together by `patient_visits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.data import patient_visits, verdicts
from siamese_med.reporting.data.report_content import (
    PatientHeadline,
    PatientReport,
    Provenance,
    ReportPair,
    ReportReference,
    ReportVisit,
    WrongPatientAlarm,
)
from siamese_med.study.vocabulary import PairRole, PatientStatus, Split, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siamese_med.reporting.model.statements import ModelHeadline
    from siamese_med.study.pair_score import PairScore

SPLITS_SEEN_IN_TRAINING = (Split.TRAIN, Split.VALIDATION)
"""Splits whose patients the network or its calibration learned from; their pages carry a warning."""


def build_patient_report(
    subject: str,
    scans: Sequence[Mapping[str, object]],
    scores: Sequence[PairScore],
    alignments: Mapping[str, Mapping[str, object]],
    alarms: Sequence[WrongPatientAlarm],
    title: str,
    reference: ReportReference,
    claim: ModelHeadline,
    provenance: Provenance,
) -> PatientReport:
    """Build the content of one patient's page, without pictures; these are added by `slice_choice.add_slices_to_pairs`.

    Parameters
    ----------
    subject
        Pseudonym, `sub-` and letters or digits.
    scans, scores
        The patient's rows of the scan table (tables.SCAN_COLUMNS) and pairs; pairs of two patients are left out.
    alignments, alarms
        Of the whole study: rows of the alignment table by scan id, and wrong-patient alarms.
    title
        Title of the study.
    reference, claim, provenance
        What the pages say of the model, see `model_page.ModelPage`.
    """
    own = tuple(alarm for alarm in alarms if alarm.subject == subject)
    visits = patient_visits.build_visits(scans, alignments)
    known = {scan.id for visit in visits for scan in visit.scans if reference.knows(scan)}
    pairs = patient_visits.build_report_pairs(scores, visits, known, {alarm.scan for alarm in own})
    return PatientReport(
        subject=subject,
        title=title,
        headline=compose_patient_headline(visits, pairs, own),
        warnings=_warnings(visits, pairs, reference),
        alarms=own,
        claimed=tuple(alarm for alarm in alarms if alarm.owner == subject),
        visits=visits,
        pairs=pairs,
        reference=reference,
        claim=claim,
        provenance=provenance,
    )


def compose_patient_headline(
    visits: Sequence[ReportVisit], pairs: Sequence[ReportPair], alarms: Sequence[WrongPatientAlarm]
) -> PatientHeadline:
    """Compose the first lines of a patient's page: a status and one or two sentences.

    A wrong-patient alarm comes before every verdict on change. Otherwise it is the verdict of `choose_lead_pair`; where
    that one is not `changed` but the newest visit differs from the first one, the change since the first visit is the
    headline, and both sentences are shown.

    Parameters
    ----------
    visits, pairs
        Of the patient, as `patient_visits` built them.
    alarms
        Of scans that are filed under this patient.
    """
    if alarms:
        return PatientHeadline(str(PatientStatus.WRONG_PATIENT), _doubt(alarms))
    if not pairs:
        return PatientHeadline(
            str(PatientStatus.ONE_VISIT), "There is no pair of scans to compare yet." if visits else "There is no scan."
        )
    newest = choose_lead_pair(pairs)
    since_first = next(
        (pair for pair in pairs if pair.role == PairRole.SINCE_FIRST and pair.status == Verdict.CHANGED), None
    )
    if newest.status != Verdict.CHANGED and since_first:
        return PatientHeadline(str(Verdict.CHANGED), f"{_sentence(since_first)} {_sentence(newest)}")
    return PatientHeadline(newest.status, _sentence(newest))


def choose_lead_pair(pairs: Sequence[ReportPair]) -> ReportPair:
    """Choose the pair that stands for the newest visit in the headline and on the index.

    There are several pairs with role `newest` where a visit has several contrasts. The one with the lowest rank in
    verdicts.STATUSES is chosen, then the one with the lowest number; pairs without a verdict only where there is no
    other. Where no pair has that role, all are considered.

    Parameters
    ----------
    pairs
        At least one pair.
    """
    newest = [pair for pair in pairs if pair.role == PairRole.NEWEST] or list(pairs)
    judged = [pair for pair in newest if pair.verdict != Verdict.NOT_COMPARABLE] or newest
    return min(judged, key=lambda pair: (verdicts.STATUSES[pair.status].rank, pair.number))


def _doubt(alarms: Sequence[WrongPatientAlarm]) -> str:
    sessions = sorted({alarm.session for alarm in alarms})
    scans = "A scan" if len(alarms) == 1 else f"{len(alarms)} scans"
    look = "does not look" if len(alarms) == 1 else "do not look"
    return (
        f"{scans} of {' and '.join(sessions)} {look} like this patient's. Check whose it is before reading anything "
        "about change."
    )


def _sentence(pair: ReportPair) -> str:
    between = f"From {pair.earlier_session} to {pair.later_session}"
    if pair.verdict == Verdict.CHANGED:
        return f"{between} the anatomy changed more than a rescan would."
    if pair.verdict == Verdict.NO_CHANGE:
        return f"{between} nothing changed beyond what a rescan would{_seen(pair)}."
    why = "; ".join(reason.meaning for reason in pair.reasons) or "the reason was not stated"
    return f"{between} no verdict is possible: {why}."


def _seen(pair: ReportPair) -> str:
    """The smallest change that would have been detected, as the end of a sentence."""
    if pair.score.smallest_detectable_ml is None:
        return ", in a pair too noisy to promise that any change would have been seen"
    return f"; a change of {formatting.fixed(pair.score.smallest_detectable_ml)} ml would have been seen"


def _warnings(
    visits: Sequence[ReportVisit], pairs: Sequence[ReportPair], reference: ReportReference
) -> tuple[str, ...]:
    warnings = []
    if any(pair.score.split in SPLITS_SEEN_IN_TRAINING for pair in pairs):
        warnings.append("The model saw this patient while it was trained or calibrated: its similarity is optimistic.")
    if any(visit.scanner_changed for visit in visits):
        warnings.append("The scanner changed between visits: part of a measured change may come from it.")
    if any(visit.day is None for visit in visits):
        warnings.append(
            "A visit has no usable date: intervals with it are unknown, and the order follows the session number."
        )
    if not any(stratum.n for stratum in reference.strata):
        warnings.append("The model holds no pairs without change: the reference band is that of a normal distribution.")
    return tuple(warnings)
