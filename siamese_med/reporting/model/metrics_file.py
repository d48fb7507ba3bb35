"""Figures of a model for its page and its card, from ModelInfo and ModelMetrics.

All figures are of test patients, with 95 % intervals by a bootstrap over patients. What was not recorded is None or
empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.study.model_metrics import Estimate
from siamese_med.study.vocabulary import SPLITS, Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siamese_med.study.model_info import ModelInfo, RecordedRegion
    from siamese_med.study.model_metrics import ConfoundFigures, GroupSimilarity, ModelMetrics

METHOD_NAMES = {
    "network": "Siamese network",
    "learned": "Its learned part alone",
    "edges": "Its edges alone",
    "ncc": "Correlation (NCC)",
    "ncc_highpass": "High-pass correlation",
    "mutual_information": "Mutual information",
    "ssim": "Structural similarity",
}
"""Names of the methods by their keys in metrics.json: the network, its parts, and the untrained baselines."""

NETWORK_AND_PARTS = ("network", "learned", "edges")
"""Methods that are no baselines."""

FIGURE_NAMES = {
    "auc": "AUC",
    "eer": "Equal error rate",
    "tar_at_far_1pct": "Recognised at 1 % false matches",
    "tar_at_far_01pct": "Recognised at 0.1 % false matches",
    "rank1": "First rank",
}
"""Names of the figures of each method by their keys in metrics.json."""

SHORTCUT_NAMES = {
    "header": "the header",
    "background": "the background",
    "outline": "the outline of the body",
    "histogram": "the intensity histogram",
    "thumbnail": "the image at 8 × 8 × 8",
}
"""Information about a scan that each classifier of the confound audit sees, as words for a sentence."""

STRATUM_NAMES = {"interval": "Time between the scans", "scanner": "Scanner", "contrast": "Contrast"}
"""Properties by which the test pairs are grouped."""

COUNT_GROUPS = {
    "patients": SPLITS,
    "scans": SPLITS,
    "measured": ("patients", "scans"),  # test patients behind the figures, and their scans
    "pairs_test": ("same", "different"),
}
"""Counts in metrics.json, and the parts of each."""


@dataclass(frozen=True)
class MethodPerformance:
    """Performance of one method in telling the test patients apart.

    Parameters
    ----------
    key
        Key in METHOD_NAMES.
    name
        Name on the page.
    figures
        By the keys of FIGURE_NAMES.
    best
        Whether its AUC is the highest of all methods.
    """

    key: str
    name: str
    figures: dict[str, Estimate]
    best: bool

    @property
    def auc(self) -> Estimate:
        """Return the area under the ROC curve, by which methods are ranked."""
        return self.figures["auc"]


@dataclass(frozen=True)
class ShortcutFigures:
    """One classifier of the confound audit: how well it tells patients apart by something other than anatomy.

    Parameters
    ----------
    key
        Key in SHORTCUT_NAMES, if it is known there.
    name
        What the classifier sees, for a sentence.
    auc
        Measured on the input of the network.
    failed
        Whether the AUC is over the limit.
    in_scans
        AUC measured on the aligned scans themselves.
    """

    key: str
    name: str
    auc: Estimate
    failed: bool
    in_scans: Estimate

    @property
    def outcome(self) -> str:
        """Return the outcome in words."""
        if self.auc.value is None:
            return "nothing to look at"
        return "over the limit" if self.failed else "within the limit"


@dataclass(frozen=True)
class AuditResult:
    """Result of the confound audit.

    Parameters
    ----------
    limit, patients
        AUC above which a shortcut fails, and the number of test patients.
    shortcuts
        One for each classifier.
    """

    limit: float
    patients: int | None
    shortcuts: tuple[ShortcutFigures, ...]

    @property
    def measured(self) -> tuple[ShortcutFigures, ...]:
        """Return the shortcuts for which there was something to measure."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.auc.value is not None)

    @property
    def failed(self) -> tuple[ShortcutFigures, ...]:
        """Return the shortcuts over the limit."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.failed)


@dataclass(frozen=True)
class ModelCalibration:
    """Whether the similarity is a probability that can be relied on.

    Parameters
    ----------
    error
        Expected calibration error (ECE).
    bins
        Of the calibration curve: mean predicted probability, observed share of same-patient pairs, number of pairs.
    false_match_rate, nominal
        Share of pairs of two patients at or above the threshold: of test pairs, and as set on validation patients.
    threshold
        Similarity from which two scans count as one patient's.
    """

    error: Estimate
    bins: tuple[tuple[float, float, int], ...]
    false_match_rate: Estimate
    nominal: float | None
    threshold: float | None


@dataclass(frozen=True)
class SimilarityGroup:
    """Similarity of some test pairs of one kind.

    Parameters
    ----------
    name
        Name of the group, such as an interval or a contrast.
    same, pairs
        Whether the pairs are of one patient, and their number.
    similarity
        Median, with the 5th and 95th percentile as its ends.
    accepted
        Share of the pairs at or above the threshold.
    """

    name: str
    same: bool
    pairs: int | None
    similarity: Estimate
    accepted: float | None


@dataclass(frozen=True)
class ModelFigures:
    """All figures of one model.

    Parameters
    ----------
    methods
        The network and the baselines.
    audit
        None where no confound audit was recorded.
    calibration
        Of the similarity.
    strata
        Groups of test pairs by the keys of STRATUM_NAMES.
    counts
        Numbers of patients, scans and pairs by the keys and parts of COUNT_GROUPS.
    seed
        Seed of the measurement.
    region
        What the network looks at; None where it was not recorded.
    """

    methods: tuple[MethodPerformance, ...]
    audit: AuditResult | None
    calibration: ModelCalibration
    strata: dict[str, tuple[SimilarityGroup, ...]]
    counts: dict[str, dict[str, int | None]]
    seed: int | None
    region: RecordedRegion | None

    @property
    def network(self) -> MethodPerformance | None:
        """Return the network's own figures."""
        return next((method for method in self.methods if method.key == "network"), None)

    @property
    def comparisons(self) -> int | None:
        """Return how many comparisons of a validation scan with another patient the evidence on identity rests on."""
        patients, scans = (self.counts[what][Split.VALIDATION] for what in ("patients", "scans"))
        return None if patients is None or scans is None else scans * (patients - 1)

    @property
    def best(self) -> MethodPerformance | None:
        """Return the method with the highest AUC, which may be the network."""
        return next((method for method in self.methods if method.best), None)

    @property
    def best_baseline(self) -> MethodPerformance | None:
        """Return the baseline with the highest AUC."""
        baselines = (method for method in self.methods if method.key not in NETWORK_AND_PARTS)
        return max(baselines, key=lambda method: method.auc.value or 0.0, default=None)


def read_model_figures(info: ModelInfo, metrics: ModelMetrics) -> ModelFigures:
    """Arrange what a model folder holds as the figures of the model page and the model card.

    Parameters
    ----------
    info, metrics
        What model.json and metrics.json of the folder hold.

    Returns
    -------
    ModelFigures
        Methods in the order of METHOD_NAMES; shortcuts in the order of SHORTCUT_NAMES, unknown ones last. A shortcut
        fails if the file says so or if its AUC is over the limit.
    """
    return ModelFigures(
        methods=tuple(_methods(metrics)),
        audit=_audit(metrics.audit),
        calibration=ModelCalibration(
            error=metrics.calibration.ece,
            bins=tuple((one.predicted, one.observed, one.n) for one in metrics.calibration.bins),
            false_match_rate=metrics.false_match_rate_test,
            nominal=info.calibration.false_match_rate,
            threshold=info.calibration.threshold,
        ),
        strata={key: tuple(map(_group, getattr(metrics.strata, key))) for key in STRATUM_NAMES},
        counts={
            name: {part: getattr(getattr(metrics, name), part) for part in parts}
            for name, parts in COUNT_GROUPS.items()
        },
        seed=metrics.seed,
        region=info.region,
    )


def _methods(metrics: ModelMetrics) -> Iterator[MethodPerformance]:
    for key, name in METHOD_NAMES.items():
        if figures := metrics.test.get(key):
            measured = {figure: getattr(figures, figure) for figure in FIGURE_NAMES}
            yield MethodPerformance(key, name, measured, metrics.best == key)


def _audit(recorded: ConfoundFigures | None) -> AuditResult | None:
    if recorded is None or recorded.limit is None or not recorded.auc:
        return None
    named = [*(key for key in SHORTCUT_NAMES if key in recorded.auc), *sorted(set(recorded.auc) - set(SHORTCUT_NAMES))]
    shortcuts = tuple(_shortcut(key, recorded, recorded.limit) for key in named)
    return AuditResult(recorded.limit, recorded.patients, shortcuts)


def _shortcut(key: str, recorded: ConfoundFigures, limit: float) -> ShortcutFigures:
    """Failed if either the record says so or the AUC is over the limit."""
    auc, in_scans = recorded.auc[key], recorded.in_scans.get(key, Estimate())
    failed = key in recorded.failed or (auc.value or 0.0) > limit
    return ShortcutFigures(key, SHORTCUT_NAMES.get(key, key), auc, failed, in_scans)


def _group(recorded: GroupSimilarity) -> SimilarityGroup:
    similarity = Estimate(recorded.median, recorded.low, recorded.high)
    return SimilarityGroup(recorded.group, recorded.kind == "same", recorded.pairs, similarity, recorded.accepted)
