"""Synthetic scans of real anatomy, in any contrast: a label map is warped, coloured, and acquired by a virtual scanner.

The label maps are those of whole heads (FreeSurfer's numbers in the brain, 502 to 530 outside it). Which structure lies
where is known exactly, so a network can be trained on them, and a registration measured. The contrast is random or one
of the usual ones; pose, shape, bias field, noise, resolution, slice thickness, field of view, lesions, and whether the
face or everything but the brain was removed are random.
Source: Billot et al., SynthSeg, Medical Image Analysis 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.structures import Structure, convert_freesurfer_labels
from siamese_med.imaging.volume import Volume, read_volume, reorient_to_ras
from siamese_med.simulation.scanner import make_rotation_matrix
from siamese_med.simulation.tissue_levels import TISSUE_OF_LABEL

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

SPINAL_MARGIN_MM = 6.0
"""Fluid more than this far below the lowest voxel of the cerebellum and the brain stem is that of the spine."""
HULL_RADIUS_MM = 5.0
"""Sulci up to twice this wide belong to the brain mask."""
OUTER_FLUID_LABELS = (24,)
"""Fluid around the brain: that of sulci and cisterns, not of the ventricles."""
KNOTS = (7, 8, 7)
"""Knots of the random displacement along x, y and z."""
BOX_MM = np.array([200.0, 232.0, 200.0])
"""Extent of the box, centred on the brain, in which the displacement varies."""


@dataclass(frozen=True)
class LabelMap:
    """The anatomy of one person: what each voxel is.

    Attributes
    ----------
    tissues
        uint8 (i, j, k), position in `tissue_levels.TISSUES`; RAS+ axes.
    structures
        uint8 (i, j, k), numbers of `Structure`.
    affine
        4x4 from voxel to mm; the origin is the centre of the brain.
    """

    tissues: NDArray[np.uint8]
    structures: NDArray[np.uint8]
    affine: NDArray[np.float64]


def read_label_map(path: Path) -> LabelMap:
    """Read a label map (NIfTI) of a whole head, and centre it on the brain.

    Fluid counts as brain where it fills the sulci, cisterns and ventricles, as in the masks that experts draw: inside
    the closing of the brain's tissue by HULL_RADIUS_MM. Other fluid, and that of the spinal canal, is background.
    """
    stored = reorient_to_ras(read_volume(path))
    labels = np.ascontiguousarray(stored.voxels.astype(np.int16))
    table = np.zeros(1000, dtype=np.uint8)
    for label, tissue in TISSUE_OF_LABEL.items():
        table[label] = tissue
    structures = convert_freesurfer_labels(labels)
    low = (Structure.LEFT_CEREBELLUM, Structure.RIGHT_CEREBELLUM, Structure.BRAIN_STEM)
    bottom = int(np.flatnonzero(np.isin(structures, low).any((0, 1))).min())
    structures[:, :, : max(0, bottom - int(SPINAL_MARGIN_MM / stored.spacing_mm[2]))] = Structure.BACKGROUND
    outer = np.isin(labels, OUTER_FLUID_LABELS)
    hull = _close((structures > 0) & ~outer, HULL_RADIUS_MM / float(stored.spacing_mm.mean()))
    structures[outer & ~hull] = Structure.BACKGROUND
    structures = _keep_largest_part(structures)
    occupied = np.argwhere(structures > 0)
    affine = np.diag([*stored.spacing_mm, 1.0])
    affine[:3, 3] = -stored.spacing_mm * (occupied.min(0) + occupied.max(0)) / 2
    return LabelMap(table[labels], structures, affine)


def _close(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Closing of a mask by a ball whose radius is in voxels; holes of single slices (cisterns) are filled."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    margin = int(radius) + 2
    padded = np.pad(mask, margin)
    wide = distance_transform_edt(~padded) <= radius
    closed = distance_transform_edt(wide) > radius
    whole = closed[(slice(margin, -margin),) * 3] | mask
    for axis in range(3):
        whole = np.stack([binary_fill_holes(part) for part in np.moveaxis(whole, axis, 0)], axis)
    return np.asarray(whole, dtype=bool)


def _keep_largest_part(structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from scipy.ndimage import label

    parts, count = label(structures > 0)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        structures = np.where(parts == sizes.argmax(), structures, 0).astype(np.uint8)
    return structures


@dataclass(frozen=True)
class Warp:
    """A smooth map from the mm of a scan to the mm of a label map: an affine, and a displacement that varies.

    Attributes
    ----------
    matrix
        4x4 from scan mm to label map mm.
    displacement
        float32 (3, *KNOTS), mm of the label map, at knots that span BOX_MM around the scan's origin. Zero everywhere
        makes the warp affine.
    """

    matrix: NDArray[np.float64]
    displacement: NDArray[np.float32]

    def sample(
        self, label_map: LabelMap, affine: NDArray[np.float64], shape: tuple[int, int, int], shifts: NDArray[np.float64]
    ) -> list[torch.Tensor]:
        """Find the voxels of the label map that lie at the voxels of a grid, and at places shifted by a little.

        Parameters
        ----------
        affine, shape
            The grid: 4x4 from voxel to mm of the scan, axes parallel to x, y and z, and its shape.
        shifts
            (n, 3), in mm of the scan.

        Returns
        -------
        n tensors, int64 (i, j, k): flat index of the nearest voxel of the label map (at its border if outside).
        """
        import torch

        bent = self._displace(affine, shape)
        to_voxel = np.linalg.inv(label_map.affine)
        whole = to_voxel @ self.matrix @ affine
        bent = torch.einsum("ab,bijk->aijk", torch.as_tensor(to_voxel[:3, :3], dtype=torch.float32), bent)
        for axis in range(3):
            column = torch.as_tensor(whole[:3, axis], dtype=torch.float32)
            steps = torch.arange(shape[axis], dtype=torch.float32).view([-1 if n == axis else 1 for n in range(3)])
            bent += column.view(3, 1, 1, 1) * steps
        size = label_map.tissues.shape
        found = []
        for shift in shifts:
            start = whole[:3, 3] + (to_voxel @ self.matrix)[:3, :3] @ shift
            flat = torch.zeros(shape, dtype=torch.int64)
            for axis, count in enumerate(size):
                place = (bent[axis] + float(start[axis])).round_().clamp_(0, count - 1).long()
                flat = flat * count + place
            found.append(flat)
        return found

    def _displace(self, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> torch.Tensor:
        """The displacement at the voxels of a grid, (3, i, j, k), linearly between the knots."""
        import torch

        field = torch.as_tensor(self.displacement)
        for axis, (count, knots) in enumerate(zip(shape, KNOTS, strict=True)):
            places = affine[axis, axis] * np.arange(count) + affine[axis, 3]
            steps = np.clip((places / BOX_MM[axis] + 0.5) * (knots - 1), 0, knots - 1)
            weights = np.clip(1 - np.abs(steps[:, None] - np.arange(knots)), 0, None)
            field = torch.tensordot(torch.as_tensor(weights, dtype=torch.float32), field, ([1], [axis + 1]))
            field = field.movedim(0, axis + 1)
        return field.contiguous()


def draw_warp(rng: np.random.Generator, most_degrees: float = 25.0, bend_mm: float = 3.0) -> Warp:
    """Draw a random pose and shape: rotation, scaling from 0.85 to 1.15, some shear, and a smooth displacement.

    Parameters
    ----------
    most_degrees
        Rotations about each axis are uniform up to this angle.
    bend_mm
        Standard deviation of the displacement at the knots; 0 makes the warp affine.
    """
    angles = np.radians(rng.uniform(-most_degrees, most_degrees, 3))
    matrix = np.eye(4)
    shear = np.eye(3) + np.triu(rng.uniform(-0.05, 0.05, (3, 3)), 1)
    matrix[:3, :3] = np.diag(1 / rng.uniform(0.85, 1.15, 3)) @ shear @ make_rotation_matrix(angles)
    return Warp(matrix, (bend_mm * rng.standard_normal((3, *KNOTS))).astype(np.float32))


def make_rigid_warp(matrix: NDArray[np.float64]) -> Warp:
    """Make a warp that is the given 4x4 matrix from scan mm to label map mm, and nothing else."""
    return Warp(matrix, np.zeros((3, *KNOTS), dtype=np.float32))


def paint_tissues(
    label_map: LabelMap, places: list[torch.Tensor], levels: NDArray[np.float32], spread: NDArray[np.float32]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint the tissues at the places that `Warp.sample` found, and average: a voxel at a border is a mixture.

    Parameters
    ----------
    levels, spread
        Brightness of each tissue, and how much it varies from voxel to voxel or from place to place, (tissues,).

    Returns
    -------
    The image, and the local spread; float32 (i, j, k) each.
    """
    import torch

    tissues = torch.from_numpy(label_map.tissues).flatten()
    colours, wide = torch.from_numpy(levels), torch.from_numpy(spread)
    image = torch.zeros(places[0].shape)
    for flat in places:
        image += torch.take(colours, torch.take(tissues, flat).long()) / len(places)
    return image, torch.take(wide, torch.take(tissues, places[0]).long())


def get_structures(label_map: LabelMap, places: torch.Tensor) -> torch.Tensor:
    """Return the structures (uint8) at the places that `Warp.sample` found."""
    import torch

    return torch.take(torch.from_numpy(label_map.structures), places)


def make_smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], edge: int) -> torch.Tensor:
    """Make noise of about unit variance, float32 of `shape`, that varies over about `edge` voxels."""
    import torch
    import torch.nn.functional as functional

    knots = rng.standard_normal([max(2, 1 + -(-n // edge)) for n in shape], dtype=np.float32)
    wide = functional.interpolate(torch.from_numpy(knots)[None, None], size=shape, mode="trilinear", align_corners=True)
    return 1.6 * wide[0, 0]  # interpolation between knots takes away variance


def acquire_slices(
    image: Volume, rng: np.random.Generator, axis: int, slice_mm: float, spacing_mm: float | None = None
) -> Volume:
    """Acquire a fine image with thick slices along an axis of its grid.

    Each slice is the mean over `slice_mm`; slices are `spacing_mm` apart (as thick as they are if None); where the
    first one lies is random.

    Returns
    -------
    The scan: fewer voxels along `axis`, the others as they were.
    """
    step = spacing_mm or slice_mm
    edge = float(image.spacing_mm[axis])
    count = max(2, int(image.voxels.shape[axis] * edge / step))
    first = rng.uniform(0, max(0.0, image.voxels.shape[axis] * edge - count * step)) + (step - edge) / 2
    centres = first + step * np.arange(count)
    distance = np.abs(centres[:, None] - edge * np.arange(image.voxels.shape[axis])[None])
    weights = np.clip((slice_mm + edge) / 2 - distance, 0, min(edge, slice_mm))
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    voxels = np.tensordot(weights.astype(np.float32), image.voxels, ([1], [axis]))
    affine = image.affine.copy()
    affine[:3, 3] += image.affine[:3, axis] / edge * first
    affine[:3, axis] *= step / edge
    return Volume(np.ascontiguousarray(np.moveaxis(voxels, 0, axis)), affine)
