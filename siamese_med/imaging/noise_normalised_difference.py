"""What differs between two scans, in units of what noise and misalignment explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.imaging.resampling import smooth_images

if TYPE_CHECKING:
    from torch import Tensor

MISALIGNMENT_VOXELS = 0.67
"""What so small a shift explains is no change; it covers alignment and what thick slices do to edges."""
MIN_NOISE_SD = 1e-4
MAD_TO_SD = 1.4826
"""From the median absolute deviation to the standard deviation of normal noise."""


def normalise_difference(earlier: Tensor, later: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Later - earlier of scans (b, 1, i, j, k), smoothed by `sigma` voxels, in units of each pair's own noise.

    Exactly zero for equal scans and the negative for swapped ones. `inside`: 0 or 1, the same shape.
    """
    import torch

    difference = smooth_images((later - earlier) * inside, sigma) * inside
    slope = _gradient_magnitude(smooth_images((earlier + later) / 2, sigma))
    noise = torch.stack([_robust_sd(one[mask > 0]) for one, mask in zip(difference, inside, strict=True)])
    allowed = (noise.view(-1, 1, 1, 1, 1).clamp(min=MIN_NOISE_SD) ** 2 + (MISALIGNMENT_VOXELS * slope) ** 2).sqrt()
    return difference / allowed


def _robust_sd(values: Tensor) -> Tensor:
    """Standard deviation without the outliers; the median is left in, so that swapping changes nothing but signs."""
    return MAD_TO_SD * values.abs().median() if values.numel() else values.new_zeros(())


def _gradient_magnitude(volumes: Tensor) -> Tensor:
    """Length of the gradient per voxel of volumes (b, 1, i, j, k)."""
    import torch

    return torch.stack([part.square() for part in torch.gradient(volumes, dim=(2, 3, 4))]).sum(0).sqrt()
