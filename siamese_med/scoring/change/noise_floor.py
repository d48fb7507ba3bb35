"""The noise floor: what pairs without change look like, and how often such a pair would look like this one.

Kept apart by contrast and by same or other scanner. The logarithm of a figure is read against the line that the
no-change pairs of its stratum make over their own levels (`change.QUIET`), with Student's t for one more observation:
a pair that is noisier or worse aligned everywhere must show a larger figure, few reference pairs give cautious p
values, and so does a pair unlike them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS, MapSummary
from siamese_med.study.model_info import ModelInfo, RecordedNoiseFloor, RecordedStratum
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAME_SCANNER, OTHER_SCANNER = "same scanner", "other scanner"
MIN_FIGURE = 1e-6
"""A figure or a level of nothing at all, where a logarithm is wanted."""
MIN_LOG_SD = 1e-3
"""Pairs that show nothing at all do not spread; nothing is to be divided by that."""
PRIOR_SLOPE, PRIOR_LEVELS_SD = 0.7, 0.15
"""How figures grow with levels, both as logarithms, where many machines met, and how far levels spread there. A
reference whose own levels hardly differ cannot tell the slope: its own is a ridge regression's about this prior."""


@dataclass(frozen=True)
class NoiseStratum:
    """Pairs that are alike in what moves a map although nothing changes."""

    contrast: str
    scanner: str

    @property
    def words(self) -> str:
        """For a page."""
        return f"{self.contrast}, {self.scanner}"


def assign_stratum(modality: str, contrasts: tuple[str, str], scanners: tuple[str, str]) -> NoiseStratum:
    """Where a pair belongs; a scanner nobody knows is another one, a contrast nobody knows is the other scan's."""
    known = sorted(set(contrasts) - {UNKNOWN})
    alike = scanners[0] == scanners[1] != UNKNOWN
    return NoiseStratum(f"{modality} {' and '.join(known) or UNKNOWN}", SAME_SCANNER if alike else OTHER_SCANNER)


@dataclass(frozen=True)
class NoChangeReference:
    """The no-change pairs of one stratum: logarithms of their figures and levels, and how their maps are spread.

    source: rescans or synthesised; tail: mean share of voxels over each of TAIL; noise_max: of the noisiest pair;
    beyond: standard deviation of the log figures for what these pairs do not show, added in quadrature.
    """

    source: str
    figures: list[float]
    levels: list[float]
    tail: list[float]
    noise_max: float
    beyond: float

    @cached_property
    def slope(self) -> float:
        """How much a figure grows with its pair's level, both as logarithms: from nothing to in proportion."""
        figures, levels = (np.asarray(values) - np.mean(values) for values in (self.figures, self.levels))
        prior = PRIOR_SLOPE * len(self.levels) * PRIOR_LEVELS_SD**2
        return float(np.clip(((figures * levels).sum() + prior) / self._weight, 0.0, 1.0))

    @cached_property
    def sd(self) -> float:
        """Standard deviation of the log figures about their line."""
        away = np.asarray(self.figures) - self.slope * np.asarray(self.levels)
        own = max(MIN_LOG_SD, math.sqrt(((away - away.mean()) ** 2).sum() / self._freedom))
        return math.hypot(own, self.beyond)

    @property
    def _freedom(self) -> int:
        return max(len(self.figures) - 2, 1)

    @cached_property
    def _weight(self) -> float:
        """What the slope is known from: the spread of the levels, and the prior."""
        return float(len(self.levels) * (np.var(self.levels) + PRIOR_LEVELS_SD**2))

    def expected(self, finding: MapSummary) -> float:
        """Log figure of a pair without change that has this pair's level."""
        return float(np.mean(self.figures)) + self.slope * (_log(finding.level) - float(np.mean(self.levels)))

    def z(self, finding: MapSummary) -> float:
        """Standard deviations above the pairs without change; 0 for a scan with itself, whose figure is 0."""
        if finding.figure == 0:
            return 0.0
        return max(_log(finding.figure) - self.expected(finding), -3 * self.sd) / self.sd

    def p(self, finding: MapSummary, figure: float | None = None) -> float:
        """Chance that a further no-change pair of this level reaches the figure, or another `figure`."""
        from scipy.stats import t

        reached = finding.figure if figure is None else figure
        if reached == 0:
            return 1.0
        above = (_log(reached) - self.expected(finding)) / (self.sd * self._widening(finding))
        return float(t.sf(above, self._freedom))

    def reach(self, significance: float) -> float:
        """The z from which on p is below `significance`, for a pair of an average level."""
        from scipy.stats import t

        return float(t.isf(significance, self._freedom)) * math.sqrt(1 + 1 / len(self.figures))

    def _widening(self, finding: MapSummary) -> float:
        """Of one more observation: the line itself is known from n pairs only, and less well away from their levels."""
        away = (_log(finding.level) - float(np.mean(self.levels))) ** 2 / self._weight
        return math.sqrt(1 + 1 / len(self.figures) + away)

    def expected_tail(self, finding: MapSummary) -> NDArray[np.float64]:
        """Share of voxels over each of TAIL that a pair without change would have at this pair's level."""
        wider = math.exp(self.slope * (_log(finding.level) - float(np.mean(self.levels))))
        return np.asarray(np.interp(TAIL_THRESHOLDS / wider, TAIL_THRESHOLDS, np.asarray(self.tail)))

    @property
    def residuals(self) -> list[float]:
        """z of the reference's own pairs."""
        centre = np.mean(np.asarray(self.figures) - self.slope * np.asarray(self.levels))
        pairs = zip(self.figures, self.levels, strict=True)
        return [float((figure - self.slope * level - centre) / self.sd) for figure, level in pairs]


@dataclass(frozen=True)
class NoiseFloor:
    """The references of a model, by stratum."""

    references: Mapping[NoiseStratum, NoChangeReference]

    def of(self, where: NoiseStratum) -> NoChangeReference | None:
        """The reference of a stratum; None where the model has seen no such pairs."""
        return self.references.get(where)

    def to_record(self) -> RecordedNoiseFloor:
        """Return the floor as a model records it; z of the pairs, slope, sd and n are there for readers."""
        ordered = sorted(self.references.items(), key=lambda item: item[0].words)
        return RecordedNoiseFloor(strata=tuple(_to_record(where, one) for where, one in ordered))


def _to_record(where: NoiseStratum, one: NoChangeReference) -> RecordedStratum:
    return RecordedStratum(
        contrast=where.contrast,
        scanner=where.scanner,
        source=one.source,
        figures=tuple(one.figures),
        levels=tuple(one.levels),
        tail=tuple(one.tail),
        noise_max=one.noise_max,
        beyond=one.beyond,
        n=len(one.figures),
        slope=one.slope,
        sd=one.sd,
        z=tuple(one.residuals),
    )


def build_no_change_reference(findings: Sequence[MapSummary], source: str, beyond: float = 0.0) -> NoChangeReference:
    """The reference of pairs known not to have changed; at least three are needed for a spread."""
    return NoChangeReference(
        source,
        [_log(finding.figure) for finding in findings],
        [_log(finding.level) for finding in findings],
        np.mean([finding.tail for finding in findings], axis=0).tolist(),
        max(finding.noise for finding in findings),
        beyond,
    )


def make_floors(info: ModelInfo) -> tuple[NoiseFloor, NoiseFloor]:
    """Return the noise floors of a model: of its change detector, and of local growth."""
    return from_record(info.change_reference), from_record(info.growth_reference)


def from_record(recorded: RecordedNoiseFloor) -> NoiseFloor:
    """Return the noise floor that a model recorded."""
    return NoiseFloor(
        {
            NoiseStratum(one.contrast, one.scanner): NoChangeReference(
                one.source, list(one.figures), list(one.levels), list(one.tail), one.noise_max, one.beyond
            )
            for one in recorded.strata
        }
    )


def _log(value: float) -> float:
    return math.log(max(value, MIN_FIGURE))
