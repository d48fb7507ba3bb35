"""Random anatomy and acquisition effects for identity training, computed for a whole batch in torch.

The warp that turns a known patient into a synthetic new one is drawn once for all scans of a patient in the batch.
Effects of the scanner and the alignment are drawn for each scan. A single scan is rotated and shifted but never
scaled, because size and shape tell people apart. The result depends on the seed alone, not on the device's random
state.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Index = NDArray[np.int64]

ROTATION_SD_RADIANS = 0.016
"""Standard deviation of the rotation about each axis at strength 1."""
SHIFT_SD_VOXELS = 0.3
"""Standard deviation of the shift along each axis at strength 1."""
WARP_KNOTS_RANGE = (5, 13)
"""Fewest and most control points along an axis of the warp that makes a synthetic new anatomy."""
BIAS_FIELD_LOG_SD = 0.24
"""Standard deviation of the logarithm of the bias field at its control points, at strength 1."""
GAMMA_LOG_SD = 0.4
"""Standard deviation of the logarithm of gamma in the contrast curve `intensity ** gamma`, at strength 1."""
MAX_NOISE_SD = 0.06
"""Largest standard deviation of the added noise at strength 1; normalised intensity, in which bright tissue is 1."""
MAX_NEIGHBOUR_WEIGHT = 0.25
"""Largest weight of each neighbouring slice in the blur that imitates thicker slices."""
MAX_CROPPED_FRACTION = 0.125
"""Largest part of an axis that a shorter field of view loses."""


class Augmenter:
    """Random changes of a batch of scans, reproducible from a seed.

    Parameters
    ----------
    strength
        Scales all effects of acquisition and alignment; 0 switches them off.
    warp
        Size in voxels of the warp that makes synthetic new anatomies; 0 switches it off.

    Examples
    --------
    >>> volumes, labels = torch.rand(2, 1, 8, 8, 8), torch.tensor([0, 1])
    >>> bool((Augmenter(0, 0)(volumes, labels, seed=1) == volumes).all())
    True
    >>> Augmenter(1, 0.5)(volumes, labels, seed=1).shape
    torch.Size([2, 1, 8, 8, 8])
    """

    def __init__(self, strength: float, warp: float) -> None:
        self._strength, self._warp = strength, warp

    def __call__(self, volumes: Tensor, labels: Tensor, seed: int, share: Index | None = None) -> Tensor:
        """Augment the volumes of one batch, or of one rank's share of it.

        Parameters
        ----------
        volumes
            Normalised intensities (s, 1, i, j, k).
        labels
            Patient of each scan of the whole batch (b,).
        seed
            Seed of all random draws.
        share
            Positions (s,) of `volumes` in the batch; None for all. A scan is changed in the same way whatever its
            share.

        Returns
        -------
        Tensor
            Augmented volumes (s, 1, i, j, k); intensities that were 0 stay 0 where strength is above 0.
        """
        rng = np.random.default_rng(seed)
        share = np.arange(len(labels)) if share is None else share
        if self._strength > 0 or self._warp > 0:
            volumes = self._moved(volumes, labels, share, rng)
        return volumes if self._strength == 0 else self._acquired(volumes, len(labels), share, rng)

    def _moved(self, volumes: Tensor, labels: Tensor, share: Index, rng: np.random.Generator) -> Tensor:
        """Apply the pose of each scan and the warp it shares with its patient's other scans in one interpolation."""
        shape = volumes.shape[2:]
        points = self._posed(shape, len(labels), share, rng, volumes.device)
        everyone, person = torch.unique(labels, return_inverse=True)
        present = person[torch.from_numpy(share).to(person.device)]
        points = points + self._warps(len(everyone), set(present.tolist()), shape, rng, volumes.device)[present]
        return functional.grid_sample(volumes, points.flip(-1), align_corners=False, padding_mode="border")

    def _posed(
        self, shape: torch.Size, count: int, share: Index, rng: np.random.Generator, device: torch.device
    ) -> Tensor:
        """Points (s, i, j, k, 3), -1 to 1, of slightly rotated and shifted grids; axes of one voxel are kept."""
        extent = np.asarray(shape, dtype=float)
        thick = extent > 1
        angles = ROTATION_SD_RADIANS * self._strength * rng.standard_normal((count, 3))
        angles *= [thick[1] & thick[2], thick[0] & thick[2], thick[0] & thick[1]]
        matrix = np.tile(np.eye(3), (count, 1, 1)) + np.cross(np.eye(3)[None], angles[:, None])
        matrix *= extent[None, None, :] / extent[None, :, None]
        shift = SHIFT_SD_VOXELS * self._strength * thick * rng.standard_normal((count, 3)) * 2 / extent
        affine = _float_tensor(np.concatenate([matrix, shift[:, :, None]], 2)[share], device)
        grid = _identity_grid(shape, device)
        return grid @ affine[:, None, None, :, :3].transpose(-1, -2) + affine[:, None, None, None, :, 3]

    def _warps(
        self, count: int, present: set[int], shape: torch.Size, rng: np.random.Generator, device: torch.device
    ) -> Tensor:
        """Smooth displacements (p, i, j, k, 3) in units of the grid from -1 to 1; zero for patients not present."""
        thick = _float_tensor((np.asarray(shape) > 1).astype(float) * 2 / np.asarray(shape), device)
        warps = torch.zeros(count, *shape, 3, device=device)
        if self._warp == 0:
            return warps
        for number in range(count):
            knots = int(rng.integers(WARP_KNOTS_RANGE[0], WARP_KNOTS_RANGE[1] + 1))
            drawn = _float_tensor(rng.standard_normal((1, 3, *(min(knots, n) for n in shape))), device)
            size = self._warp * rng.uniform(0.2, 1.0)
            if number not in present:
                continue
            smooth = functional.interpolate(drawn, size=tuple(shape), mode="trilinear", align_corners=False)[0]
            warps[number] = smooth.permute(1, 2, 3, 0) / (smooth.std() + 1e-6) * size * thick
        return warps

    def _acquired(self, volumes: Tensor, count: int, share: Index, rng: np.random.Generator) -> Tensor:
        """Slice blur, bias field, contrast curve, noise and a shorter field of view, drawn for each scan."""
        device, strength, shape = volumes.device, self._strength, volumes.shape[2:]
        known = volumes > 0
        volumes = _blur_slices(volumes, count, share, rng, min(1.0, strength))
        knots = BIAS_FIELD_LOG_SD * strength * rng.standard_normal((count, 1, *(min(4, n) for n in shape)))
        volumes = (
            volumes * functional.interpolate(_float_tensor(knots[share], device), size=shape, mode="trilinear").exp()
        )
        curve = _float_tensor(np.exp(GAMMA_LOG_SD * strength * rng.standard_normal((count, 1, 1, 1, 1)))[share], device)
        volumes = volumes.clamp(min=1e-4) ** curve
        level = _float_tensor(MAX_NOISE_SD * strength * rng.uniform(0, 1, (count, 1, 1, 1, 1))[share], device)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        noise = torch.randn((count, 1, *shape), generator=generator, device=device)
        noise = noise if len(share) == count else noise[torch.from_numpy(share).to(device)]
        return _crop_field_of_view(
            (volumes + level * noise).clamp(min=1e-4) * known, count, share, rng, min(1.0, strength)
        )


def _blur_slices(volumes: Tensor, count: int, share: Index, rng: np.random.Generator, strength: float) -> Tensor:
    """Mix each slice with its neighbours along one axis, as thicker slices would."""
    axes, shares = rng.integers(0, 3, count)[share], (MAX_NEIGHBOUR_WEIGHT * strength * rng.uniform(0, 1, count))[share]
    blurred = volumes.clone()
    for number, (axis, mixed) in enumerate(zip(axes, shares, strict=True)):
        scan, n = volumes[number, 0], volumes.shape[2 + axis]
        if n < 3:
            continue
        middle = blurred[number, 0].narrow(int(axis), 1, n - 2)
        sides = scan.narrow(int(axis), 0, n - 2) + scan.narrow(int(axis), 2, n - 2)
        middle.mul_(1 - 2 * mixed).add_(sides, alpha=float(mixed))
    return blurred


def _crop_field_of_view(volumes: Tensor, count: int, share: Index, rng: np.random.Generator, strength: float) -> Tensor:
    """Cut off one end of one axis in three of ten scans (at strength 1)."""
    drawn = [
        (int(rng.integers(1, 4)), MAX_CROPPED_FRACTION * rng.uniform(0, 1), rng.random() < 0.5, rng.random())
        for _ in range(count)
    ]
    for volume, place in zip(volumes, share, strict=True):
        axis, part, late, chance = drawn[place]
        lost = int(part * volume.shape[axis])
        if chance < 0.3 * strength and lost:
            volume.narrow(axis, volume.shape[axis] - lost if late else 0, lost).zero_()
    return volumes


def _identity_grid(shape: torch.Size, device: torch.device) -> Tensor:
    axes = [(torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def _float_tensor(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)
