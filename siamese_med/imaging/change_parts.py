"""The listed parts of a change map, found again in the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import Volume
from siamese_med.study.component import Component
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY
from siamese_med.study.vocabulary import ComponentKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RADII_AWAY = 3.0
"""Changed tissue farther from the centre of a part is none of it. Unit: radii of a sphere that has its volume.

The centre of a curved part lies outside its tissue. Source: our choice."""


def label_changed_parts(change_map: Volume, components: Sequence[Component]) -> tuple[NDArray[np.int32], list[int]]:
    """Label the connected changed tissue of a map, and find which listed part is which.

    Parameters
    ----------
    change_map
        Probability of change on the voxels of the earlier scan (i, j, k), 0 to 1.
    components
        The listed parts of the pair.

    Returns
    -------
    labels
        The number of the connected tissue that each voxel belongs to, from 1, (i, j, k); 0 outside. Voxels are
        connected across faces, edges and corners.
    numbers
        For each of `components`, the label of the tissue nearest to its centre; 0 for a part that is no stronger than a
        rescan, or has no place, and where no tissue is near: such a part is in the list of parts, but below the limit
        of the map. Two parts that touch, one brighter and one darker, have the same.

    Examples
    --------
    >>> voxels = np.zeros((9, 9, 9))
    >>> voxels[2, 2, 2] = voxels[6, 6, 6:8] = 0.99
    >>> part = Component("new", 0.002, 1, 0.001, (None,) * 3, (6.0, 6.0, 6.5))
    >>> label_changed_parts(Volume(voxels, np.eye(4)), [part])[1]
    [2]
    """
    from scipy.ndimage import label
    from scipy.spatial import cKDTree

    found, _ = label(np.asarray(change_map.voxels) >= MIN_CHANGE_PROBABILITY, structure=np.ones((3, 3, 3)))
    labels = np.asarray(found, dtype=np.int32)
    numbers = [0] * len(components)
    listed = [n for n, part in enumerate(components) if part.kind != ComponentKind.MAY_BE_CHANCE and _has_place(part)]
    voxels = np.argwhere(labels)
    if listed and len(voxels):
        places = voxels @ change_map.affine[:3, :3].T + change_map.affine[:3, 3]
        centres = np.array([components[n].earlier_mm for n in listed], dtype=float)
        away, nearest = cKDTree(places).query(centres)
        half_voxel = float(np.abs(change_map.affine[:3, :3]).sum(1).max()) / 2
        for n, distance, number in zip(listed, away, labels[tuple(voxels[nearest].T)].tolist(), strict=True):
            if distance <= half_voxel + MAX_RADII_AWAY * _get_radius_mm(components[n]):
                numbers[n] = number
    return labels, numbers


def _get_radius_mm(part: Component) -> float:
    """Radius of a sphere that has the volume of the part."""
    return float(np.cbrt(1000 * (part.volume_ml or 0.0) * 3 / (4 * np.pi)))


def _has_place(part: Component) -> bool:
    return len(part.earlier_mm) == 3 and None not in part.earlier_mm
