"""Facts that each stage reports: the objects that `--json` prints, key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, final

if TYPE_CHECKING:
    import pandas as pd


class ScanSummary(TypedDict):
    """An ingested scan; `affine`: 4x4, voxel (i, j, k) to mm (RAS+); `path`: relative to the data folder."""

    id: str
    subject: str
    session: str
    modality: str
    contrast: str
    contrast_source: str
    contrast_confidence: float | None
    shape: Sequence[int]
    spacing_mm: Sequence[float]
    affine: Sequence[Sequence[float]]
    path: str
    flags: Sequence[str]


class TransferFacts(TypedDict):
    """The counts of tables.PacsTransfer, only of a pull from a PACS."""

    transfer: NotRequired[Mapping[str, int]]


@final
class IngestFacts(TransferFacts):
    """The account of the files of one input, and the scans that they make up.

    The first number is the sum of the next four: every file seen is counted once.
    """

    files_seen: int
    ingested: int
    skipped: int
    duplicate: int
    quarantined: int
    reasons: Mapping[str, int]
    scans: Sequence[ScanSummary]


class MisalignedScan(TypedDict):
    """A scan that could not be aligned; `quality`: see registration.Alignment."""

    scan: str
    quality: float


@final
class PrepareFacts(TypedDict):
    """Number of scans, number of those that are aligned, and the template that they are aligned to."""

    scans: int
    aligned: int
    failed: Sequence[MisalignedScan]
    template: str


@final
class PairFacts(TypedDict):
    """Number of pairs, by kind and by split."""

    pairs: int
    kinds: Mapping[str, int]
    splits: Mapping[str, int]


@final
class TrainFacts(TypedDict):
    """The folder of the trained model, and the region that its identity network looks at.

    `model` is None where the study has too few patients to train on, and `why_not` says in which split. `region_ml` is
    None where the network looks at everything, or the model did not record it. `current_model` is given where the
    trained one was refused before.
    """

    model: str | None
    region_ml: float | None
    current_model: NotRequired[str]
    why_not: NotRequired[str]


@final
class PromoteFacts(TypedDict):
    """Outcome for a candidate.

    Models are given by name, not by path, since Prefect keeps this. `candidate` is None where none was trained;
    `current_model` is that after the decision; `figures`: see head_to_head.compare_model_auc.
    """

    candidate: str | None
    current_model: str
    promoted: bool
    why: str
    patients: int
    scans: int
    figures: Mapping[str, Mapping[str, object]]


class ChangedPair(TypedDict):
    """A pair that changed beyond noise."""

    scan_a: str
    scan_b: str
    subject_a: str
    change_p_adjusted: float
    volume_ml: float


class DoubtfulScan(TypedDict):
    """A scan that looks like another patient's than `subject`, under whom it is filed.

    `owner`: the patient whom it fits better, or None.
    """

    scan: str
    subject: str
    owner: str | None


@final
class ScoreFacts(TypedDict):
    """Number of pairs, and the verdicts on them."""

    pairs: int
    comparable: int
    reasons: Mapping[str, int]
    verdicts: Mapping[str, int]
    changed: Sequence[ChangedPair]
    alarms: int
    wrong_patient: Sequence[DoubtfulScan]
    model: str
    scores: str


@final
class ReportFacts(TypedDict):
    """The index page and how many patients have pages; `dicom`: what became of the objects that were asked for."""

    index: str
    patients: int
    dicom: NotRequired[Mapping[str, object]]


StageFacts = IngestFacts | PrepareFacts | PairFacts | TrainFacts | PromoteFacts | ScoreFacts | ReportFacts
"""Of one stage. Which it is, mypy tells from a key that only one of them has."""


class RunFacts(TypedDict):
    """A whole run in one object.

    `account` is empty where nothing was ingested. `training` says in one line what became of training, or why there was
    none; None where the run was given a model. `starter`: whether `model` is the one that comes with siamese-med.
    """

    seconds: Mapping[str, float]
    account: Mapping[str, object]
    aligned: int
    pairs: int
    comparable: int
    verdicts: Mapping[str, int]
    alarms: int
    wrong_patient: Sequence[DoubtfulScan]
    training: str | None
    model: str
    starter: bool
    reports: str


class ComparisonFacts(TypedDict):
    """Two scans compared without a catalogue; the columns of the score table that can be known of a single pair.

    `map`: where a change map was asked for, its file, or None where the pair could not be measured.
    """

    comparable: bool
    reasons: Sequence[str]
    similarity: float | None
    distance: float
    change: Mapping[str, float | None]
    change_sign: float | None
    growth: Mapping[str, float | None]
    components: Sequence[Mapping[str, object]]
    reference: Mapping[str, object] | None
    verdict: str | None
    baselines: Mapping[str, float]
    model: str
    map: NotRequired[str | None]


class RankedSubject(TypedDict):
    """An enrolled patient and the probability that a scan is of this patient."""

    subject: str
    similarity: float


class IdentityFacts(TypedDict):
    """Patients whose scan it may be, the most similar first; `match`: the first, if it passes the threshold."""

    candidates: Sequence[RankedSubject]
    match: str | None
    comparable: bool
    reasons: Sequence[str]
    threshold: float
    model: str


def describe_scan(row: Mapping[str, Any]) -> ScanSummary:
    """Return what is reported of an ingested scan, from its row of the catalogue."""
    return {
        "id": row["id"],
        "subject": row["subject"],
        "session": row["session"],
        "modality": row["modality"],
        "contrast": row["contrast"],
        "contrast_source": row["contrast_source"],
        "contrast_confidence": row["contrast_confidence"],
        "shape": row["shape"],
        "spacing_mm": row["spacing_mm"],
        "affine": row["affine"],
        "path": row["path"],
        "flags": row["flags"],
    }


def list_changed_pairs(scores: pd.DataFrame) -> list[ChangedPair]:
    """List the pairs of a score table whose verdict is `changed`, with the figures that a reader looks for first."""
    return [
        {
            "scan_a": pair.scan_a,
            "scan_b": pair.scan_b,
            "subject_a": pair.subject_a,
            "change_p_adjusted": pair.change_p_adjusted,
            "volume_ml": pair.volume_ml,
        }
        for pair in scores[scores["verdict"] == "changed"].itertuples()
    ]


def list_doubtful_scans(owners: Path) -> list[DoubtfulScan]:
    """List the scans under alarm of an owner table (Parquet): those that seem to be another patient's."""
    from siamese_med.runtime.untrusted_input import read_untrusted_table

    return [
        {"scan": row.scan, "subject": row.subject, "owner": row.owner if isinstance(row.owner, str) else None}
        for row in read_untrusted_table(owners, ("scan", "subject", "owner")).query("alarm").itertuples()
    ]
