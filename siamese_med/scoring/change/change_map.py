"""From the evidence of any change detector to one figure for the pair, and to a map of probabilities.

Evidence is signed, (i, j, k), positive where the later scan is brighter, 0 outside the body and for a scan with itself,
see `pair_registration.ChangeDetector`. Its unit depends on the detector, so it is always compared with the evidence of
unchanged pairs, see `noise_floor`. Steps 3 and 5 of `pair_scoring`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace, RegisteredPair
from siamese_med.study.thresholds import MIN_COMPONENT_ML

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM_EXPONENT = 8.0
"""Exponent of the figure. It is high, so that the strongest places decide, and finite, so that extent counts too.

Source: our choice."""
LEVEL_QUANTILE = 0.95
"""The level of a map is this quantile of its absolute values: what noise, contrast and misalignment leave everywhere.

A detector whose level a large change would raise has an attribute `level_quantile` of its own. Unit: share of the
voxels of the body. Source: our choice."""
TAIL_THRESHOLDS = np.arange(0.0, 30.5, 0.5)
"""Absolute evidence, in the unit of the detector, over which the share of voxels is counted (the tail of a map)."""


@dataclass(frozen=True)
class MapSummary:
    """The figures of one map, before it is compared with the maps of unchanged pairs.

    Attributes
    ----------
    figure
        (sum of |evidence|^NORM_EXPONENT times the voxel's ml)^(1 / NORM_EXPONENT).
    sign
        +1 if the later scan is brighter on the whole, -1 if it is darker, 0 for a scan with itself.
    level
        A quantile of |evidence|, see LEVEL_QUANTILE.
    noise
        Robust standard deviation of the difference of the two scans, in units of bright tissue.
    tail
        Share of the body's voxels with |evidence| over each of TAIL_THRESHOLDS.
    """

    figure: float
    sign: int
    level: float
    noise: float
    tail: NDArray[np.float64]


def summarise_map(evidence: Tensor, pair: RegisteredPair, level_quantile: float = LEVEL_QUANTILE) -> MapSummary:
    """Compute the figure of a pair's map, its sign, and the figures that describe the map where nothing changed.

    Parameters
    ----------
    evidence
        Signed evidence (i, j, k) on the grid of the pair.
    pair
        The scans that it was computed from. Only voxels of `pair.inside` count, for all figures but the first.
    level_quantile
        That of the detector, see `get_level_quantile`.

    Returns
    -------
    MapSummary
        All zeros if the two scans share no voxel of the body.
    """
    strength = evidence[pair.inside].abs()
    if strength.numel() == 0:
        return MapSummary(0.0, 0, 0.0, 0.0, np.zeros(len(TAIL_THRESHOLDS)))
    powers = evidence[pair.inside].double().pow(NORM_EXPONENT - 1).copysign(evidence[pair.inside])
    ordered = np.sort(strength.numpy())
    level = float(np.quantile(ordered, level_quantile))
    noise = 1.4826 * float((pair.b - pair.a)[pair.inside].abs().median())
    return MapSummary(
        compute_q_norm(evidence, pair.space), int(torch.sign(powers.sum())), level, noise, _tail_fractions(ordered)
    )


def get_level_quantile(detector: ChangeDetector) -> float:
    """Return the quantile of a detector's maps that is their level: its `level_quantile`, or LEVEL_QUANTILE."""
    return float(getattr(detector, "level_quantile", LEVEL_QUANTILE))


def compute_q_norm(evidence: Tensor, space: PairSpace) -> float:
    """Compute the figure of a map, or of a part of one: the Lp norm, with p = NORM_EXPONENT and voxels weighted by ml.

    `evidence` is (i, j, k) on the grid of `space`, 0 outside the part.
    """
    return float((evidence.double().abs().pow(NORM_EXPONENT).sum() * space.voxel_ml) ** (1 / NORM_EXPONENT))


def find_candidates(evidence: Tensor, inside: Tensor, changed: Tensor, figure: float) -> Tensor:
    """Find places to look at beside the changed tissue.

    Parameters
    ----------
    evidence
        Signed evidence (i, j, k).
    inside, changed
        Body that both scans show, and changed tissue (i, j, k), bool.
    figure
        A connected part of MIN_COMPONENT_ML counts from this figure on.

    Returns
    -------
    Tensor
        bool (i, j, k). Connected parts that hold changed tissue are left out.
    """
    from scipy.ndimage import label

    level = figure / MIN_COMPONENT_ML ** (1 / NORM_EXPONENT)
    strong = (evidence.abs() >= level) & inside
    labels, count = label((strong | changed).numpy(), structure=np.ones((3, 3, 3)))
    known = np.zeros(count + 1, dtype=bool)
    known[labels[changed.numpy()]] = known[0] = True
    return torch.from_numpy(~known[labels])


def _tail_fractions(ordered: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 - np.searchsorted(ordered, TAIL_THRESHOLDS, side="right") / len(ordered))


def compute_probability_map(
    evidence: Tensor, inside: Tensor, finding: MapSummary, expected: NDArray[np.float64]
) -> Tensor:
    """Compute the change map: per voxel, one minus the false-discovery rate of all voxels with at least its evidence.

    With N(t) the share of voxels that an unchanged pair has over t, and S(t) the share that this pair has::

        P(v) = 1 - min over t <= |e(v)| of min(1, N(t) / S(t))

    Parameters
    ----------
    evidence
        Signed evidence e (i, j, k).
    inside
        Body that both scans show (i, j, k), bool; the map is 0 outside.
    finding
        Its `tail` is S at TAIL_THRESHOLDS.
    expected
        N at TAIL_THRESHOLDS, see `noise_floor.NoChangeReference.expected_tail`.

    Returns
    -------
    Tensor
        P (i, j, k), float32, 0 to 1; linear between two thresholds.

    References
    ----------
    Benjamini and Hochberg, J R Stat Soc B, 1995. Efron, Large-Scale Inference, 2010, for the empirical version.
    """
    rate = np.minimum.accumulate(np.minimum(1.0, (expected + 1e-7) / (finding.tail + 1e-7)))
    values = np.interp(evidence.abs().numpy(), TAIL_THRESHOLDS, 1 - rate)
    return torch.from_numpy(values.astype(np.float32)) * inside
