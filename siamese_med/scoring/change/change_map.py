"""One figure of change for a pair, whatever detector drew its map, and where in the map the change is.

A map is signed evidence (i, j, k), positive where the later scan is brighter, 0 outside the body and for a scan with
itself; see `overlay.Detector`. What its figure means is told by pairs that did not change: see `floor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM_EXPONENT = 8.0
"""Exponent of the figure: it grows with a change's extent, and the strongest places decide."""
LEVEL_QUANTILE = 0.95
"""The map's own level is this quantile of its absolute values: what noise, contrast and alignment leave everywhere."""
TAIL_THRESHOLDS = np.arange(0.0, 30.5, 0.5)
"""Evidence, in units of what the pair's level lets expect, at which the share of stronger voxels is kept."""


@dataclass(frozen=True)
class MapSummary:
    """What is measured of one map before it is held against a reference.

    figure: (sum |evidence|^Q ml)^(1/Q); sign: +1 brighter, -1 darker on the whole; level: see QUIET; noise: median
    difference of the two scans in units of bright tissue; tail: share of voxels over each of TAIL.
    """

    figure: float
    sign: int
    level: float
    noise: float
    tail: NDArray[np.float64]


def summarise_map(evidence: Tensor, pair: RegisteredPair, space: PairSpace) -> MapSummary:
    """The figure of a pair's map, its sign, and how the map looks where nothing happened."""
    strength = evidence[pair.inside].abs()
    if strength.numel() == 0:
        return MapSummary(0.0, 0, 0.0, 0.0, np.zeros(len(TAIL_THRESHOLDS)))
    powers = evidence[pair.inside].double().pow(NORM_EXPONENT - 1).copysign(evidence[pair.inside])
    ordered = np.sort(strength.numpy())
    level = float(np.quantile(ordered, LEVEL_QUANTILE))
    noise = 1.4826 * float((pair.b - pair.a)[pair.inside].abs().median())
    return MapSummary(
        compute_q_norm(evidence, space), int(torch.sign(powers.sum())), level, noise, _tail_fractions(ordered)
    )


def compute_q_norm(evidence: Tensor, space: PairSpace) -> float:
    """The Q-norm of a map, or of a part of one."""
    return float((evidence.double().abs().pow(NORM_EXPONENT).sum() * space.voxel_ml) ** (1 / NORM_EXPONENT))


def _tail_fractions(ordered: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 - np.searchsorted(ordered, TAIL_THRESHOLDS, side="right") / len(ordered))


def compute_probability_map(
    evidence: Tensor, inside: Tensor, finding: MapSummary, expected: NDArray[np.float64]
) -> Tensor:
    """Per voxel, the share of so strong voxels that a rescan would not have given: one minus the false-discovery rate.

    `expected`: the share of voxels that pairs without change have over each of TAIL.
    """
    rate = np.minimum.accumulate(np.minimum(1.0, (expected + 1e-7) / (finding.tail + 1e-7)))
    values = np.interp(evidence.abs().numpy(), TAIL_THRESHOLDS, 1 - rate)
    return torch.from_numpy(values.astype(np.float32)) * inside
