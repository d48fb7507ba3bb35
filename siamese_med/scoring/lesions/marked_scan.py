"""The lesions that are marked in one scan, and how much they overlap with those of another scan of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.study.thresholds import BOUNDARY_SD_VOXELS, MAX_LINK_MM, MIN_LESION_VOXELS, MIN_LINK_SHARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class MarkedScan:
    """The mask of the lesions of one scan. A lesion of it is a connected part: across faces, edges and corners.

    Attributes
    ----------
    mask
        Lesions (i, j, k), bool.
    affine
        4x4, voxel indices to the scan's mm (RAS+).
    to_patient
        4x4, the scan's mm to those of the patient's reference scan.

    Examples
    --------
    >>> mask = np.zeros((8, 8, 8), dtype=bool)
    >>> mask[1:3, 1:3, 1:3] = mask[5, 5, 5] = True
    >>> MarkedScan(mask, np.eye(4), np.eye(4)).volumes_ml.round(3).tolist()
    [0.008, 0.001]
    """

    mask: NDArray[np.bool_]
    affine: Matrix
    to_patient: Matrix

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """The number of the lesion that each voxel belongs to, from 1, (i, j, k); 0 outside."""
        from scipy.ndimage import label

        found, _ = label(self.mask, structure=np.ones((3, 3, 3)))
        return np.asarray(found, dtype=np.int32)

    @cached_property
    def voxels(self) -> NDArray[np.intp]:
        """Indices of the marked voxels (n, 3)."""
        return np.argwhere(self.mask)

    @cached_property
    def lesion_of_voxels(self) -> NDArray[np.int32]:
        """The lesion of each of `voxels` (n,), from 0."""
        return self.labels[self.mask] - 1

    @cached_property
    def count(self) -> int:
        """Return the number of lesions."""
        return int(self.labels.max(initial=0))

    @cached_property
    def specks(self) -> frozenset[int]:
        """The lesions, from 0, of less than MIN_LESION_VOXELS."""
        sizes = np.bincount(self.lesion_of_voxels, minlength=self.count)
        return frozenset(np.flatnonzero(sizes < MIN_LESION_VOXELS).tolist())

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @cached_property
    def volumes_ml(self) -> NDArray[np.float64]:
        """Volume of each lesion (count,) in ml."""
        return np.asarray(np.bincount(self.lesion_of_voxels, minlength=self.count) * self.voxel_ml, dtype=np.float64)

    @cached_property
    def errors_ml(self) -> NDArray[np.float64]:
        """Standard deviation of each volume (count,) in ml: what lies within BOUNDARY_SD_VOXELS of its surface."""
        padded = np.pad(self.labels, 1)
        faces = np.zeros(self.count + 1)
        for axis in range(3):
            low, high = (np.moveaxis(padded, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
            edge = low != high
            faces += np.bincount(low[edge], minlength=self.count + 1) + np.bincount(
                high[edge], minlength=self.count + 1
            )
        return np.asarray(BOUNDARY_SD_VOXELS * faces[1:] * self.voxel_ml)

    @cached_property
    def centres_mm(self) -> NDArray[np.float64]:
        """Centre of each lesion (count, 3), in the scan's mm (RAS+)."""
        sums = np.stack(
            [np.bincount(self.lesion_of_voxels, self.voxels[:, axis], minlength=self.count) for axis in range(3)], 1
        )
        counts = np.bincount(self.lesion_of_voxels, minlength=self.count)
        centres = sums / np.maximum(counts, 1)[:, None]
        return np.asarray(centres @ self.affine[:3, :3].T + self.affine[:3, 3])

    def locate_part(self, part: int) -> NDArray[np.float64]:
        """Return the centres of the voxels of one lesion, from 0, (n, 3), in the scan's mm."""
        voxels = self.voxels[self.lesion_of_voxels == part]
        return np.asarray(voxels @ self.affine[:3, :3].T + self.affine[:3, 3])

    @cached_property
    def places_mm(self) -> NDArray[np.float64]:
        """Centres of the marked voxels (n, 3), in the patient's mm."""
        matrix = self.to_patient @ self.affine
        return np.asarray(self.voxels @ matrix[:3, :3].T + matrix[:3, 3])

    def find_voxels_at(self, places_mm: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the voxels (n, 3) nearest to places in the patient's mm (n, 3); they may lie outside the scan."""
        matrix = np.linalg.inv(self.to_patient @ self.affine)
        return np.asarray(np.rint(places_mm @ matrix[:3, :3].T + matrix[:3, 3]), dtype=np.intp)


def measure_overlaps(one: MarkedScan, other: MarkedScan) -> NDArray[np.float64]:
    """Measure how much the lesions of two scans overlap.

    A lesion with no overlap is joined to the nearest lesion of the other scan within MAX_LINK_MM, since neither marks
    nor registration are exact to a voxel; half its own volume is taken for the overlap then.

    Returns
    -------
    numpy.ndarray
        Overlap in ml, (lesions of one, lesions of the other). It is 0 where it is less than MIN_LINK_SHARE of the
        smaller lesion: there the two only touch.
    """
    forth, back = _count_overlaps(one, other) * one.voxel_ml, _count_overlaps(other, one).T * other.voxel_ml
    overlaps = np.maximum(forth, back)
    smaller = np.minimum(one.volumes_ml[:, None], other.volumes_ml[None, :])
    overlaps[overlaps < MIN_LINK_SHARE * smaller] = 0
    _join_neighbours(one, other, overlaps)
    return overlaps


def measure_share_shown(one: MarkedScan, other: MarkedScan) -> NDArray[np.float64]:
    """Return which share of each lesion of a scan lies in the field of view of another one, (lesions of one,)."""
    shown = _are_inside(other.find_voxels_at(one.places_mm), other.mask.shape)
    sizes = np.bincount(one.lesion_of_voxels, minlength=one.count)
    return np.asarray(np.bincount(one.lesion_of_voxels, shown, minlength=one.count) / np.maximum(sizes, 1))


def _are_inside(voxels: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(((voxels >= 0) & (voxels < shape)).all(1))


def _count_overlaps(one: MarkedScan, other: MarkedScan) -> NDArray[np.float64]:
    """Count the voxels of each lesion of one scan that lie in each lesion of the other."""
    counts = np.zeros((one.count, other.count))
    voxels = other.find_voxels_at(one.places_mm)
    inside = _are_inside(voxels, other.mask.shape)
    met = other.labels[tuple(voxels[inside].T)]
    np.add.at(counts, (one.lesion_of_voxels[inside][met > 0], met[met > 0] - 1), 1)
    return counts


def _join_neighbours(one: MarkedScan, other: MarkedScan, overlaps: NDArray[np.float64]) -> None:
    """Set the overlap of pairs of lesions without any, each the nearest lone one of the other."""
    from scipy.spatial import cKDTree

    alone = np.flatnonzero(~overlaps.any(1)), np.flatnonzero(~overlaps.any(0))
    if not (len(alone[0]) and len(alone[1])):
        return
    reach = MAX_LINK_MM + max(np.linalg.norm(scan.affine[:3, :3], axis=0).max() for scan in (one, other)) / 2
    trees = [
        [cKDTree(scan.places_mm[scan.lesion_of_voxels == lesion]) for lesion in lonely]
        for scan, lonely in zip((one, other), alone, strict=True)
    ]
    near = [
        (distance, first, second)
        for first, tree in zip(alone[0], trees[0], strict=True)
        for second, neighbour in zip(alone[1], trees[1], strict=True)
        if (distance := tree.sparse_distance_matrix(neighbour, reach, output_type="ndarray")["v"].min(initial=np.inf))
        <= reach
    ]
    for _, first, second in sorted(near):
        if not overlaps[first].any() and not overlaps[:, second].any():
            overlaps[first, second] = min(one.volumes_ml[first], other.volumes_ml[second]) / 2
