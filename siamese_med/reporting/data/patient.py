"""Build one patient's report as data, from the tables of the score stage.

`build_patient_report` is the whole content of report.html, report.json and pairs.tsv except for the pictures. Its
classes are in `report_content`; visits and pairs are put together by `patient_visits`; `patient_verdict` decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting.data import (
    contrast_agent,
    finding_lines,
    findings_text,
    lesion_lines,
    methods_text,
    patient_verdict,
    patient_visits,
    reader_findings,
    structure_lines,
)
from siamese_med.reporting.data.findings_text import FindingsSource
from siamese_med.reporting.data.report_content import (
    PatientReport,
    ReportPair,
    ReportReference,
    ReportVisit,
    WrongPatientAlarm,
)
from siamese_med.reporting.data.text_content import ReportText
from siamese_med.study.vocabulary import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siamese_med.reporting.data.provenance import Provenance
    from siamese_med.reporting.model.statements import ModelHeadline
    from siamese_med.study.lesion import LesionState
    from siamese_med.study.pair_score import PairScore
    from siamese_med.study.reader_answers import ReaderAnswerFile

SPLITS_SEEN_IN_TRAINING = (Split.TRAIN, Split.VALIDATION)
"""Splits whose patients the network or its calibration learned from; their pages carry a warning."""

MAX_NAMED = 4
"""Number of changed pairs that a note names."""


def build_patient_report(
    subject: str,
    scans: Sequence[Mapping[str, object]],
    scores: Sequence[PairScore],
    lesions: Sequence[LesionState],
    alignments: Mapping[str, Mapping[str, object]],
    alarms: Sequence[WrongPatientAlarm],
    title: str,
    reference: ReportReference,
    claim: ModelHeadline,
    provenance: Provenance,
    answers: ReaderAnswerFile | None = None,
) -> PatientReport:
    """Build the content of one patient's page, without pictures; these are added by `slice_choice.add_slices_to_pairs`.

    Parameters
    ----------
    subject, scans, scores, lesions, answers
        Pseudonym; the patient's rows of the scan table (tables.SCAN_COLUMNS), pairs, lesions, and a reader's answers.
    alignments, alarms, title, reference, claim, provenance
        Of the study: rows of the alignment table by scan id, alarms, and words on the model (`model_page.ModelPage`).
    """
    own = tuple(alarm for alarm in alarms if alarm.subject == subject)
    claimed = tuple(alarm for alarm in alarms if alarm.owner == subject)
    visits = patient_visits.build_visits(scans, alignments)
    found = _find(visits, scores, lesions, reference, own, bool(claimed))
    return PatientReport(
        subject=subject,
        title=title,
        headline=found.headline,
        warnings=(*_warnings(visits, found.pairs, reference), *_mention_other_changes(found)),
        alarms=own,
        claimed=claimed,
        visits=visits,
        pairs=found.pairs,
        lines=found.lines,
        findings=finding_lines.build_finding_lines(visits, found.pairs),
        lesions=found.lesions,
        structures=structure_lines.build_structure_volume_lines(visits),
        text=_compose_text(found, reference, provenance),
        reader=reader_findings.list_reader_answers(found, answers),
        reference=reference,
        claim=claim,
        provenance=provenance,
    )


def _find(
    visits: tuple[ReportVisit, ...],
    scores: Sequence[PairScore],
    lesions: Sequence[LesionState],
    reference: ReportReference,
    alarms: Sequence[WrongPatientAlarm],
    claimed: bool,
) -> FindingsSource:
    """The patient's pairs and lesions, and the verdict on them."""
    known = {scan.id for visit in visits for scan in visit.scans if reference.knows(scan)}
    pairs = patient_visits.build_report_pairs(scores, visits, known, {alarm.scan for alarm in alarms})
    return FindingsSource(
        headline=patient_verdict.compose_patient_headline(visits, pairs, alarms),
        visits=visits,
        pairs=pairs,
        lines=patient_verdict.build_contrast_lines(visits, pairs),
        lesions=lesion_lines.build_lesion_lines(lesions, visits),
        claimed=claimed,
    )


def _compose_text(found: FindingsSource, reference: ReportReference, provenance: Provenance) -> ReportText:
    change, amount, limits = findings_text.compose_findings(found)
    methods, references = methods_text.compose_methods(found.pairs, reference.narrow(found.pairs), provenance)
    return ReportText(change, amount, limits, methods, references, methods_text.RESEARCH_NOTICE)


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
            "A visit has no usable date: intervals with it are unknown, and it counts as later than all dated visits."
        )
    if not any(stratum.n for stratum in reference.narrow(pairs).strata):
        warnings.append("The model has no pairs without change: the reference band is that of a normal distribution.")
    return (*warnings, *contrast_agent.suspect_contrast_agent(pairs))


def _mention_other_changes(found: FindingsSource) -> list[str]:
    """Name the changed pairs, also of earlier visits, where the verdict on the newest visit is another one."""
    changed = [pair.title for pair in patient_verdict.list_other_changed_pairs(found.headline, found.pairs)]
    named = "; ".join(changed[:MAX_NAMED])
    more = f", and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
    return [f"Pairs on which the verdict does not rest are changed: {named}{more}."] if changed else []
