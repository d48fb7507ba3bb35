"""One figure of change for a pair, and what it means against pairs that did not change.

The figure is the mean deviation of the most deviant EXTENT_ML of tissue. Its logarithm is read against no-change pairs
with Student's t for a new observation, so that few reference pairs give cautious p values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from siamese_med.resampling import smooth
from siamese_med.scoring.overlay import BIAS_MM, PairSpace
from siamese_med.scoring.residual import Residual

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENT_ML = 0.3
POWER = 0.8
TYPICAL_CONTRAST = 0.3
"""The smallest detectable change is stated for tissue that turns 30 % brighter or darker."""
TAIL = np.arange(0.0, 30.5, 0.5)
"""Deviations at which the share of more deviant voxels in no-change pairs is kept."""
LARGEST_ML = 20.0
"""A ball larger than this is not asked for."""
MAP_THRESHOLD = 0.95
"""Probability from which a voxel of the map counts as changed tissue."""
NOISIER = 2.0
"""A pair with more than this many times the noise of the noisiest reference pair is outside the reference."""


@dataclass(frozen=True)
class Finding:
    """What is measured of one pair before it is compared with a reference."""

    figure: float
    sign: int
    noise: float
    scale: float
    tail: NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """What pairs without change look like; `tail` is the mean share of voxels beyond each deviation of TAIL."""

    source: str
    values: list[float]
    tail: list[float]
    noise_max: float

    @property
    def mean(self) -> float:
        """Mean of the log figures."""
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        """Standard deviation of the log figures."""
        return float(np.std(self.values, ddof=1))

    def z(self, figure: float) -> float:
        """Standard deviations above the mean of the no-change pairs; 0 for a scan with itself, whose figure is 0."""
        if figure == 0:
            return 0.0
        return (math.log(max(figure, math.exp(self.mean - 3 * self.sd))) - self.mean) / self.sd

    def p(self, figure: float) -> float:
        """Chance that a further no-change pair reaches this figure (predictive t, n - 1 degrees of freedom)."""
        from scipy.stats import t

        if figure == 0:
            return 1.0
        n = len(self.values)
        return float(t.sf(self.z(figure) / math.sqrt(1 + 1 / n), n - 1))

    def critical_figure(self, significance: float) -> float:
        """The figure whose p equals `significance`."""
        from scipy.stats import t

        n = len(self.values)
        return math.exp(self.mean + self.sd * math.sqrt(1 + 1 / n) * float(t.isf(significance, n - 1)))

    def as_json(self) -> dict[str, Any]:
        """For the model's description."""
        return {
            "source": self.source,
            "n": len(self.values),
            "mean": self.mean,
            "sd": self.sd,
            "values": self.values,
            "tail": self.tail,
            "noise_max": self.noise_max,
        }


def reference(findings: Sequence[Finding], source: str) -> Reference:
    """The distribution of pairs known not to have changed; at least three are needed for a spread."""
    values = [math.log(max(finding.figure, 1e-6)) for finding in findings]
    tail = np.mean([finding.tail for finding in findings], axis=0)
    return Reference(source, values, tail.tolist(), max(finding.noise for finding in findings))


def from_json(stored: dict[str, Any]) -> Reference:
    """The reference of a model's description."""
    return Reference(stored["source"], stored["values"], stored["tail"], stored["noise_max"])


def find(residual: Residual, inside: Tensor, space: PairSpace) -> Finding:
    """The pair's figure, its sign (+1 brighter in the later scan), and how its voxels are spread."""
    deviation = residual.deviation[inside]
    if deviation.numel() == 0:
        return Finding(0.0, 0, residual.noise, residual.scale, np.zeros(len(TAIL)))
    count = min(deviation.numel(), max(1, round(EXTENT_ML / space.voxel_ml)))
    strongest, where = deviation.abs().topk(count)
    sign = int(torch.sign(deviation[where].sum()))
    ordered = np.sort(deviation.abs().numpy())
    tail = 1 - np.searchsorted(ordered, TAIL, side="right") / len(ordered)
    return Finding(float(strongest.mean()), sign, residual.noise, residual.scale, tail)


def probability_map(residual: Residual, inside: Tensor, finding: Finding, known: Reference) -> Tensor:
    """Per voxel, the share of so deviant voxels that a rescan would not have given.

    One minus the tail's false-discovery rate, the reference being the null.
    """
    expected = np.asarray(known.tail) + 1e-7
    found = finding.tail + 1e-7
    rate = np.minimum.accumulate(np.minimum(1.0, expected / found))
    values = np.interp(residual.deviation.abs().numpy(), TAIL, 1 - rate)
    return torch.from_numpy(values.astype(np.float32)) * inside


def changed_ml(probability: Tensor, space: PairSpace) -> float:
    """Volume of the voxels of the map above MAP_THRESHOLD."""
    return int((probability >= MAP_THRESHOLD).sum()) * space.voxel_ml


def smallest_detectable_ml(
    finding: Finding, known: Reference, space: PairSpace, smoothing_mm: float, significance: float
) -> float | None:
    """Volume of the smallest ball of TYPICAL_CONTRAST that this pair's noise would have shown with 80 % power, or None.

    The ball is blurred as the residual is, loses what bias correction takes, and is divided by the pair's own scale;
    its figure has to exceed the critical one by 0.84 standard deviations of the reference. None: the pair is too noisy
    for any ball up to LARGEST_ML.
    """
    from scipy.stats import norm

    goal = math.log(known.critical_figure(significance)) + float(norm.ppf(POWER)) * known.sd
    for volume_ml, figure in _ball_figures(space.spacing_mm, smoothing_mm):
        if math.log(max(figure / finding.scale, 1e-6)) >= goal:
            return volume_ml
    return None


@lru_cache(maxsize=4)
def _ball_figures(spacing_mm: float, smoothing_mm: float) -> tuple[tuple[float, float], ...]:
    """Volume (ml) of a ball of TYPICAL_CONTRAST and its figure before the division by noise, for growing balls."""
    volumes = np.geomspace(0.02, LARGEST_ML, 25)
    return tuple((float(volume), _ball_figure(float(volume), spacing_mm, smoothing_mm)) for volume in volumes)


def _ball_figure(volume_ml: float, spacing_mm: float, smoothing_mm: float) -> float:
    radius = (3 * volume_ml / (4 * math.pi)) ** (1 / 3) * 10 / spacing_mm
    sigma, bias = smoothing_mm / spacing_mm, BIAS_MM / spacing_mm
    reach = int(radius + 2 * bias) + 1
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    ball = (radius + 0.5 - distance).clamp(0, 1)[None, None]
    left = (smooth(ball, sigma) - smooth(ball, bias)).flatten() * TYPICAL_CONTRAST
    count = min(left.numel(), max(1, round(EXTENT_ML * 1000 / spacing_mm**3)))
    return float(left.topk(count).values.mean())
