"""People nobody has seen, scanned by machines nobody owns: random geometry and acquisition effects, batched in torch.

Geometry that makes a new person of a known one is drawn once for all scans of a patient in the batch; what a scanner
and an alignment do is drawn apart for every scan. Size and shape tell people apart, so a single scan is moved, never
stretched. Runs on the device of its input; the numbers depend on the seed alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Index = NDArray[np.int64]

ROTATION_SD_RADIANS = 0.016
SHIFT_SD_VOXELS = 0.3
WARP_KNOTS_RANGE = (5, 13)
"""Fewest and most control points along an axis of the warp that makes a new person."""
BIAS_FIELD_LOG_SD = 0.24
GAMMA_LOG_SD = 0.4
MAX_NOISE_SD = 0.06
MAX_NEIGHBOUR_WEIGHT = 0.25
MAX_CROPPED_FRACTION = 0.125
"""Largest part of an axis that a shorter field of view loses."""


class Augmenter:
    """Changes a batch as a seed says; `strength` scales acquisition, `warp` (voxels) the making of new people."""

    def __init__(self, strength: float, warp: float) -> None:
        self._strength, self._warp = strength, warp

    def __call__(self, volumes: Tensor, labels: Tensor, seed: int, share: Index | None = None) -> Tensor:
        """Volumes (s, 1, i, j, k), changed; the same shape.

        `labels` (b,) are the patients of a batch and `share` (s,) the places in it that the volumes have, all of them
        by default: a scan is changed in the same way whatever share of the batch it comes with.
        """
        rng = np.random.default_rng(seed)
        share = np.arange(len(labels)) if share is None else share
        if self._strength > 0 or self._warp > 0:
            volumes = self._moved(volumes, labels, share, rng)
        return volumes if self._strength == 0 else self._acquired(volumes, len(labels), share, rng)

    def _moved(self, volumes: Tensor, labels: Tensor, share: Index, rng: np.random.Generator) -> Tensor:
        """One interpolation: each scan's own small pose, and the warp it shares with the other scans of its patient."""
        shape = volumes.shape[2:]
        points = self._posed(shape, len(labels), share, rng, volumes.device)
        everyone, person = torch.unique(labels, return_inverse=True)
        present = person[torch.from_numpy(share).to(person.device)]
        points = points + self._warps(len(everyone), set(present.tolist()), shape, rng, volumes.device)[present]
        return functional.grid_sample(volumes, points.flip(-1), align_corners=False, padding_mode="border")

    def _posed(
        self, shape: torch.Size, count: int, share: Index, rng: np.random.Generator, device: torch.device
    ) -> Tensor:
        """Points (s, i, j, k, 3) from -1 to 1 of grids turned and shifted a little; one-voxel axes stay as they are."""
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
        """Smooth displacements (p, i, j, k, 3), in units of the grid from -1 to 1; of who is not present, zero."""
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
        """Slice blur, bias field, contrast curve, noise and a shorter field of view, apart for every scan."""
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
    """Each scan mixed with its neighbours along one axis, as a thicker slice would."""
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
    """Three scans in ten end earlier along one axis, at either end."""
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
