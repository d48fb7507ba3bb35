"""What was measured of a model, from its model.json and metrics.json; model page and model card both start here.

Figures are on test patients with 95 % intervals by a bootstrap over patients; what was not recorded is None or empty.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siamese_med.reporting import table_cells
from siamese_med.study.tables import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
class IntervalEstimate:
    """A figure with the ends of its interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MethodPerformance:
    """How well one method told the test patients apart; `figures` has the keys of FIGURE_NAMES."""

    key: str
    name: str
    figures: dict[str, IntervalEstimate]
    best: bool

    @property
    def auc(self) -> IntervalEstimate:
        """The figure by which methods are ranked."""
        return self.figures["auc"]


@dataclass(frozen=True)
class ShortcutFigures:
    """One classifier of the audit: what it sees, how well it tells persons apart, whether that is over the limit.

    `auc` is on what the network is shown, `in_scans` on the aligned scans themselves.
    """

    key: str
    name: str
    auc: IntervalEstimate
    failed: bool
    in_scans: IntervalEstimate

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

    error: IntervalEstimate
    bins: tuple[tuple[float, float, int], ...]
    false_match_rate: IntervalEstimate
    nominal: float | None
    threshold: float | None


@dataclass(frozen=True)
class SimilarityGroup:
    """Similarity of some test pairs of one kind: median, 5th and 95th percentile, share at or over the threshold."""

    name: str
    same: bool
    pairs: int | None
    similarity: IntervalEstimate
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
        patients, scans = self.counts["patients"]["validation"], self.counts["scans"]["validation"]
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


def read_model_figures(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> ModelFigures:
    """`about` is what model.json holds, `metrics` what metrics.json holds; both may come from elsewhere."""
    return ModelFigures(
        methods=tuple(_methods(metrics)),
        audit=_audit(get_json_section(metrics, "audit")),
        calibration=_calibration(about, metrics),
        strata={key: tuple(_groups(get_json_section(metrics, "strata").get(key))) for key in STRATUM_NAMES},
        counts={
            name: {part: table_cells.parse_integer(get_json_section(metrics, name).get(part)) for part in parts}
            for name, parts in COUNT_GROUPS.items()
        },
        seed=table_cells.parse_integer(metrics.get("seed")),
    )


def config_digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of the configuration that a model was made with."""
    return hashlib.sha256(json.dumps(get_json_section(about, "config"), sort_keys=True).encode()).hexdigest()


def get_json_section(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A part of a JSON object that is an object itself; empty for anything else."""
    part = holder.get(key)
    return part if isinstance(part, dict) else {}


def _methods(metrics: Mapping[str, Any]) -> Iterator[MethodPerformance]:
    test = get_json_section(metrics, "test")
    for key, name in METHOD_NAMES.items():
        if figures := get_json_section(test, key):
            measured = {figure: _interval(figures.get(figure)) for figure in FIGURE_NAMES}
            yield MethodPerformance(key, name, measured, metrics.get("best") == key)


def _interval(figure: Any) -> IntervalEstimate:
    if not isinstance(figure, dict):
        return IntervalEstimate(table_cells.parse_number(figure))
    return IntervalEstimate(*(table_cells.parse_number(figure.get(name)) for name in ("value", "low", "high")))


def _audit(recorded: dict[str, Any]) -> AuditResult | None:
    limit, measured = table_cells.parse_number(recorded.get("limit")), get_json_section(recorded, "auc")
    if limit is None or not measured:
        return None
    named = [*(key for key in SHORTCUT_NAMES if key in measured), *sorted(set(measured) - set(SHORTCUT_NAMES))]
    failed = table_cells.parse_words(recorded.get("failed"))
    offered = get_json_section(recorded, "in_scans")
    shortcuts = tuple(
        _shortcut(key, _interval(measured[key]), _interval(offered.get(key)), limit, key in failed) for key in named
    )
    return AuditResult(limit, table_cells.parse_integer(recorded.get("patients")), shortcuts)


def _shortcut(
    key: str, auc: IntervalEstimate, in_scans: IntervalEstimate, limit: float, failed: bool
) -> ShortcutFigures:
    """Over the limit by the record's word or by its figure: neither may hide the other."""
    return ShortcutFigures(key, SHORTCUT_NAMES.get(key, key), auc, failed or (auc.value or 0.0) > limit, in_scans)


def _calibration(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> CalibrationFigures:
    recorded = get_json_section(metrics, "calibration")
    return CalibrationFigures(
        error=_interval(recorded.get("ece")),
        bins=tuple(_bins(recorded.get("bins"))),
        false_match_rate=_interval(metrics.get("false_match_rate_test")),
        nominal=table_cells.parse_number(about.get("false_match_rate")),
        threshold=table_cells.parse_number(about.get("threshold")),
    )


def _bins(recorded: Any) -> Iterator[tuple[float, float, int]]:
    for entry in _objects(recorded):
        predicted, observed = (
            table_cells.parse_number(entry.get("predicted")),
            table_cells.parse_number(entry.get("observed")),
        )
        if predicted is not None and observed is not None:
            yield predicted, observed, table_cells.parse_integer(entry.get("n")) or 0


def _groups(recorded: Any) -> Iterator[SimilarityGroup]:
    for entry in _objects(recorded):
        yield SimilarityGroup(
            name=table_cells.parse_text(entry.get("group")) or "unknown",
            same=entry.get("kind") == "same",
            pairs=table_cells.parse_integer(entry.get("pairs")),
            similarity=IntervalEstimate(
                *(table_cells.parse_number(entry.get(name)) for name in ("median", "low", "high"))
            ),
            accepted=table_cells.parse_number(entry.get("accepted")),
        )


def _objects(recorded: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in recorded if isinstance(entry, dict)) if isinstance(recorded, list) else iter(())
