"""The noise floor: figures of unchanged pairs, and how often such a pair would reach the figure of a given pair.

Unchanged pairs are grouped into strata by modality, contrast, and same or other scanner. Within a stratum, log figures
F_i are regressed on log levels L_i (`change_map.LEVEL_QUANTILE`), and a pair with figure F and level L is compared with
the regression line::

    expected = mean log F_i + slope (log L - mean log L_i)
    z = (log F - expected) / sd
    p = P(T > z / sqrt(1 + 1/n + leverage)),  T: Student's t with n - 2 degrees of freedom

So a pair that is noisier or worse registered everywhere needs a larger figure to be called changed, and p is cautious
if there are few unchanged pairs or if none has a level like this pair's. This is the prediction interval of a
regression (Draper and Smith, Applied Regression Analysis), with a ridge penalty on the slope.
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
"""Lower limit of figures and levels before their logarithm is taken. Unit: that of the detector's evidence."""
MIN_LOG_SD = 1e-3
"""Lower limit of the standard deviation of log figures; it avoids a division by zero if all are equal."""
PRIOR_SLOPE, PRIOR_LEVELS_SD = 0.7, 0.15
"""Prior of the slope of log figures on log levels, and the standard deviation of log levels that gives it its weight.

A stratum whose levels hardly differ does not determine a slope, so the slope is that of a ridge regression towards this
prior. Source: pairs from many scanners, see docs/design.md."""


@dataclass(frozen=True)
class NoiseStratum:
    """A group of pairs whose maps are comparable if nothing changed.

    Attributes
    ----------
    contrast
        Modality and contrast, such as `MR FLAIR`, or both contrasts, such as `MR FLAIR and T1w`.
    scanner
        SAME_SCANNER or OTHER_SCANNER.
    """

    contrast: str
    scanner: str

    @property
    def words(self) -> str:
        """The stratum as text, such as `MR FLAIR, same scanner`."""
        return f"{self.contrast}, {self.scanner}"


def assign_stratum(modality: str, contrasts: tuple[str, str], scanners: tuple[str, str]) -> NoiseStratum:
    """Assign two scans to a stratum.

    An unknown scanner counts as another scanner, and an unknown contrast as the contrast of the other scan.

    Examples
    --------
    >>> assign_stratum("MR", ("FLAIR", "unknown"), ("Skyra", "Skyra")).words
    'MR FLAIR, same scanner'
    >>> assign_stratum("MR", ("FLAIR", "FLAIR"), ("unknown", "unknown")).words
    'MR FLAIR, other scanner'
    """
    known = sorted(set(contrasts) - {UNKNOWN})
    alike = scanners[0] == scanners[1] != UNKNOWN
    return NoiseStratum(f"{modality} {' and '.join(known) or UNKNOWN}", SAME_SCANNER if alike else OTHER_SCANNER)


@dataclass(frozen=True)
class NoChangeReference:
    """The unchanged pairs of one stratum, and the regression of their figures. All logarithms are natural.

    Attributes
    ----------
    source
        `rescans` or `synthesised`, see `vocabulary.NullSource`.
    figures, levels
        Logarithms of the figure and the level of each pair.
    tail
        Mean share of voxels with |evidence| over each of TAIL_THRESHOLDS.
    noise_max
        Noise of the noisiest pair, see `MapSummary.noise`.
    beyond
        Standard deviation of log figures that these pairs do not show but others would; added in quadrature.
    """

    source: str
    figures: list[float]
    levels: list[float]
    tail: list[float]
    noise_max: float
    beyond: float

    @cached_property
    def slope(self) -> float:
        """Slope of log figures on log levels, by ridge regression towards PRIOR_SLOPE, within 0 to 1."""
        figures, levels = (np.asarray(values) - np.mean(values) for values in (self.figures, self.levels))
        prior = PRIOR_SLOPE * len(self.levels) * PRIOR_LEVELS_SD**2
        return float(np.clip(((figures * levels).sum() + prior) / self._weight, 0.0, 1.0))

    @cached_property
    def sd(self) -> float:
        """Standard deviation of the log figures about the regression line, with `beyond`."""
        away = np.asarray(self.figures) - self.slope * np.asarray(self.levels)
        own = max(MIN_LOG_SD, math.sqrt(((away - away.mean()) ** 2).sum() / self._freedom))
        return math.hypot(own, self.beyond)

    @property
    def _freedom(self) -> int:
        return max(len(self.figures) - 2, 1)

    @cached_property
    def _weight(self) -> float:
        """Sum of squares that the slope rests on: that of the log levels, and that of the prior."""
        return float(len(self.levels) * (np.var(self.levels) + PRIOR_LEVELS_SD**2))

    def expected(self, finding: MapSummary) -> float:
        """Predict the log figure of an unchanged pair with this pair's level."""
        return float(np.mean(self.figures)) + self.slope * (_log(finding.level) - float(np.mean(self.levels)))

    def z(self, finding: MapSummary) -> float:
        """Compute z: standard deviations above the unchanged pairs, at least -3; 0 for a scan with itself."""
        if finding.figure == 0:
            return 0.0
        return max(_log(finding.figure) - self.expected(finding), -3 * self.sd) / self.sd

    def p(self, finding: MapSummary, figure: float | None = None) -> float:
        """Compute the probability that another unchanged pair of this level reaches the figure, or another `figure`.

        One-sided, from Student's t; 1 for a figure of 0.
        """
        from scipy.stats import t

        reached = finding.figure if figure is None else figure
        if reached == 0:
            return 1.0
        above = (_log(reached) - self.expected(finding)) / (self.sd * self._widening(finding))
        return float(t.sf(above, self._freedom))

    def find_figure(self, finding: MapSummary, p: float) -> float:
        """Find the figure that another unchanged pair of this level reaches with this probability."""
        from scipy.stats import t

        above = float(t.isf(p, self._freedom)) * self.sd * self._widening(finding)
        return math.exp(self.expected(finding) + above)

    def _widening(self, finding: MapSummary) -> float:
        """Factor of the standard deviation for a new observation: sqrt(1 + 1/n + leverage of the pair's log level)."""
        away = (_log(finding.level) - float(np.mean(self.levels))) ** 2 / self._weight
        return math.sqrt(1 + 1 / len(self.figures) + away)

    def expected_tail(self, finding: MapSummary) -> NDArray[np.float64]:
        """Predict the tail of an unchanged pair with this pair's level: share of voxels over each of TAIL_THRESHOLDS.

        The mean tail of the stratum, with its thresholds scaled by exp(slope (log L - mean log L_i)).
        """
        wider = math.exp(self.slope * (_log(finding.level) - float(np.mean(self.levels))))
        return np.asarray(np.interp(TAIL_THRESHOLDS / wider, TAIL_THRESHOLDS, np.asarray(self.tail)))

    @property
    def residuals(self) -> list[float]:
        """The z of the unchanged pairs themselves, about their own regression line."""
        centre = np.mean(np.asarray(self.figures) - self.slope * np.asarray(self.levels))
        pairs = zip(self.figures, self.levels, strict=True)
        return [float((figure - self.slope * level - centre) / self.sd) for figure, level in pairs]


@dataclass(frozen=True)
class NoiseFloor:
    """The unchanged pairs of a model, by stratum: one floor per detector, and one for local growth."""

    references: Mapping[NoiseStratum, NoChangeReference]

    def of(self, where: NoiseStratum) -> NoChangeReference | None:
        """Return the unchanged pairs of a stratum; None if the model was calibrated on no such pairs."""
        return self.references.get(where)

    def to_record(self) -> RecordedNoiseFloor:
        """Convert the floor to the form in model.json. There, n, slope, sd and z are for readers: they are derived."""
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
    """Build the reference of a stratum from the maps of pairs that are known to be unchanged.

    Parameters
    ----------
    findings
        One per pair. At least three are needed for a degree of freedom beside the regression line.
    source
        Where the pairs come from: `rescans` or `synthesised`.
    beyond
        Standard deviation of log figures to add in quadrature, for variation that these pairs do not show.
    """
    return NoChangeReference(
        source,
        [_log(finding.figure) for finding in findings],
        [_log(finding.level) for finding in findings],
        np.mean([finding.tail for finding in findings], axis=0).tolist(),
        max(finding.noise for finding in findings),
        beyond,
    )


def make_floors(info: ModelInfo) -> tuple[NoiseFloor, NoiseFloor]:
    """Make the two noise floors of a model from its description: that of its change detector, and that of growth."""
    return from_record(info.change_reference), from_record(info.growth_reference)


def from_record(recorded: RecordedNoiseFloor) -> NoiseFloor:
    """Make a noise floor from the form in model.json, see `NoiseFloor.to_record`."""
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
