"""Atlas of the training scans, and how one scan departs from it: the input of the encoder.

The atlas is the mean of the training scans' fine detail and a few "modes": what differs most between scans of one
patient. They span the contrasts and scanners of the study, so a scan is compared with an average person on the same
machine. The residual is converted to a displacement towards that person (Thirion, Medical Image Analysis 1998). The
sign of a displacement is the same in every contrast, while that of an intensity difference is not.

Two sources of shortcuts are removed first: everything outside the region that nearly all training scans show (air and
outline, see `network.common_region`), and everything that an 8x8x8 thumbnail of the scan would show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.network import common_region
from siamese_med.network.patient_modes import find_within_patient_modes
from siamese_med.network.scan_dataset import Box, ScanDataset

ATLAS_MODES = 8
"""Largest number of modes beside the mean."""
SCANS_PER_MODE = 4
"""Training scans beyond each patient's first that are needed for each mode."""
MAX_ATLAS_SCANS = 96
"""Largest number of training scans that the atlas is fitted to. Every patient's first two are taken first: modes are
of differences within a patient, so one scan of each would leave them to the few patients who are taken in twice."""
COARSE_BLOCK_VOXELS = 4
"""Edge of the block means that are subtracted from a volume to leave its fine detail."""
THUMBNAIL_BLOCKS_PER_AXIS = 8
"""Blocks along each axis of the thumbnail whose content is removed, so that it cannot serve as a shortcut."""
DISPLACEMENT_DAMPING = 0.1
"""Damping of displacements where the atlas is flat, as a share of its mean squared gradient."""
ATLAS_VERSION = 4
"""Raise it when the same scans would give another atlas, so that models made before are not taken for the same."""
MIN_GRID_VOXELS = 24
"""Shortest axis, in voxels, for which an atlas is fitted; thinner grids hold no anatomy to be displaced."""


class MeanSubtraction(nn.Module):
    """Replacement of the atlas on grids that are too thin for one: a volume minus its mean.

    Parameters
    ----------
    shape
        Voxels (i, j, k) of the study's grid; the box is the whole grid.
    """

    channels = 1

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.box: Box = tuple((0, n) for n in shape)
        self.size = self.grid = tuple(shape)

    def view(self, volumes: Tensor) -> Tensor:
        """Subtract the mean of each of the volumes (b, 1, i, j, k)."""
        return volumes - volumes.mean((2, 3, 4), keepdim=True)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the view (b, 1, i, j, k) as both view and departures, since there is no atlas to depart from."""
        view = self.view(volumes)
        return view, view


class Atlas(nn.Module):
    """Mean and modes of the training scans inside their common region, cropped to the box around it.

    Parameters
    ----------
    shape
        Voxels (i, j, k) of the study's grid.
    box
        First and last-plus-one voxel of the box along each axis. Volumes must be cropped to it, see `ScanDataset.load`.

    Attributes
    ----------
    core
        Common region (1, 1, i, j, k), 0 or 1.
    basis
        Mean and modes (m + 1, 1, i, j, k).
    solver
        Pseudo-inverse of the basis (m + 1, i * j * k).
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
        """Extract the fine detail of volumes inside the common region.

        Parameters
        ----------
        volumes
            Normalised intensities (b, 1, i, j, k) inside `box`; 0 is outside the field of view.

        Returns
        -------
        Tensor
            Detail (b, 1, i, j, k) in units of its root mean square; zero outside the common region.
        """
        known = self._known(volumes)
        detail = (volumes - _coarse(volumes)) * known
        detail = (detail - self._thumbnail(detail, known)) * known
        spread = (detail.square().sum((2, 3, 4), keepdim=True) / known.sum((2, 3, 4), keepdim=True).clamp(min=1)).sqrt()
        return detail / spread.clamp(min=1e-3)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the view of volumes and their departures from the atlas.

        Parameters
        ----------
        volumes
            Normalised intensities (b, 1, i, j, k) inside `box`.

        Returns
        -------
        view : Tensor
            Fine detail (b, 1, i, j, k), see `view`.
        departures : Tensor
            Tensor (b, 4, i/2, j/2, k/2): displacement along i, j and k, then residual intensity. The displacement and
            the residual are each scaled to a root mean square of 1.
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
        """Mean of the known voxels of each block of the 8x8x8 thumbnail, at every voxel of the block."""
        total, count = (functional.avg_pool3d(v, self.block, ceil_mode=True) for v in (detail, known))
        mean = total / count.clamp(min=1e-6)
        for axis, (block, size) in enumerate(zip(self.block, detail.shape[2:], strict=True), start=2):
            mean = mean.repeat_interleave(block, axis).narrow(axis, 0, size)
        return mean


def build_empty_atlas(shape: Sequence[int], box: Box) -> Atlas | MeanSubtraction:
    """Build an atlas of the right sizes, to be filled with the buffers of a saved model.

    Parameters
    ----------
    shape
        Voxels (i, j, k) of the study's grid.
    box
        Box of the saved atlas.

    Examples
    --------
    >>> type(build_empty_atlas((64, 64, 1), ((0, 64), (0, 64), (0, 1)))).__name__
    'MeanSubtraction'
    """
    return MeanSubtraction(shape) if min(shape) < MIN_GRID_VOXELS else Atlas(shape, box)


def fit_atlas(cohort: ScanDataset) -> Atlas | MeanSubtraction:
    """Fit the atlas to a training set.

    Parameters
    ----------
    cohort
        Training scans on the study's grid; at most `MAX_ATLAS_SCANS` are used, two of each patient first.

    Returns
    -------
    Atlas or MeanSubtraction
        `MeanSubtraction` where an axis of the grid is shorter than `MIN_GRID_VOXELS`.
    """
    shape = cohort.shape
    if min(shape) < MIN_GRID_VOXELS:
        return MeanSubtraction(shape)
    chosen = _choose_scans(cohort)
    core = common_region.find_common_region(_bodies(cohort, chosen))
    atlas = Atlas(shape, _box(core, shape))
    inside = tuple(slice(*edges) for edges in atlas.box)
    atlas.core.copy_(torch.from_numpy(core[inside]))
    with torch.no_grad():
        views = torch.stack([atlas.view(cohort.load(scan, atlas.box)[None])[0, 0] for scan in chosen])
    _set_modes(atlas, views, cohort.labels[chosen])
    return atlas


def _choose_scans(cohort: ScanDataset) -> list[int]:
    """Positions of at most MAX_ATLAS_SCANS scans: every patient's first two, then every patient's next two, and so on.

    The scans of one patient stay together, so that no patient is left with one scan while another gives four.
    """
    turn: dict[int, int] = {}
    order = []
    for position, label in enumerate(cohort.labels):
        turn[label] = turn.get(label, -1) + 1
        order.append((turn[label] // 2, label, position))
    return [position for _, _, position in sorted(order)[:MAX_ATLAS_SCANS]]


def measure_region(atlas: Atlas | MeanSubtraction, cohort: ScanDataset) -> tuple[int, int] | None:
    """Measure the region that an atlas looks at, and the body that half of its training scans show, in voxels.

    Parameters
    ----------
    atlas
        Fitted by `fit_atlas`.
    cohort
        The training scans that it was fitted to.

    Returns
    -------
    tuple or None
        Voxels of the region and of the body; None where the grid is too thin for a region.
    """
    if isinstance(atlas, MeanSubtraction):
        return None
    body = common_region.find_usual_body(_bodies(cohort, _choose_scans(cohort)))
    return int(atlas.core.sum()), int(body.sum())


def _bodies(cohort: ScanDataset, chosen: Sequence[int]) -> NDArray[np.bool_]:
    return common_region.extract_bodies([cohort.load(scan)[0].numpy() for scan in chosen])


def _box(core: NDArray[np.float32], shape: Sequence[int]) -> Box:
    """Edges of the box around the core, aligned to the blocks of the 8x8x8 thumbnail."""
    found = np.argwhere(core > 0)
    edges = []
    for n, low, high in zip(shape, found.min(0), found.max(0) + 1, strict=True):
        block = -(-n // THUMBNAIL_BLOCKS_PER_AXIS)
        edges.append((int(low) // block * block, min(n, -(-int(high) // block) * block)))
    return tuple(edges)


def _set_modes(atlas: Atlas, views: Tensor, patients: NDArray[np.int64]) -> None:
    mean = views.mean(0)
    modes = find_within_patient_modes(views.flatten(1), patients, ATLAS_MODES, SCANS_PER_MODE)
    atlas.basis[0, 0], atlas.basis[1 : len(modes) + 1, 0] = mean, modes.view(-1, *mean.shape)
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
