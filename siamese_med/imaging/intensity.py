"""Scanner units to comparable numbers: air at 0, the middle of the bright tissue at 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

INVERTED_FLAG = str(ScanFlag.INVERTED)
"""The flag of a scan whose stored values run from white to black (MONOCHROME1)."""
MAX_NORMALISED_INTENSITY = 3.0
MAX_SAMPLED_VOXELS = 200_000
COMPRESSION_RANGE = 0.6
"""So far from the middle of a body's brightness, as a share of bright tissue, a difference counts for two fifths."""


def undo_monochrome1(voxels: NDArray[np.float32], flags: Iterable[str]) -> NDArray[np.float32]:
    """The voxels with bright tissue bright: those of an inverted scan are turned over, others returned as they are."""
    return voxels.max() + voxels.min() - voxels if INVERTED_FLAG in flags else voxels


def normalise_intensity(voxels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Shift and scale by robust figures of the valid voxels (any shape), clip to 0..CEILING; invalid voxels become 0.

    Zero is the 1st percentile, one the median of what lies above a fifth of the range: medians, because lesions and
    vessels are few, and a shift, because CT is negative in air.
    """
    import torch

    inside = voxels[valid > 0.5]
    if inside.numel() == 0:
        return torch.zeros_like(voxels)
    inside = inside[:: max(1, inside.numel() // MAX_SAMPLED_VOXELS)]
    low, high = torch.quantile(inside, torch.tensor([0.01, 0.99], device=inside.device))
    bright = inside[inside > low + 0.2 * (high - low)]
    one = bright.median() if bright.numel() else high
    scaled = (voxels - low) / (one - low).clamp(min=1e-6)
    normalised: torch.Tensor = scaled.clamp(0, MAX_NORMALISED_INTENSITY) * (valid > 0.5)
    return normalised


def measure_median_brightness(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> float:
    """Median brightness of two scans of one shape inside the body; 0 of nothing."""
    import torch

    values = torch.cat([a[inside > 0], b[inside > 0]])
    return float(values[:: max(1, values.numel() // MAX_SAMPLED_VOXELS)].median()) if values.numel() else 0.0


def compress_intensity(voxels: torch.Tensor, middle: float) -> torch.Tensor:
    """Brightness about `middle`, from -REACH to REACH, flattening towards both ends.

    Matching two contrasts leaves the rare tissues off: fluid that is as dark as bone in one scan and not in the other,
    an old lesion that is brighter here than there. Tissue that became another crosses the middle's surroundings.
    """
    import torch

    return COMPRESSION_RANGE * torch.tanh((voxels - middle) / COMPRESSION_RANGE)
