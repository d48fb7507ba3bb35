"""What was measured of a model, from its ModelInfo and ModelMetrics; model page and model card both start here.

Figures are on test patients with 95 % intervals by a bootstrap over patients; what was not recorded is None or empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.study.model_metrics import Estimate
from siamese_med.study.vocabulary import SPLITS, Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siamese_med.study.model_info import ModelInfo
    from siamese_med.study.model_metrics import ConfoundFigures, GroupSimilarity, ModelMetrics

METHOD_NAMES = {
    "network": "Siamese network",
    "ncc": "Correlation (NCC)",
    "ncc_highpass": "High-pass correlation",
    "mutual_information": "Mutual information",
    "ssim": "Structural similarity",
}
"""The network, then the baselines, which learn nothing."""

FIGURE_NAMES = {
    "auc": "AUC",
    "eer": "Equal error rate",
    "tar_at_far_1pct": "Recognised at 1 % false matches",
    "tar_at_far_01pct": "Recognised at 0.1 % false matches",
    "rank1": "First rank",
}
"""What is measured of each method."""

SHORTCUT_NAMES = {
    "header": "the header",
    "background": "the background",
    "outline": "the outline of the body",
    "histogram": "the intensity histogram",
    "thumbnail": "the image at 8 × 8 × 8",
}
"""What the classifiers of the confound audit see of a scan."""

STRATUM_NAMES = {"interval": "Time between the scans", "scanner": "Scanner", "contrast": "Contrast"}
"""By what the test pairs are told apart."""

COUNT_GROUPS = {
    "patients": SPLITS,
    "scans": SPLITS,
    "measured": ("patients", "scans"),  # on so many of the test patients
    "pairs_test": ("same", "different"),
}
"""Groups of metrics.json, and the parts that each is counted in."""


@dataclass(frozen=True)
class MethodPerformance:
    """How well one method told the test patients apart; `figures` has the keys of FIGURE_NAMES."""

    key: str
    name: str
    figures: dict[str, Estimate]
    best: bool

    @property
    def auc(self) -> Estimate:
        """The figure by which methods are ranked."""
        return self.figures["auc"]


@dataclass(frozen=True)
class ShortcutFigures:
    """One classifier of the audit: what it sees, how well it tells persons apart, whether that is over the limit.

    `auc` is on what the network is shown, `in_scans` on the aligned scans themselves.
    """

    key: str
    name: str
    auc: Estimate
    failed: bool
    in_scans: Estimate

    @property
    def outcome(self) -> str:
        """In words."""
        if self.auc.value is None:
            return "nothing to look at"
        return "over the limit" if self.failed else "within the limit"


@dataclass(frozen=True)
class AuditResult:
    """The confound audit on `patients` test patients."""

    limit: float
    patients: int | None
    shortcuts: tuple[ShortcutFigures, ...]

    @property
    def measured(self) -> tuple[ShortcutFigures, ...]:
        """The shortcuts that had something to look at."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.auc.value is not None)

    @property
    def failed(self) -> tuple[ShortcutFigures, ...]:
        """The shortcuts over the limit."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.failed)


@dataclass(frozen=True)
class CalibrationFigures:
    """Whether the similarity is a probability that is right; a bin is (predicted, observed, pairs)."""

    error: Estimate
    bins: tuple[tuple[float, float, int], ...]
    false_match_rate: Estimate
    nominal: float | None
    threshold: float | None


@dataclass(frozen=True)
class SimilarityGroup:
    """Similarity of some test pairs of one kind: median, 5th and 95th percentile, share at or over the threshold."""

    name: str
    same: bool
    pairs: int | None
    similarity: Estimate
    accepted: float | None


@dataclass(frozen=True)
class ModelFigures:
    """Everything that was measured of one model; `strata` has the keys of STRATUM_NAMES."""

    methods: tuple[MethodPerformance, ...]
    audit: AuditResult | None
    calibration: CalibrationFigures
    strata: dict[str, tuple[SimilarityGroup, ...]]
    counts: dict[str, dict[str, int | None]]
    seed: int | None

    @property
    def network(self) -> MethodPerformance | None:
        """The network's own row."""
        return next((method for method in self.methods if method.key == "network"), None)

    @property
    def comparisons(self) -> int | None:
        """How often a validation scan was held against another patient: what evidence of identity rests on."""
        patients, scans = (self.counts[what][Split.VALIDATION] for what in ("patients", "scans"))
        return None if patients is None or scans is None else scans * (patients - 1)

    @property
    def best(self) -> MethodPerformance | None:
        """The method with the highest AUC, which may be the network."""
        return next((method for method in self.methods if method.best), None)

    @property
    def best_baseline(self) -> MethodPerformance | None:
        """The baseline with the highest AUC."""
        baselines = (method for method in self.methods if method.key != "network")
        return max(baselines, key=lambda method: method.auc.value or 0.0, default=None)


def read_model_figures(info: ModelInfo, metrics: ModelMetrics) -> ModelFigures:
    """Return what is said of a model on its page and card, from what its folder holds."""
    return ModelFigures(
        methods=tuple(_methods(metrics)),
        audit=_audit(metrics.audit),
        calibration=CalibrationFigures(
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
    """Over the limit by the record's word or by its figure: neither may hide the other."""
    auc, in_scans = recorded.auc[key], recorded.in_scans.get(key, Estimate())
    failed = key in recorded.failed or (auc.value or 0.0) > limit
    return ShortcutFigures(key, SHORTCUT_NAMES.get(key, key), auc, failed, in_scans)


def _group(recorded: GroupSimilarity) -> SimilarityGroup:
    similarity = Estimate(recorded.median, recorded.low, recorded.high)
    return SimilarityGroup(recorded.group, recorded.kind == "same", recorded.pairs, similarity, recorded.accepted)
