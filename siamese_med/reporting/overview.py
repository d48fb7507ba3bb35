"""The cohort as data: one row a patient, what asks for a look first, and the account of the input's files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.claims import Claim
from siamese_med.reporting import accounts, alarms, patient, verdicts
from siamese_med.reporting.content import Alarm, Patient, Provenance, Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.records import Account


@dataclass(frozen=True)
class Row:
    """One patient: the figures are those of the newest visit's pair, `lowest_similarity` is over all pairs.

    `alarms`: scans that seem to be another patient's; `claimed`: scans of others that seem to be this patient's.
    """

    subject: str
    status: str
    visits: int
    pairs: int
    newest_visit: str | None
    alarms: int
    claimed: int
    interval_days: int | None
    change_z: float | None
    change_p: float | None
    volume_ml: float | None
    smallest_detectable_ml: float | None
    similarity: float | None
    lowest_similarity: float | None
    reasons: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Keys of verdicts.STATUSES under which the patient is found."""
        return (self.status, verdicts.CLAIMED) if self.claimed else (self.status,)


@dataclass(frozen=True)
class Cohort:
    """Everything that is on the index."""

    title: str
    patients: int
    alarms: tuple[Alarm, ...]
    rows: tuple[Row, ...]
    counts: dict[str, int]
    pair_verdicts: dict[str, int]
    changes_z: tuple[float, ...]
    similarities: tuple[float, ...]
    intake: accounts.Intake
    reference: Reference
    claim: Claim
    provenance: Provenance


def row(report: Patient) -> Row:
    """A patient's line in the table."""
    newest = patient.lead(report.pairs) if report.pairs else None
    judged = [pair.similarity for pair in report.pairs if pair.identity_judged and pair.similarity is not None]
    return Row(
        subject=report.subject,
        status=report.headline.status,
        visits=len(report.visits),
        pairs=len(report.pairs),
        newest_visit=report.visits[-1].session if report.visits else None,
        alarms=len(report.alarms),
        claimed=len(report.claimed),
        interval_days=newest.interval_days if newest else None,
        change_z=newest.change_z if newest else None,
        change_p=newest.change_p if newest else None,
        volume_ml=newest.volume_ml if newest else None,
        smallest_detectable_ml=newest.smallest_detectable_ml if newest else None,
        similarity=newest.similarity if newest else None,
        lowest_similarity=min(judged, default=None),
        reasons=tuple(reason.word for reason in newest.reasons) if newest else (),
    )


def cohort(
    title: str,
    reports: Sequence[Patient],
    account: Account,
    reference: Reference,
    claim: Claim,
    provenance: Provenance,
) -> Cohort:
    """The index as data, alarms first, the largest change first among equals."""
    pairs = [pair for report in reports for pair in report.pairs]
    rows = sorted((row(report) for report in reports), key=_urgency)
    found = Counter(word for line in rows for word in line.words)
    return Cohort(
        title=title,
        patients=len(rows),
        alarms=tuple(sorted((alarm for report in reports for alarm in report.alarms), key=alarms.urgency)),
        rows=tuple(rows),
        counts={key: found[key] for key in verdicts.STATUSES},
        pair_verdicts=dict(sorted(Counter(pair.verdict for pair in pairs).items())),
        changes_z=tuple(pair.change_z for pair in pairs if pair.change_z is not None),
        similarities=tuple(pair.similarity for pair in pairs if pair.similarity is not None),
        intake=accounts.intake(account),
        reference=reference,
        claim=claim,
        provenance=provenance,
    )


def _urgency(line: Row) -> tuple[int, float, str]:
    return min(verdicts.STATUSES[word].rank for word in line.words), -(line.change_z or 0.0), line.subject
