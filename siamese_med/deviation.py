"""What differs between two scans, in units of what noise and misalignment explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.resampling import smooth

if TYPE_CHECKING:
    from torch import Tensor

MISALIGNMENT_VOXELS = 0.67
"""What so small a shift explains is no change; it covers alignment and what thick slices do to edges."""
LEAST_NOISE = 1e-4
CONSISTENT = 1.4826
"""From the median absolute deviation to the standard deviation of normal noise."""


def deviation(earlier: Tensor, later: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Later - earlier of scans (b, 1, i, j, k), smoothed by `sigma` voxels, in units of each pair's own noise.

    Exactly zero for equal scans and the negative for swapped ones. `inside`: 0 or 1, the same shape.
    """
    import torch

    difference = smooth((later - earlier) * inside, sigma) * inside
    slope = _gradient(smooth((earlier + later) / 2, sigma))
    noise = torch.stack([_spread(one[mask > 0]) for one, mask in zip(difference, inside, strict=True)])
    allowed = (noise.view(-1, 1, 1, 1, 1).clamp(min=LEAST_NOISE) ** 2 + (MISALIGNMENT_VOXELS * slope) ** 2).sqrt()
    return difference / allowed


def _spread(values: Tensor) -> Tensor:
    """Standard deviation without the outliers; the median is left in, so that swapping changes nothing but signs."""
    return CONSISTENT * values.abs().median() if values.numel() else values.new_zeros(())


def _gradient(volumes: Tensor) -> Tensor:
    """Length of the gradient per voxel of volumes (b, 1, i, j, k)."""
    import torch

    return torch.stack([part.square() for part in torch.gradient(volumes, dim=(2, 3, 4))]).sum(0).sqrt()
