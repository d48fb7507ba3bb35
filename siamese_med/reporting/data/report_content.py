"""The content of a patient's report as data: report.html, report.json and pairs.tsv are all made from it.

Names of fields end in their unit (mm, ml, days). Slices are in display orientation: see `pictures`. The docstrings of
the classes that are part of report.json are published in report.schema.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from siamese_med.reporting.data.finding_content import FindingLine
from siamese_med.reporting.data.lesion_content import LesionLine
from siamese_med.reporting.data.provenance import Provenance
from siamese_med.reporting.data.reader_content import ReaderAnswers
from siamese_med.reporting.data.structure_content import StructureVolumeLine
from siamese_med.reporting.data.text_content import ReportText
from siamese_med.reporting.model.statements import ModelHeadline
from siamese_med.reporting.render.pictures import Panels
from siamese_med.study.pair_score import PairScore
from siamese_med.study.thresholds import EVIDENCE_WEIGHT, MIN_REFERENCE_PAIRS, NORMAL_BAND_Z
from siamese_med.study.vocabulary import UNKNOWN, ComponentKind, NotComparable, NullSource, Verdict

UNLIKE_REASONS = frozenset({str(NotComparable.OTHER_MODALITY), str(NotComparable.OTHER_CONTRAST)})
"""Reasons that say that two scans are of different kinds: there is nothing to compare, and a page counts such pairs."""


@dataclass(frozen=True)
class ReportScan:
    """One scan of a visit with what is known of its acquisition and alignment."""

    id: str
    session: str
    modality: str | None
    contrast: str | None
    contrast_source: str | None  # said, header, name or image: how the contrast is known
    contrast_confidence: float | None  # 0 to 1, where the image told it
    scanner: str | None  # pseudonym of maker, model and serial number
    protocol: str | None  # pseudonym of sequence timing and matrix
    shape: tuple[float | None, ...]  # voxels along i, j and k
    spacing_mm: tuple[float | None, ...]  # along i, j and k
    flags: tuple[str, ...]
    aligned: bool  # to the template of the study
    alignment_quality: float | None
    brain_ml: float | None  # of brain tissue
    ventricles_ml: float | None  # of the lateral ventricles
    sha256: str | None  # of voxels and affine


@dataclass(frozen=True)
class ReportVisit:
    """One session; `day` counts from the first dated visit, and `date` is shifted by an unknown offset."""

    session: str
    date: str | None
    day: int | None
    scanner_changed: bool
    scans: tuple[ReportScan, ...]


@dataclass(frozen=True)
class NoVerdictReason:
    """Why a pair got no verdict: the word, and what it means."""

    word: str
    meaning: str


@dataclass(frozen=True)
class Slice:
    """One slice of a pair, why it was chosen, and its pictures (which stay out of the JSON).

    `parts`: numbers of the listed parts that it shows, from 1.
    """

    plane: str
    position_mm: float | None
    chosen: str
    panels: Panels
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReportPair:
    """Two scans of one patient, the earlier one first.

    `role`, on the time line of its contrast: newest (the newest visit against the one before), since_first (against the
    first), step, or other.
    `status` is a key of verdicts.STATUSES: the verdict, or wrong_patient where one of the scans is under alarm.
    `transform`: 4x4, the earlier scan's mm to the later one's (RAS+); empty where they were not registered.
    `brighter_ml`, `darker_ml`: volume of the parts that alone are beyond a rescan, by what they became.
    """

    number: int
    role: str
    score: PairScore
    earlier_session: str
    later_session: str
    earlier_contrast: str | None
    later_contrast: str | None
    contrast: str  # of both scans in words
    status: str
    reasons: tuple[NoVerdictReason, ...]
    identity_judged: bool  # whether the network can judge identity by both scans
    brighter_ml: float = 0.0
    darker_ml: float = 0.0
    slices: tuple[Slice, ...] = ()
    slices_available: int = 0  # slices that scoring saved; the page may have room for fewer

    @property
    def earlier(self) -> str:
        """Return the id of the earlier scan."""
        return self.score.scan_a

    @property
    def later(self) -> str:
        """Return the id of the later scan."""
        return self.score.scan_b

    @property
    def between(self) -> str:
        """Return the visits of both scans in words."""
        if self.earlier_session == self.later_session:
            return f"one scan of {self.earlier_session} to another"
        return f"{self.earlier_session} to {self.later_session}"

    @property
    def title(self) -> str:
        """Return contrast and visits in words, such as `FLAIR, ses-1 to ses-2`."""
        return f"{self.contrast}, {self.between}"

    @property
    def unlike(self) -> bool:
        """Return whether the scans are of different kinds, so that the pair is on no time line."""
        return not UNLIKE_REASONS.isdisjoint(reason.word for reason in self.reasons)

    @property
    def verdict(self) -> str:
        """Return the verdict on change; not_comparable where the score table has none."""
        return self.score.verdict or Verdict.NOT_COMPARABLE

    def find_slice_of_part(self, number: int) -> int | None:
        """Return the number of the first slice, from 1, that shows a listed part; None where none does."""
        return next((place for place, one in enumerate(self.slices, start=1) if number in one.parts), None)

    @property
    def direction(self) -> str:
        """Return `brighter` or `darker`: how the later scan differs where it changed; empty where that is unknown."""
        if self.score.change_sign is None or self.score.change_sign == 0:
            return ""
        return "brighter" if self.score.change_sign > 0 else "darker"


@dataclass(frozen=True)
class EvidenceStatement:
    """Evidence in words: how strong, how many times as likely (empty for none), and both in a sentence."""

    strength: str
    times: str
    sentence: str


@dataclass(frozen=True)
class WrongPatientAlarm:
    """A scan that does not look like the patient under whose name it is filed.

    `evidence`: log10 of how much likelier its pictures are if it is of that patient than if it is of another one; None
    where that patient has no other scan to compare with. `owner`: the likelier patient, where there is one, with
    the same figure as `owner_evidence`. `against` and `in_favour` say both in words.
    """

    scan: str
    session: str
    subject: str
    evidence: float | None
    owner: str | None
    owner_evidence: float | None
    against: EvidenceStatement
    in_favour: EvidenceStatement


@dataclass(frozen=True)
class ReportStratum:
    """Pairs without change of one contrast, of the same scanner or of two: `source` is a `NullSource`.

    z is in standard deviations of those pairs, of which there are `n`; `band_z` is that of `compute_band_z`.
    """

    name: str
    source: str
    n: int
    band_z: tuple[float, float]
    values_z: tuple[float, ...]


def compute_band_z(n: int, significance: float) -> tuple[float, float]:
    """Compute the prediction interval, in z, of one more pair beside `n` pairs without change.

    Where it ends, the verdict `changed` begins for a pair of usual noise whose evidence makes z, if it is the only pair
    of its visit. z that comes from local growth has to be larger. Two degrees of freedom are those of the regression
    line over the pairs' noise levels. With fewer pairs than MIN_REFERENCE_PAIRS it is NORMAL_BAND_Z.

    Examples
    --------
    >>> compute_band_z(8, 0.05)
    (-2.3346, 2.3346)
    """
    if n < MIN_REFERENCE_PAIRS:
        return NORMAL_BAND_Z
    from scipy.stats import t

    reach = round(float(t.isf(EVIDENCE_WEIGHT * significance, n - 2)) * math.sqrt(1 + 1 / n), 4)
    return -reach, reach


@dataclass(frozen=True)
class ReportReference:
    """What a pair is compared with: the similarity threshold, and the change of pairs without change.

    The network can judge scans of the `modalities` and `contrasts` that it was trained on.
    `strata`: the pairs without change, kept apart by contrast and by same or other scanner.
    """

    modalities: tuple[str, ...]
    contrasts: tuple[str, ...]
    threshold: float | None
    false_match_rate: float | None  # for which the threshold was set
    significance: float
    power: float  # chance of detection that smallest_detectable_ml is given for
    largest_tested_ml: float  # a pair without change that would not have shown even this much is uncertain
    false_candidates: float  # places to look at that a pair without change has at most, on average
    detector: str  # name of the change detector
    strata: tuple[ReportStratum, ...]
    normal_z: tuple[float, float]  # band of a normal distribution, where a stratum has too few pairs

    @property
    def band_z(self) -> tuple[float, float]:
        """Return the widest band of all strata, in z."""
        return max((stratum.band_z for stratum in self.strata), key=max, default=self.normal_z)

    def of(self, pair: ReportPair) -> ReportStratum:
        """Return the stratum that a pair was compared with; one without pairs and values where that is unknown."""
        held_against = pair.score.reference
        name = held_against.stratum if held_against else UNKNOWN
        if held_against and held_against.source == NullSource.OWN:
            n = held_against.n
            return ReportStratum(name, held_against.source, n, compute_band_z(n, self.significance), ())
        nothing = ReportStratum(name, UNKNOWN, 0, self.normal_z, ())
        return next((stratum for stratum in self.strata if held_against and stratum.name == name), nothing)

    def narrow(self, pairs: Iterable[ReportPair]) -> ReportReference:
        """Return the reference with only the strata that these pairs were compared with; whole where there is none.

        Rescans of the pairs' own scans are strata too.
        """
        used = {(one.name, one.source): one for one in map(self.of, pairs) if one.n}
        return replace(self, strata=tuple(used[key] for key in sorted(used)) or self.strata)

    def knows(self, scan: ReportScan) -> bool:
        """Return whether a scan is aligned and of a modality and contrast that the network was trained on."""
        return scan.aligned and scan.modality in self.modalities and scan.contrast in self.contrasts


@dataclass(frozen=True)
class PatientHeadline:
    """The first thing a reader sees: a key of verdicts.STATUSES, and what it rests on in sentences.

    Contrasts in words: `contrasts` are those with this verdict; of the others, `uncertain` and `unchanged` are those
    with these verdicts, and `not_compared` those without one. All are empty under a wrong-patient alarm and where there
    is one visit only.
    """

    status: str
    text: str
    contrasts: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContrastLine:
    """The time line of one contrast: its `name` in words, and the `sessions` that have a scan of it.

    `pairs`: numbers of its pairs of two visits. `lead`: number of the pair that decides about the newest visit, and
    `status` that pair's; null where no pair ends with the newest visit. `why_not`: why the newest visit was not
    compared in this contrast, empty where it was.
    """

    name: str
    sessions: tuple[str, ...]
    pairs: tuple[int, ...]
    lead: int | None
    status: str | None
    why_not: str


@dataclass(frozen=True)
class PatientReport:
    """Everything that is on a patient's page.

    `alarms`: scans filed under this patient that look like another's; `claimed`: scans filed under another patient that
    look like this one's. `lines`: one for each contrast; `findings`: one for each contrast with several steps;
    `lesions`: one for each contrast with masks of lesions; `structures`: one for each contrast in which a brain was
    measured. `text`: what a reader may paste into a report; `reader`: the
    reader's answers.
    """

    subject: str
    title: str
    headline: PatientHeadline
    warnings: tuple[str, ...]
    alarms: tuple[WrongPatientAlarm, ...]
    claimed: tuple[WrongPatientAlarm, ...]
    visits: tuple[ReportVisit, ...]
    pairs: tuple[ReportPair, ...]
    lines: tuple[ContrastLine, ...]
    findings: tuple[FindingLine, ...]
    lesions: tuple[LesionLine, ...]
    structures: tuple[StructureVolumeLine, ...]
    text: ReportText
    reader: ReaderAnswers
    reference: ReportReference
    claim: ModelHeadline
    provenance: Provenance

    def list_confirming_contrasts(self, pair: ReportPair, finding: int | None) -> tuple[str, ...]:
        """Return the other contrasts that show a finding of a pair, by its number, between the same two visits."""
        visits = (pair.earlier_session, pair.later_session)
        others = [one for one in self.pairs if (one.earlier_session, one.later_session) == visits and not one.unlike]
        shown = {
            one.contrast
            for one in others
            if one.contrast != pair.contrast and one.status == Verdict.CHANGED and finding is not None
            if any(
                part.finding == finding and part.kind != ComponentKind.MAY_BE_CHANCE for part in one.score.components
            )
        }
        return tuple(sorted(shown))
