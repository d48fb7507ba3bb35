"""Segmentation of the brain and of its parts in a head scan of any contrast: `segment_brain`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.brain import head_grid
from siamese_med.brain.structures import Structure
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

BRAIN_THRESHOLD = 128
"""Voxels with at least this probability of brain (of 255) are brain."""
MIN_BRAIN_ML, MAX_BRAIN_ML = 150.0, 2300.0
"""A slab that shows less of a brain, or an organ that fills more, is no brain that can be worked with."""
MAX_FIELD_ML = 600_000.0
"""A field of view larger than a whole body is a wrong unit, and its grid would fill the memory. Source: our choice."""
MIN_CONFIDENCE = 0.85
"""Mean probability of brain, inside the mask, from which on a brain counts as found."""
MIN_STRUCTURE_ML = 1.0
"""Smaller structures have no centroid."""
MAX_CUT_FRACTION = 0.02
"""A structure with more than this share of its voxels at the edge of the field of view is cut off."""
MAX_CUT_BRAIN = 0.005
"""The volume of a brain with more than this share of its voxels at the edge of the field of view is not measured."""
MAX_PASSES, MIN_SHIFT_VOXELS = 3, 6
"""The network is run again around the brain that it found when that lies at least this far off the centre."""


VENTRICLES = (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)
NO_TISSUE = (Structure.BACKGROUND, Structure.OTHER_FLUID, *VENTRICLES)


class StructureVolumes(NamedTuple):
    """Volumes in ml of brain tissue, without fluid, and of the lateral ventricles; None where the scan cuts one off."""

    brain_ml: float | None
    ventricles_ml: float | None


@dataclass(frozen=True)
class BrainSegmentation:
    """The brain of one scan on a grid of 2 mm.

    Attributes
    ----------
    structures
        uint8 (i, j, k), numbers of `Structure`; background outside the brain mask.
    brain
        uint8 (i, j, k), probability of brain, 0 to 255.
    affine
        4x4 from voxel to RAS+ mm of the scan. The axes are the scan's, ordered right, front, head.
    inside
        bool (i, j, k), where the scan has data; None stands for everywhere.
    """

    structures: NDArray[np.uint8]
    brain: NDArray[np.uint8]
    affine: NDArray[np.float64]
    inside: NDArray[np.bool_] | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The brain mask, bool (i, j, k)."""
        return self.brain >= BRAIN_THRESHOLD

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def volume_ml(self) -> float:
        """Compute the volume of the brain mask in ml: of the part that the scan shows."""
        return float(self.mask.sum()) * self.voxel_ml

    def confidence(self) -> float:
        """Compute the mean probability of brain inside the mask, 0 to 1; 0 for an empty mask."""
        return float(self.brain[self.mask].mean()) / 255 if self.mask.any() else 0.0

    def found(self) -> bool:
        """Tell whether there is a plausible brain: its volume, the network's confidence, and parts of it on both sides.

        False for crops that show too little of a brain. True does not mean that it is a head: the network expects one,
        and sees it in noise and in a ball too. The quality of the registration to the head template tells these apart.
        """
        if not MIN_BRAIN_ML <= self.volume_ml() <= MAX_BRAIN_ML or self.confidence() < MIN_CONFIDENCE:
            return False
        shares = np.bincount(self.structures[self.mask].ravel(), minlength=len(Structure)) / max(1, self.mask.sum())
        white = shares[Structure.LEFT_WHITE_MATTER] + shares[Structure.RIGHT_WHITE_MATTER]
        cortex = shares[Structure.LEFT_CORTEX] + shares[Structure.RIGHT_CORTEX]
        return bool(white > 0.05 and cortex > 0.05 and white + cortex > 0.3)

    @cached_property
    def centroids(self) -> dict[Structure, NDArray[np.float64]]:
        """The centroids of the structures that the scan shows whole.

        RAS+ mm (3,) of the scan by structure; fluid outside the ventricles and structures that are cut off by the field
        of view, or smaller than MIN_STRUCTURE_ML, are left out.
        """
        labels, edge = self.structures.ravel(), self._edge()
        counts = np.bincount(labels, minlength=len(Structure))
        cut = np.bincount(labels[edge.ravel()], minlength=len(Structure)) / np.maximum(counts, 1)
        steps = np.ogrid[tuple(slice(n) for n in self.structures.shape)]
        sums = [
            np.bincount(labels, np.broadcast_to(step, self.structures.shape).ravel(), len(Structure)) for step in steps
        ]
        places = (np.stack(sums, 1) / np.maximum(counts, 1)[:, None]) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return {
            structure: places[structure]
            for structure in Structure
            if structure not in (Structure.BACKGROUND, Structure.OTHER_FLUID)
            and counts[structure] * self.voxel_ml >= MIN_STRUCTURE_ML
            and cut[structure] <= MAX_CUT_FRACTION
        }

    def measure_volumes(self) -> StructureVolumes:
        """Measure the volumes of brain tissue and of the lateral ventricles, as far as the scan shows them whole.

        Examples
        --------
        >>> structures = np.zeros((8, 8, 8), dtype=np.uint8)
        >>> structures[2:6, 2:6, 2:6] = Structure.LEFT_WHITE_MATTER
        >>> structures[3, 3, 3:5] = Structure.LEFT_LATERAL_VENTRICLE
        >>> brain = np.where(structures > 0, 255, 0).astype(np.uint8)
        >>> BrainSegmentation(structures, brain, np.diag([10.0, 10, 10, 1])).measure_volumes()
        StructureVolumes(brain_ml=62.0, ventricles_ml=2.0)
        """
        edge = self._edge()
        ventricles = np.isin(self.structures, VENTRICLES)
        tissue = ~np.isin(self.structures, NO_TISSUE)
        return StructureVolumes(
            *(
                round(float(shown.sum()) * self.voxel_ml, 2) if shown.any() and edge[shown].mean() <= cut else None
                for shown, cut in ((tissue, MAX_CUT_BRAIN), (ventricles, MAX_CUT_FRACTION))
            )
        )

    def _edge(self) -> NDArray[np.bool_]:
        """Voxels at the edge of the field of view, or of the grid."""
        inside = np.pad(np.ones(self.brain.shape, dtype=bool) if self.inside is None else self.inside, 1)
        edge = np.zeros(self.brain.shape, dtype=bool)
        for axis in range(3):
            for neighbour in (slice(None, -2), slice(2, None)):
                edge |= ~inside[tuple(neighbour if n == axis else slice(1, -1) for n in range(3))]
        return np.asarray(edge & inside[1:-1, 1:-1, 1:-1])


def segment_brain(scan: Volume) -> BrainSegmentation:
    """Find the brain and its parts in a scan of a head.

    Any contrast, orientation of the axes, slice thickness and field of view; with or without scalp and face. Left and
    right are told apart by the affine, not by the image.

    Returns
    -------
    The segmentation on a grid of CROP_SHAPE voxels of 2 mm around the brain. Ask `found` whether there is a brain.

    Examples
    --------
    >>> empty = Volume(np.zeros((32, 32, 32), dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    >>> segment_brain(empty).found()
    False
    """
    if float(np.prod(scan.spacing_mm * scan.voxels.shape)) / 1000 > MAX_FIELD_ML:
        nothing = np.zeros(head_grid.CROP_SHAPE, dtype=np.uint8)
        return BrainSegmentation(nothing, nothing, scan.affine)
    grid = head_grid.resample_to_grid(scan)
    shown_ml = grid.voxels.size * head_grid.GRID_MM**3 / 1000
    if shown_ml < MIN_BRAIN_ML or not np.ptp(grid.voxels):  # the network would find the brain that it expects
        nothing = np.zeros(head_grid.CROP_SHAPE, dtype=np.uint8)
        return BrainSegmentation(nothing, nothing, grid.affine)
    centre = head_grid.guess_brain_centre(head_grid.scale_intensity(grid.voxels))
    best = None
    for _ in range(MAX_PASSES):
        found = _segment_crop(grid, centre)
        if best is None or found.volume_ml() > best.volume_ml():
            best = found
        if not found.mask.any():
            break
        shift = _find_middle(found) - np.asarray(head_grid.CROP_SHAPE) // 2
        cut = _find_cut_sides(found.mask) & (np.abs(shift) >= MIN_SHIFT_VOXELS)
        if not cut.any():
            break
        centre = centre + np.where(cut, shift, 0)
    assert best is not None
    return best


def _find_middle(found: BrainSegmentation) -> NDArray[np.int64]:
    """The middle of the box around the brain mask, in voxels."""
    places = np.argwhere(found.mask)
    return np.asarray((places.min(0) + places.max(0)) // 2)


def _find_cut_sides(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Along which axes (3,) the mask reaches the border of the grid."""
    return np.array([mask.take([0, 1, -2, -1], axis).any() for axis in range(3)])


def _segment_crop(grid: Volume, centre: NDArray[np.int64]) -> BrainSegmentation:
    import torch

    from siamese_med.brain.network import from_blocks, load_brain_network

    part, first = head_grid.crop_around(np.asarray(grid.voxels), centre)
    inside, _ = head_grid.crop_around(np.ones(grid.voxels.shape, dtype=bool), centre)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ first
    image = np.zeros(part.shape, dtype=np.float32)
    if inside.any():
        image[inside] = head_grid.scale_intensity(part[inside])
    with torch.inference_mode():
        scores = load_brain_network()(torch.from_numpy(image)[None, None])
        top, best = scores[:, :, 1:].max(2)
        rest = scores[:, :, 1:].sub_(top[:, :, None]).exp_().sum(2)
        shares = from_blocks(torch.sigmoid(top + rest.log_() - scores[:, :, 0]))[0].numpy()
        labels = from_blocks(best.to(torch.uint8))[0].numpy() + np.uint8(1)
    brain = np.round(255 * shares * inside).astype(np.uint8)
    mask = _clean_mask(brain >= BRAIN_THRESHOLD)
    brain = np.where(mask, np.maximum(brain, BRAIN_THRESHOLD), np.minimum(brain, BRAIN_THRESHOLD - 1))
    return BrainSegmentation(labels * mask, brain.astype(np.uint8), affine, inside)


def _clean_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest part, and fill its holes."""
    from scipy.ndimage import binary_fill_holes, label

    parts, count = label(mask)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = parts == sizes.argmax()
    return np.asarray(binary_fill_holes(mask), dtype=bool)
