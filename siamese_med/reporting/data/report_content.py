"""What a patient's report says, as data: first this, then the page, the JSON and the TSV.

Units stand in the names. Slices are in display orientation: see `pictures`.
"""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.reporting.model.statements import ModelHeadline
from siamese_med.reporting.render.pictures import Panels
from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import UNKNOWN, Verdict


@dataclass(frozen=True)
class ReportScan:
    """One scan of a visit with what is known of its acquisition and alignment."""

    id: str
    session: str
    modality: str | None
    contrast: str | None
    scanner: str | None
    protocol: str | None
    shape: tuple[float | None, ...]
    spacing_mm: tuple[float | None, ...]
    flags: tuple[str, ...]
    aligned: bool
    alignment_quality: float | None
    sha256: str | None


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
    """One slice of a pair, why it was chosen, and its pictures (which stay out of the JSON)."""

    plane: str
    position_mm: float | None
    chosen: str
    panels: Panels


@dataclass(frozen=True)
class ReportPair:
    """Two scans of one patient, the earlier one first.

    `role`: newest (the newest visit against the one before), since_first (against the first), step, or other.
    `status` is a key of verdicts.STATUSES: the verdict, or wrong_patient where one of the scans is under alarm.
    `transform`: 4x4, the earlier scan's mm to the later one's (RAS+); empty where they were not laid on each other.
    """

    number: int
    role: str
    score: PairScore
    earlier_session: str
    later_session: str
    status: str
    reasons: tuple[NoVerdictReason, ...]
    identity_judged: bool
    slices: tuple[Slice, ...] = ()
    slices_available: int = 0

    @property
    def earlier(self) -> str:
        """Id of the earlier scan."""
        return self.score.scan_a

    @property
    def later(self) -> str:
        """Id of the later scan."""
        return self.score.scan_b

    @property
    def verdict(self) -> str:
        """The verdict on change; not_comparable where none was stated."""
        return self.score.verdict or Verdict.NOT_COMPARABLE

    @property
    def direction(self) -> str:
        """Which way the later scan differs, in words."""
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
    where that patient has no other scan to tell by. `owner`: the likelier patient, where there is one, and the same for
    him. `against` and `in_favour` say both in words.
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
    """Pairs without change of one contrast, of the same scanner or of two: `source` is rescans or synthesised.

    z is in standard deviations of those pairs, of which there are `n`; above `band_z` a pair has p < significance.
    """

    name: str
    source: str
    n: int
    band_z: tuple[float, float]
    values_z: tuple[float, ...]


@dataclass(frozen=True)
class ReportReference:
    """What a pair is held against: the similarity threshold, and the change of pairs without change.

    The network knows scans of the `modalities` and `contrasts` that it was trained on.
    `strata`: the pairs without change, kept apart by contrast and by same or other scanner.
    """

    modalities: tuple[str, ...]
    contrasts: tuple[str, ...]
    threshold: float | None
    false_match_rate: float | None
    significance: float
    power: float
    detector: str
    strata: tuple[ReportStratum, ...]
    normal_z: tuple[float, float]

    @property
    def band_z(self) -> tuple[float, float]:
        """The widest band of all: outside it a pair is called changed, whatever it is held against."""
        return max((stratum.band_z for stratum in self.strata), key=max, default=self.normal_z)

    def of(self, pair: ReportPair) -> ReportStratum:
        """What a pair was held against; an empty one where that is not known."""
        held_against = pair.score.reference
        name = held_against.stratum if held_against else UNKNOWN
        nothing = ReportStratum(name, UNKNOWN, 0, self.normal_z, ())
        return next((stratum for stratum in self.strata if held_against and stratum.name == name), nothing)

    def knows(self, scan: ReportScan) -> bool:
        """Whether the network can tell whose a scan is: aligned, and of a kind that it was trained on."""
        return scan.aligned and scan.modality in self.modalities and scan.contrast in self.contrasts


@dataclass(frozen=True)
class Provenance:
    """What made the numbers; the inputs' digests stand with the scans."""

    model: str
    model_format: int | None
    recipe: str | None
    parameters: int | None
    weights_sha256: str | None
    template_sha256: str | None
    model_config_sha256: str
    report_config: str
    seeds: dict[str, int]
    versions: dict[str, str]


@dataclass(frozen=True)
class PatientHeadline:
    """The first thing a reader sees: a key of verdicts.STATUSES, and one or two sentences."""

    status: str
    text: str


@dataclass(frozen=True)
class PatientReport:
    """Everything that is on a patient's page.

    `alarms`: scans filed under this patient that look like another's; `claimed`: scans filed under another patient that
    look like this one's.
    """

    subject: str
    title: str
    headline: PatientHeadline
    warnings: tuple[str, ...]
    alarms: tuple[WrongPatientAlarm, ...]
    claimed: tuple[WrongPatientAlarm, ...]
    visits: tuple[ReportVisit, ...]
    pairs: tuple[ReportPair, ...]
    reference: ReportReference
    claim: ModelHeadline
    provenance: Provenance
