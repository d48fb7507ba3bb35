"""The cohort as data: one row for each patient, the most urgent first, and what became of the input's files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting.data import file_counts, patient_verdict, verdicts, wrong_patient_alarms
from siamese_med.reporting.data.provenance import Provenance
from siamese_med.reporting.data.report_content import PatientReport, ReportReference, WrongPatientAlarm
from siamese_med.reporting.model.statements import ModelHeadline
from siamese_med.study.vocabulary import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.study.tables import IngestAccount


@dataclass(frozen=True)
class CohortRow:
    """One patient: the figures are those of the pair that decides the verdict, `lowest_similarity` is over all pairs.

    `contrast`: of that pair, in words. `contrasts`, `uncertain`, `unchanged` and `not_compared` are those of the
    patient's headline.
    `alarms`: scans that seem to be another patient's; `claimed`: scans of others that seem to be this patient's.
    """

    subject: str
    status: str
    visits: int
    pairs: int
    newest_visit: str | None
    alarms: int
    claimed: int
    contrasts: tuple[str, ...]
    uncertain: tuple[str, ...]
    unchanged: tuple[str, ...]
    not_compared: tuple[str, ...]
    contrast: str | None
    interval_days: int | None
    change_z: float | None
    change_p: float | None
    change_p_adjusted: float | None  # corrected for all pairs that end with this visit
    volume_ml: float | None
    beyond_rescan_ml: float | None
    change_ml: float | None
    smallest_detectable_ml: float | None
    similarity: float | None
    lowest_similarity: float | None
    reasons: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Return the keys of verdicts.STATUSES under which the index lists the patient."""
        return (self.status, verdicts.SCAN_FILED_ELSEWHERE) if self.claimed else (self.status,)


@dataclass(frozen=True)
class CohortIndex:
    """Everything that is on the index."""

    title: str
    patients: int
    alarms: tuple[WrongPatientAlarm, ...]
    rows: tuple[CohortRow, ...]
    counts: dict[str, int]
    pair_verdicts: dict[str, int]
    changes_z: tuple[float, ...]
    similarities: tuple[float, ...]
    intake: file_counts.FileCounts
    reference: ReportReference
    claim: ModelHeadline
    provenance: Provenance


def build_cohort_row(report: PatientReport) -> CohortRow:
    """Build a patient's row of the index from the finished report.

    Returns
    -------
    CohortRow
        Figures of the pair that `patient_verdict.choose_lead_pair` chooses; all of them None where no pair ends with
        the newest visit. `lowest_similarity` is over the pairs whose identity the network can judge.
    """
    newest = patient_verdict.choose_lead_pair(report.pairs)
    unlike = next((pair for pair in report.pairs if pair.unlike), None)
    explained = newest or (unlike if report.headline.status == Verdict.NOT_COMPARABLE else None)
    judged = [
        pair.score.similarity for pair in report.pairs if pair.identity_judged and pair.score.similarity is not None
    ]
    return CohortRow(
        subject=report.subject,
        status=report.headline.status,
        visits=len(report.visits),
        pairs=len(report.pairs),
        newest_visit=report.visits[-1].session if report.visits else None,
        alarms=len(report.alarms),
        claimed=len(report.claimed),
        contrasts=report.headline.contrasts,
        uncertain=report.headline.uncertain,
        unchanged=report.headline.unchanged,
        not_compared=report.headline.not_compared,
        contrast=newest.contrast if newest else None,
        interval_days=newest.score.interval_days if newest else None,
        change_z=newest.score.change_z if newest else None,
        change_p=newest.score.change_p if newest else None,
        change_p_adjusted=newest.score.change_p_adjusted if newest else None,
        volume_ml=newest.score.volume_ml if newest else None,
        beyond_rescan_ml=newest.score.beyond_rescan_ml if newest else None,
        change_ml=newest.score.change_ml if newest else None,
        smallest_detectable_ml=newest.score.smallest_detectable_ml if newest else None,
        similarity=newest.score.similarity if newest else None,
        lowest_similarity=min(judged, default=None),
        reasons=tuple(reason.word for reason in explained.reasons) if explained else (),
    )


def build_cohort_index(
    title: str,
    reports: Sequence[PatientReport],
    account: IngestAccount,
    reference: ReportReference,
    claim: ModelHeadline,
    provenance: Provenance,
) -> CohortIndex:
    """Build the content of index.html, cohort.json and cohort.tsv.

    Parameters
    ----------
    title, reports
        Title of the study, and the report of every patient.
    account
        What became of every file that was ingested.
    reference, claim, provenance
        What the pages say of the model, see `model_page.ModelPage`.

    Returns
    -------
    CohortIndex
        Rows by urgency: by the lowest rank in verdicts.STATUSES, then the largest `change_z` first, then by subject.
    """
    pairs = [pair for report in reports for pair in report.pairs]
    rows = sorted((build_cohort_row(report) for report in reports), key=_urgency)
    found = Counter(word for line in rows for word in line.words)
    alarms = [alarm for report in reports for alarm in report.alarms]
    return CohortIndex(
        title=title,
        patients=len(rows),
        alarms=tuple(sorted(alarms, key=wrong_patient_alarms.get_alarm_sort_key)),
        rows=tuple(rows),
        counts={key: found[key] for key in verdicts.STATUSES},
        pair_verdicts=dict(sorted(Counter(pair.verdict for pair in pairs).items())),
        changes_z=tuple(pair.score.change_z for pair in pairs if pair.score.change_z is not None),
        similarities=tuple(
            pair.score.similarity for pair in pairs if pair.identity_judged and pair.score.similarity is not None
        ),
        intake=file_counts.count_files_by_outcome(account),
        reference=reference if reference.strata else reference.narrow(pairs),
        claim=claim,
        provenance=provenance,
    )


def _urgency(line: CohortRow) -> tuple[int, float, str]:
    return min(verdicts.STATUSES[word].rank for word in line.words), -(line.change_z or 0.0), line.subject
