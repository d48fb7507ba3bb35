"""Trilinear interpolation, with gradients, of volumes with different grids in one batch.

This is the inner loop of registration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.intensity import choose_voxels
from siamese_med.imaging.resampling import pool_volume, smooth_along_axes
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

UNIT_BOX_SD = 1 / np.sqrt(12)
"""Standard deviation of a box of width one, in voxels: a voxel is an average, so it is smoothed this much already."""
CLIP_QUANTILES = (0.005, 0.995)
"""Intensities are clipped at these quantiles, so that a few bright voxels do not make up most of the variance."""
MAX_SAMPLED_VOXELS = 20_000
"""Number of voxels that the quantiles are taken from."""
MASK_MARGIN_VOXELS = 2
"""Masks are dilated by this many voxels, so that the edges of the masked region count."""
MAX_VOXEL_ENLARGEMENT = 1.15
"""Averaged voxels may be larger than requested by this factor: that can halve the number of voxels along an axis."""


@dataclass(frozen=True)
class PackedVolumes:
    """A batch of volumes, padded to one shape and stored one after the other.

    Attributes
    ----------
    voxels
        Intensities of all volumes, flat.
    inside
        Where each volume may be sampled, flat like `voxels`; None for everywhere.
    strides
        Steps in `voxels` from one voxel to the next along i, j and k.
    counts
        Voxels of each volume (n, 3) without the padding.
    to_voxel
        Affines (n, 4, 4) from RAS+ mm to voxel.
    """

    voxels: torch.Tensor
    inside: torch.Tensor | None
    strides: tuple[int, int, int]
    counts: torch.Tensor
    to_voxel: torch.Tensor

    @property
    def size(self) -> int:
        """Number of voxels from one volume to the next."""
        return len(self.voxels) // len(self.counts)


def pack_volumes(
    scans: Sequence[Volume], masks: Sequence[NDArray[np.bool_] | None], edge_mm: float, sigma_mm: float, device: str
) -> PackedVolumes:
    """Downsample, smooth, standardise and pack scans for sampling; each keeps its own axes.

    Parameters
    ----------
    masks
        For each scan, where it may be sampled, on its own grid; None for everywhere.
    edge_mm
        Voxels are averaged to about this edge length.
    sigma_mm
        Standard deviation of the smoothing, including what averaging over a voxel has smoothed already.

    Returns
    -------
    Volumes of zero mean and unit variance, on `device`.
    """
    import torch

    images, insides, affines = [], [], []
    for scan, mask in zip(scans, masks, strict=True):
        image, affine = pool_volume(scan, MAX_VOXEL_ENLARGEMENT * edge_mm, device)
        edges = np.linalg.norm(affine[:3, :3], axis=0)
        lacking = np.sqrt(np.clip(sigma_mm**2 - (UNIT_BOX_SD * edges) ** 2, 0, None)) / edges
        images.append(_standardise_image(smooth_along_axes(image, lacking))[0, 0])
        affines.append(np.linalg.inv(affine))
        if mask is not None:
            insides.append(
                _dilate_mask(
                    pool_volume(Volume(mask, scan.affine), MAX_VOXEL_ENLARGEMENT * edge_mm, device, most=True)[0]
                )
            )
        else:
            insides.append(torch.ones_like(images[-1], dtype=torch.bool))
    shape = [max(2, *(image.shape[axis] for image in images)) for axis in range(3)]
    return PackedVolumes(
        _pad_and_flatten(images, shape),
        _pad_and_flatten(insides, shape) if any(mask is not None for mask in masks) else None,
        (shape[1] * shape[2], shape[2], 1),
        torch.tensor([image.shape for image in images], dtype=torch.float32, device=device),
        torch.as_tensor(np.stack(affines), dtype=torch.float64, device=device),
    )


def _dilate_mask(mask: torch.Tensor) -> torch.Tensor:
    """Dilate a mask (1, 1, i, j, k) by MASK_MARGIN_VOXELS, so that the edges of the masked region lie inside it."""
    import torch.nn.functional as functional

    side = 2 * MASK_MARGIN_VOXELS + 1
    wide: torch.Tensor = functional.max_pool3d(mask, side, stride=1, padding=MASK_MARGIN_VOXELS)[0, 0] > 0
    return wide


def _standardise_image(image: torch.Tensor) -> torch.Tensor:
    import torch

    chosen = torch.as_tensor(choose_voxels(image.numel(), MAX_SAMPLED_VOXELS), device=image.device)
    some = image.flatten()[chosen]
    low, high = torch.quantile(some, torch.tensor(CLIP_QUANTILES, device=image.device))
    cut = image.clamp(low, high)
    standardised: torch.Tensor = (cut - cut.mean()) / (cut.std() + 1e-6)
    return standardised


def _pad_and_flatten(images: Sequence[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
    """Place each image in the corner of a box of equal shape, flat; an axis of one voxel gets a copy of it."""
    boxes = images[0].new_zeros((len(images), *shape))
    for box, image in zip(boxes, images, strict=True):
        i, j, k = (max(2, n) for n in image.shape)
        box[:i, :j, :k] = image
    return boxes.flatten()


def sample_volumes(
    stacked: PackedVolumes, owners: torch.Tensor, poses: torch.Tensor, points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sample volume `owners[b]` at `points` under `poses[b]`, with gradients, by trilinear interpolation.

    The gradient is the exact derivative of the interpolation. It needs no gradient image and no autograd graph, only
    the eight surrounding voxels.

    Parameters
    ----------
    owners
        Which volume of `stacked` each pose belongs to (b,).
    poses
        4x4 matrices (b, 4, 4) from the mm of `points` to the volume's mm (RAS+).
    points
        Coordinates (3, n) in mm.

    Returns
    -------
    Values (b, n); gradients (b, 3, n) per mm along the volume's world axes; validity (b, n), true inside the volume
    and its mask.
    """
    import torch

    to_voxel = stacked.to_voxel[owners]
    matrix = (to_voxel @ poses)[:, :3].to(points.dtype)
    places = matrix[:, :, :3] @ points + matrix[:, :, 3:]
    counts = stacked.counts[owners][:, :, None]
    valid = ((places >= -0.5) & (places <= counts - 0.5)).all(1)
    corner = torch.minimum(places.floor(), counts - 2).clamp(min=0)
    share = (places - corner).clamp(0, 1)
    strides = stacked.strides
    first = (corner[:, 0] * strides[0] + corner[:, 1] * strides[1] + corner[:, 2]).long()
    first += (owners * stacked.size)[:, None]
    value, slopes = _trilinear(stacked.voxels, first, strides, share)
    if stacked.inside is not None:
        nearest = first + sum((share[:, axis] > 0.5).long() * step for axis, step in enumerate(strides))
        valid &= torch.index_select(stacked.inside, 0, nearest.flatten()).view(valid.shape)
    return value, to_voxel[:, :3, :3].transpose(1, 2).to(points.dtype) @ slopes, valid


def _trilinear(
    voxels: torch.Tensor, first: torch.Tensor, strides: tuple[int, int, int], share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value (b, n) and its gradient (b, 3, n) per voxel along i, j, k, from the eight voxels whose first is `first`."""
    import torch

    x, y, z = share.unbind(1)
    flat = first.flatten()
    low, rise = [], []
    for step in (0, strides[1], strides[0], strides[0] + strides[1]):
        below, above = (torch.index_select(voxels, 0, flat + step + k).view(first.shape) for k in (0, 1))
        rise.append(above - below)
        low.append(below + z * rise[-1])
    along_y = [low[1] - low[0], low[3] - low[2]]
    middle = [low[0] + y * along_y[0], low[2] + y * along_y[1]]
    along_z = [rise[0] + y * (rise[1] - rise[0]), rise[2] + y * (rise[3] - rise[2])]
    along_x = middle[1] - middle[0]
    slopes = [along_x, *(a + x * (b - a) for a, b in (along_y, along_z))]
    return middle[0] + x * along_x, torch.stack(slopes, 1)
