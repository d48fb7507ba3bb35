"""Difference of two scans in units of what noise and misalignment explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.imaging.resampling import smooth_images

if TYPE_CHECKING:
    from torch import Tensor

MISALIGNMENT_VOXELS = 0.67
"""A difference that a shift of this many voxels explains is not a change. It covers the registration error and the
effect of thick slices on edges."""
MIN_NOISE_SD = 1e-4
"""Lower limit of the estimated noise, in normalised intensity; it avoids a division by zero for equal scans."""
MAD_TO_SD = 1.4826
"""Factor from the median absolute deviation to the standard deviation of normally distributed noise."""


def normalise_difference(earlier: Tensor, later: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Compute later - earlier, smoothed, in units of the noise and misalignment of each pair.

    The result is exactly zero for equal scans, and changes its sign when the scans are swapped.

    Parameters
    ----------
    earlier, later
        Aligned scans (b, 1, i, j, k) of normalised intensity.
    inside
        Mask of the same shape, 0 or 1; the result is 0 outside.
    sigma
        Standard deviation of the Gaussian smoothing in voxels.

    Examples
    --------
    >>> import torch
    >>> a, b = torch.rand(2, 1, 1, 6, 6, 6)
    >>> there, back = (normalise_difference(*pair, torch.ones_like(a), 1.0) for pair in ((a, b), (b, a)))
    >>> torch.equal(there, -back)
    True
    """
    import torch

    difference = smooth_images((later - earlier) * inside, sigma) * inside
    slope = _gradient_magnitude(smooth_images((earlier + later) / 2, sigma))
    noise = torch.stack([_robust_sd(one[mask > 0]) for one, mask in zip(difference, inside, strict=True)])
    allowed = (noise.view(-1, 1, 1, 1, 1).clamp(min=MIN_NOISE_SD) ** 2 + (MISALIGNMENT_VOXELS * slope) ** 2).sqrt()
    return difference / allowed


def _robust_sd(values: Tensor) -> Tensor:
    """Standard deviation without outliers. The median is not subtracted, so swapping the scans changes only signs."""
    return MAD_TO_SD * values.abs().median() if values.numel() else values.new_zeros(())


def _gradient_magnitude(volumes: Tensor) -> Tensor:
    """Gradient magnitude per voxel of volumes (b, 1, i, j, k)."""
    import torch

    return torch.stack([part.square() for part in torch.gradient(volumes, dim=(2, 3, 4))]).sum(0).sqrt()
