"""What was measured of a model, from its model.json and metrics.json; model page and model card both start here.

Figures are on test patients with 95 % intervals by a bootstrap over patients; what was not recorded is None or empty.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siamese_med import cells
from siamese_med.records import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHODS = {
    "network": "Siamese network",
    "ncc": "Correlation (NCC)",
    "ncc_highpass": "High-pass correlation",
    "mutual_information": "Mutual information",
    "ssim": "Structural similarity",
}
"""The network, then the baselines, which learn nothing."""

FIGURES = {
    "auc": "AUC",
    "eer": "Equal error rate",
    "tar_at_far_1pct": "Recognised at 1 % false matches",
    "tar_at_far_01pct": "Recognised at 0.1 % false matches",
    "rank1": "First rank",
}
"""What is measured of each method."""

SHORTCUTS = {
    "header": "the header",
    "background": "the background",
    "outline": "the outline of the body",
    "histogram": "the intensity histogram",
    "thumbnail": "the image at 8 × 8 × 8",
}
"""What the classifiers of the confound audit see of a scan."""

STRATA = {"interval": "Time between the scans", "scanner": "Scanner", "contrast": "Contrast"}
"""By what the test pairs are told apart."""

COUNTED = {
    "patients": SPLITS,
    "scans": SPLITS,
    "measured": ("patients", "scans"),  # on so many of the test patients
    "pairs_test": ("same", "different"),
}
"""Groups of metrics.json, and the parts that each is counted in."""


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Method:
    """How well one method told the test patients apart; `figures` has the keys of FIGURES."""

    key: str
    name: str
    figures: dict[str, Interval]
    best: bool

    @property
    def auc(self) -> Interval:
        """The figure by which methods are ranked."""
        return self.figures["auc"]


@dataclass(frozen=True)
class Shortcut:
    """One classifier of the audit: what it sees, how well it tells persons apart, whether that is over the limit.

    `auc` is on what the network is shown, `in_scans` on the aligned scans themselves.
    """

    key: str
    name: str
    auc: Interval
    failed: bool
    in_scans: Interval

    @property
    def outcome(self) -> str:
        """In words."""
        if self.auc.value is None:
            return "nothing to look at"
        return "over the limit" if self.failed else "within the limit"


@dataclass(frozen=True)
class Audit:
    """The confound audit on `patients` test patients."""

    limit: float
    patients: int | None
    shortcuts: tuple[Shortcut, ...]

    @property
    def measured(self) -> tuple[Shortcut, ...]:
        """The shortcuts that had something to look at."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.auc.value is not None)

    @property
    def failed(self) -> tuple[Shortcut, ...]:
        """The shortcuts over the limit."""
        return tuple(shortcut for shortcut in self.shortcuts if shortcut.failed)


@dataclass(frozen=True)
class Calibration:
    """Whether the similarity is a probability that is right; a bin is (predicted, observed, pairs)."""

    error: Interval
    bins: tuple[tuple[float, float, int], ...]
    false_match_rate: Interval
    nominal: float | None
    threshold: float | None


@dataclass(frozen=True)
class Group:
    """Similarity of some test pairs of one kind: median, 5th and 95th percentile, share at or over the threshold."""

    name: str
    same: bool
    pairs: int | None
    similarity: Interval
    accepted: float | None


@dataclass(frozen=True)
class Appraisal:
    """Everything that was measured of one model; `strata` has the keys of STRATA."""

    methods: tuple[Method, ...]
    audit: Audit | None
    calibration: Calibration
    strata: dict[str, tuple[Group, ...]]
    counts: dict[str, dict[str, int | None]]
    seed: int | None

    @property
    def network(self) -> Method | None:
        """The network's own row."""
        return next((method for method in self.methods if method.key == "network"), None)

    @property
    def comparisons(self) -> int | None:
        """How often a validation scan was held against another patient: what evidence of identity rests on."""
        patients, scans = self.counts["patients"]["validation"], self.counts["scans"]["validation"]
        return None if patients is None or scans is None else scans * (patients - 1)

    @property
    def best(self) -> Method | None:
        """The method with the highest AUC, which may be the network."""
        return next((method for method in self.methods if method.best), None)

    @property
    def best_baseline(self) -> Method | None:
        """The baseline with the highest AUC."""
        baselines = (method for method in self.methods if method.key != "network")
        return max(baselines, key=lambda method: method.auc.value or 0.0, default=None)


def read(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> Appraisal:
    """`about` is what model.json holds, `metrics` what metrics.json holds; both may come from elsewhere."""
    return Appraisal(
        methods=tuple(_methods(metrics)),
        audit=_audit(section(metrics, "audit")),
        calibration=_calibration(about, metrics),
        strata={key: tuple(_groups(section(metrics, "strata").get(key))) for key in STRATA},
        counts={
            name: {part: cells.whole(section(metrics, name).get(part)) for part in parts}
            for name, parts in COUNTED.items()
        },
        seed=cells.whole(metrics.get("seed")),
    )


def config_digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of the configuration that a model was made with."""
    return hashlib.sha256(json.dumps(section(about, "config"), sort_keys=True).encode()).hexdigest()


def section(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A part of a JSON object that is an object itself; empty for anything else."""
    part = holder.get(key)
    return part if isinstance(part, dict) else {}


def _methods(metrics: Mapping[str, Any]) -> Iterator[Method]:
    test = section(metrics, "test")
    for key, name in METHODS.items():
        if figures := section(test, key):
            measured = {figure: _interval(figures.get(figure)) for figure in FIGURES}
            yield Method(key, name, measured, metrics.get("best") == key)


def _interval(figure: Any) -> Interval:
    if not isinstance(figure, dict):
        return Interval(cells.number(figure))
    return Interval(*(cells.number(figure.get(name)) for name in ("value", "low", "high")))


def _audit(recorded: dict[str, Any]) -> Audit | None:
    limit, measured = cells.number(recorded.get("limit")), section(recorded, "auc")
    if limit is None or not measured:
        return None
    named = [*(key for key in SHORTCUTS if key in measured), *sorted(set(measured) - set(SHORTCUTS))]
    failed = cells.words(recorded.get("failed"))
    offered = section(recorded, "in_scans")
    shortcuts = tuple(
        _shortcut(key, _interval(measured[key]), _interval(offered.get(key)), limit, key in failed) for key in named
    )
    return Audit(limit, cells.whole(recorded.get("patients")), shortcuts)


def _shortcut(key: str, auc: Interval, in_scans: Interval, limit: float, failed: bool) -> Shortcut:
    """Over the limit by the record's word or by its figure: neither may hide the other."""
    return Shortcut(key, SHORTCUTS.get(key, key), auc, failed or (auc.value or 0.0) > limit, in_scans)


def _calibration(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> Calibration:
    recorded = section(metrics, "calibration")
    return Calibration(
        error=_interval(recorded.get("ece")),
        bins=tuple(_bins(recorded.get("bins"))),
        false_match_rate=_interval(metrics.get("false_match_rate_test")),
        nominal=cells.number(about.get("false_match_rate")),
        threshold=cells.number(about.get("threshold")),
    )


def _bins(recorded: Any) -> Iterator[tuple[float, float, int]]:
    for entry in _objects(recorded):
        predicted, observed = cells.number(entry.get("predicted")), cells.number(entry.get("observed"))
        if predicted is not None and observed is not None:
            yield predicted, observed, cells.whole(entry.get("n")) or 0


def _groups(recorded: Any) -> Iterator[Group]:
    for entry in _objects(recorded):
        yield Group(
            name=cells.text(entry.get("group")) or "unknown",
            same=entry.get("kind") == "same",
            pairs=cells.whole(entry.get("pairs")),
            similarity=Interval(*(cells.number(entry.get(name)) for name in ("median", "low", "high"))),
            accepted=cells.number(entry.get("accepted")),
        )


def _objects(recorded: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in recorded if isinstance(entry, dict)) if isinstance(recorded, list) else iter(())
