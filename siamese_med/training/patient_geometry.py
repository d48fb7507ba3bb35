"""The geometry of a batch: a new anatomy shared by all scans of a patient, and a pose for each scan."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siamese_med.training.batch_transforms import (
    IMAGE,
    MASK,
    Keys,
    RandBatchTransformd,
    float_tensor,
)

WARP_KNOTS_RANGE = (5, 13)
"""Fewest and most control points along an axis of the warp that makes a synthetic new anatomy."""
WARP_SIZE_RANGE = (0.2, 1.0)
"""Smallest and largest size of a patient's warp, in units of `warp_voxels`."""


class RandPatientGeometryd(RandBatchTransformd):
    """Turn and shift each scan a little, and warp all scans of a patient in one way, in a single interpolation.

    The warp turns a known patient into a synthetic new one: it is drawn once for all scans of a patient in the batch.
    A scan by itself is turned and shifted but never scaled or warped, because size and shape tell people apart. The
    anatomy moves on the grid, whose affine stays. Axes of one voxel stay as they are.

    Parameters
    ----------
    rotation_sd_radians, shift_sd_voxels
        Standard deviation of the rotation about each axis, and of the shift along it.
    warp_voxels
        Size of the warp in voxels; 0 is none.

    Examples
    --------
    >>> geometry = RandPatientGeometryd(0.0, 0.0, warp_voxels=1.0).set_random_state(seed=0)
    >>> scan = torch.rand(1, 1, 8, 8, 8).expand(3, -1, -1, -1, -1)
    >>> first, again, other = geometry({"image": scan, "subject": ["sub-1", "sub-1", "sub-2"]})["image"]
    >>> torch.equal(first, again), torch.equal(first, other)
    (True, False)
    """

    def __init__(
        self,
        rotation_sd_radians: float = 0.016,
        shift_sd_voxels: float = 0.3,
        warp_voxels: float = 0.5,
        keys: Keys = (IMAGE, MASK),
    ) -> None:
        super().__init__(
            keys,
            rotation_sd_radians=rotation_sd_radians,
            shift_sd_voxels=shift_sd_voxels,
            warp_voxels=warp_voxels,
        )
        self.rotation_sd_radians, self.shift_sd_voxels = rotation_sd_radians, shift_sd_voxels
        self.warp_voxels = warp_voxels

    def draw_effects(self, rng: np.random.Generator) -> None:
        thick, count = np.asarray(self.grid) > 1, len(self.subjects)
        self.angles = self.rotation_sd_radians * rng.standard_normal((count, 3))
        self.angles *= [thick[1] & thick[2], thick[0] & thick[2], thick[0] & thick[1]]
        self.shifts = self.shift_sd_voxels * thick * rng.standard_normal((count, 3))
        patients, person = np.unique(self.subjects, return_inverse=True)
        self.patients: NDArray[np.int64] = np.asarray(person, dtype=np.int64)
        self.warps = [self._draw_warp(rng) for _ in patients] if self.warp_voxels else []

    def _draw_warp(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        """Values of a warp at its control points, (1, 3, ...), and its size in voxels."""
        knots = int(rng.integers(WARP_KNOTS_RANGE[0], WARP_KNOTS_RANGE[1] + 1))
        drawn = rng.standard_normal((1, 3, *(min(knots, n) for n in self.grid)))
        return drawn, self.warp_voxels * rng.uniform(*WARP_SIZE_RANGE)

    def change_scans(self, scans: Tensor) -> Tensor:
        return functional.grid_sample(
            scans, self._find_points(scans.device), align_corners=False, padding_mode="border"
        )

    def change_masks(self, masks: Tensor) -> Tensor:
        points = self._find_points(masks.device)
        moved = functional.grid_sample(masks.float(), points, "nearest", align_corners=False, padding_mode="border")
        return moved.to(masks.dtype)

    def _find_points(self, device: torch.device) -> Tensor:
        """Find the point from which each voxel is taken (s, i, j, k, 3), k first, in units of the grid from -1 to 1."""
        points = self._pose_points(device)
        return (points + self._spread_warps(device) if self.warps else points).flip(-1)

    def _pose_points(self, device: torch.device) -> Tensor:
        """Points (s, i, j, k, 3), -1 to 1, of slightly rotated and shifted grids."""
        extent = np.asarray(self.grid, dtype=float)
        matrix = np.tile(np.eye(3), (len(self.subjects), 1, 1)) + np.cross(np.eye(3)[None], self.angles[:, None])
        matrix *= extent[None, None, :] / extent[None, :, None]
        shift = self.shifts * 2 / extent
        affine = float_tensor(np.concatenate([matrix, shift[:, :, None]], 2)[self.places], device)
        grid = _identity_grid(self.grid, device)
        return grid @ affine[:, None, None, :, :3].transpose(-1, -2) + affine[:, None, None, None, :, 3]

    def _spread_warps(self, device: torch.device) -> Tensor:
        """Smooth displacement (s, i, j, k, 3) of each scan, in units of the grid from -1 to 1."""
        shape = tuple(self.grid)
        thick = float_tensor((np.asarray(shape) > 1).astype(float) * 2 / np.asarray(shape), device)
        here, mine = np.unique(self.patients[self.places], return_inverse=True)
        warps = torch.zeros(len(here), *shape, 3, device=device)
        for number, patient in enumerate(here):
            drawn, size = self.warps[patient]
            knots = float_tensor(drawn, device)
            smooth = functional.interpolate(knots, size=shape, mode="trilinear", align_corners=False)[0]
            warps[number] = smooth.permute(1, 2, 3, 0) / (smooth.std() + 1e-6) * size * thick
        return warps[torch.from_numpy(mine).to(device)]


def _identity_grid(shape: torch.Size, device: torch.device) -> Tensor:
    axes = [(torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
