"""What the scans of a study have in common, and how one scan departs from it: what the encoder sees.

The common part is the mean and a few modes of the training scans' fine detail. The modes span the contrasts and
scanners of the study, so a scan is compared with what an average person would look like on the same machine. What is
left over is read as a displacement towards that person (Thirion, Medical Image Analysis 1998): its sign is the same in
every contrast, while that of a difference of brightness is not.

What a shortcut could live on is taken out before: everything outside the region that all training scans show (air,
outline, edges of the field of view), and whatever an 8x8x8 picture of the scan would show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.network.scan_dataset import Box, ScanDataset

ATLAS_MODES = 8
SCANS_PER_MODE = 4
"""With fewer, the modes would be the scans themselves, and nothing of these would be left over."""
MAX_ATLAS_SCANS = 48
"""Training scans that the atlas is made of, at most; one a patient first."""
MIN_SHARED_BODY_FRACTION = 0.98
"""A voxel is looked at where so many of these scans show the body."""
BODY_INTENSITY_THRESHOLD = 0.3
"""Of the brightness of bright tissue."""
RIM_VOXELS = 2
COARSE_BLOCK_VOXELS = 4
THUMBNAIL_BLOCKS_PER_AXIS = 8
DISPLACEMENT_DAMPING = 0.1
"""Damps displacements where the atlas is flat, as a share of its mean squared gradient."""
MIN_GRID_VOXELS = 24
"""A grid thinner than this along an axis has no anatomy to be displaced."""


class MeanSubtraction(nn.Module):
    """For grids too small for an atlas, such as single slices: the volume less its mean."""

    channels = 1

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.box: Box = tuple((0, n) for n in shape)
        self.size = self.grid = tuple(shape)

    def view(self, volumes: Tensor) -> Tensor:
        """Volumes (b, 1, i, j, k) less their means."""
        return volumes - volumes.mean((2, 3, 4), keepdim=True)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """The view, twice: there is nothing to depart from."""
        view = self.view(volumes)
        return view, view


class Atlas(nn.Module):
    """Mean and modes of the training scans inside their common region, cut to the box around it.

    `shape` are the voxels of the study's grid; all volumes that come in are cut to `box` beforehand, see `Cohort.load`.
    """

    core: Tensor
    basis: Tensor
    solver: Tensor
    channels = 4

    def __init__(self, shape: Sequence[int], box: Box) -> None:
        super().__init__()
        self.box = box
        self.size = size = tuple(stop - start for start, stop in box)
        self.block = [-(-n // THUMBNAIL_BLOCKS_PER_AXIS) for n in shape]
        self.grid = tuple(-(-n // 2) for n in size)
        self.register_buffer("core", torch.ones(1, 1, *size))
        self.register_buffer("basis", torch.zeros(ATLAS_MODES + 1, 1, *size))
        self.register_buffer("solver", torch.zeros(ATLAS_MODES + 1, int(np.prod(size))))

    def view(self, volumes: Tensor) -> Tensor:
        """Fine detail of volumes (b, 1, i, j, k) inside the common region, in units of its spread; else zero."""
        known = self._known(volumes)
        detail = (volumes - _coarse(volumes)) * known
        detail = (detail - self._thumbnail(detail, known)) * known
        spread = (detail.square().sum((2, 3, 4), keepdim=True) / known.sum((2, 3, 4), keepdim=True).clamp(min=1)).sqrt()
        return detail / spread.clamp(min=1e-3)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """The view (b, 1, i, j, k) of volumes, and their departures (b, 4, i/2, j/2, k/2).

        These are displacement (3) and brightness, each at unit scale.
        """
        known, view = self._known(volumes), self.view(volumes)
        expected = ((view.flatten(1) @ self.solver.T) @ self.basis.flatten(1)).view_as(view)
        left, slope = (view - expected) * known, _slope(expected) * known
        steep = slope.square().sum(1, keepdim=True)
        pooled = functional.avg_pool3d(torch.cat([left * slope, steep, left], 1), 2, ceil_mode=True)
        pooled = functional.avg_pool3d(pooled, 3, 1, 1)
        mean_steep = steep.sum((2, 3, 4), keepdim=True) / known.sum((2, 3, 4), keepdim=True).clamp(min=1)
        displacement = pooled[:, :3] / (pooled[:, 3:4] + DISPLACEMENT_DAMPING * mean_steep + 1e-6)
        return view, torch.cat([_at_unit_scale(displacement), _at_unit_scale(pooled[:, 4:])], 1)

    def _known(self, volumes: Tensor) -> Tensor:
        return self.core * (volumes > 0)

    def _thumbnail(self, detail: Tensor, known: Tensor) -> Tensor:
        """The mean of the known voxels of each block of an 8x8x8 picture, at every voxel of the block."""
        total, count = (functional.avg_pool3d(v, self.block, ceil_mode=True) for v in (detail, known))
        mean = total / count.clamp(min=1e-6)
        for axis, (block, size) in enumerate(zip(self.block, detail.shape[2:], strict=True), start=2):
            mean = mean.repeat_interleave(block, axis).narrow(axis, 0, size)
        return mean


def build_empty_atlas(shape: Sequence[int], box: Box) -> Atlas | MeanSubtraction:
    """One to be filled with stored buffers."""
    return MeanSubtraction(shape) if min(shape) < MIN_GRID_VOXELS else Atlas(shape, box)


def fit_atlas(cohort: ScanDataset) -> Atlas | MeanSubtraction:
    """The atlas of a training cohort; its modes are the first principal components, so no labels are needed."""
    shape = cohort.shape
    if min(shape) < MIN_GRID_VOXELS:
        return MeanSubtraction(shape)
    chosen = _one_a_patient_first(cohort)
    core = _core([cohort.load(scan)[0].numpy() for scan in chosen])
    atlas = Atlas(shape, _box(core, shape))
    inside = tuple(slice(*edges) for edges in atlas.box)
    atlas.core.copy_(torch.from_numpy(core[inside]))
    with torch.no_grad():
        views = torch.stack([atlas.view(cohort.load(scan, atlas.box)[None])[0, 0] for scan in chosen])
    _set_modes(atlas, views)
    return atlas


def _one_a_patient_first(cohort: ScanDataset) -> list[int]:
    """Positions of at most FITTED_ON scans: everybody's first, then everybody's second, and so on."""
    turn: dict[int, int] = {}
    order = []
    for position, label in enumerate(cohort.labels):
        turn[label] = turn.get(label, -1) + 1
        order.append((turn[label], position))
    return [position for _, position in sorted(order)[:MAX_ATLAS_SCANS]]


def _core(volumes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Where nearly all scans show the body, less its rim; the whole grid where they share nothing."""
    from scipy.ndimage import binary_erosion, binary_fill_holes

    share = np.mean([binary_fill_holes(volume > BODY_INTENSITY_THRESHOLD) for volume in volumes], axis=0)
    for wanted in (MIN_SHARED_BODY_FRACTION, 0.5):
        core = binary_erosion(share >= wanted, iterations=RIM_VOXELS)
        if core.mean() > 0.02:
            return np.asarray(core, dtype=np.float32)
    return np.ones_like(volumes[0])


def _box(core: NDArray[np.float32], shape: Sequence[int]) -> Box:
    """Edges of the box around the core, on the borders of the 8x8x8 picture's blocks."""
    found = np.argwhere(core > 0)
    edges = []
    for n, low, high in zip(shape, found.min(0), found.max(0) + 1, strict=True):
        block = -(-n // THUMBNAIL_BLOCKS_PER_AXIS)
        edges.append((int(low) // block * block, min(n, -(-int(high) // block) * block)))
    return tuple(edges)


def _set_modes(atlas: Atlas, views: Tensor) -> None:
    mean = views.mean(0)
    apart = (views - mean).flatten(1)
    _, vectors = torch.linalg.eigh(apart.double() @ apart.double().T)
    count = min(ATLAS_MODES, len(views) // SCANS_PER_MODE)
    modes = (vectors[:, len(views) - count :].float().T @ apart).view(count, *mean.shape)
    atlas.basis[0, 0], atlas.basis[1 : count + 1, 0] = mean, modes
    atlas.solver.copy_(torch.linalg.pinv(atlas.basis.flatten(1).T.double(), rtol=1e-3).float())


def _coarse(volumes: Tensor) -> Tensor:
    blocks = functional.avg_pool3d(volumes, COARSE_BLOCK_VOXELS, ceil_mode=True)
    return functional.interpolate(blocks, size=volumes.shape[2:], mode="trilinear", align_corners=False)


def _slope(images: Tensor) -> Tensor:
    """Central differences (b, 3, i, j, k) of images (b, 1, i, j, k), zero at the edges."""
    slope = images.new_zeros(len(images), 3, *images.shape[2:])
    for axis in range(3):
        length = images.shape[2 + axis] - 2
        inner = slope[:, axis : axis + 1].narrow(2 + axis, 1, length)
        inner.copy_((images.narrow(2 + axis, 2, length) - images.narrow(2 + axis, 0, length)) / 2)
    return slope


def _at_unit_scale(images: Tensor) -> Tensor:
    return images / images.square().mean((1, 2, 3, 4), keepdim=True).sqrt().clamp(min=1e-6)
