"""What differs between the two scans of a pair beyond noise and misalignment: the measure that needs no training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from siamese_med.resampling import smooth
from siamese_med.scoring.overlay import Overlay

MISALIGNMENT_MM = 1.0
"""A residual that so small a shift explains is no change; it covers alignment and what thick slices do to edges."""


@dataclass(frozen=True)
class Residual:
    """Later - earlier, smoothed, and the same in units of the pair's own noise; (i, j, k)."""

    difference: Tensor
    deviation: Tensor
    noise: float
    scale: float


def measure(pair: Overlay, spacing_mm: float, smoothing_mm: float) -> Residual:
    """Divide what is left between the two by what noise and misalignment explain; nothing for a scan with itself."""
    sigma = smoothing_mm / spacing_mm
    difference = smooth((pair.b - pair.a)[None, None] * pair.inside, sigma)[0, 0] * pair.inside
    slope = _gradient(smooth(((pair.a + pair.b) / 2)[None, None], sigma)[0, 0]) / spacing_mm
    inner = difference[pair.inside]
    noise = 1.4826 * float((inner - inner.median()).abs().median()) if inner.numel() else 0.0
    allowed = (max(noise, 1e-4) ** 2 + (MISALIGNMENT_MM * slope) ** 2).sqrt()
    scale = float(allowed[pair.inside].median()) if inner.numel() else 1.0
    return Residual(difference, difference / allowed, noise, scale)


def _gradient(volume: Tensor) -> Tensor:
    """Length of the gradient, per voxel."""
    parts = torch.gradient(volume)
    return torch.stack([part.square() for part in parts]).sum(0).sqrt()
