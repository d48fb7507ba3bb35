"""Location of a place in the brain, in the words of a report, by the structures that its own scan shows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.structures import Structure
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOUCHING_MM = 3.0
"""White matter this near a lateral ventricle is periventricular, and this near the cortex juxtacortical.

Unit: mm. Source: our choice; one and a half voxels of the segmentation. In reports of multiple sclerosis the words mean
contact (Filippi et al., Brain, 2019)."""
MIN_SHARE_OF_A_SIDE = 0.2
"""Minimum share of voxels on each side of the midline for a place to be on both sides. Source: our choice."""
TISSUE_NAMES = {
    "WHITE_MATTER": "white matter",
    "CORTEX": "cortex",
    "DEEP_GREY": "deep grey matter",
    "LATERAL_VENTRICLE": "lateral ventricle",
    "CEREBELLUM": "cerebellum",
    "BRAIN_STEM": "brain stem",
    "OTHER_FLUID": "fluid spaces",
}


def name_region(structures: Volume, places_mm: NDArray[np.float64]) -> str | None:
    """Name the region of the brain in which most of some places lie.

    Parameters
    ----------
    structures
        The number of `Structure` of each voxel (i, j, k), with the affine to the scan's mm (RAS+).
    places_mm
        Places (n, 3) in the scan's mm.

    Returns
    -------
    str or None
        Such as `left periventricular white matter`, `deep grey matter on both sides` or `brain stem`; None where the
        places lie outside the brain.

    Examples
    --------
    >>> numbers = np.full((12, 12, 12), Structure.LEFT_WHITE_MATTER)
    >>> numbers[:, :4] = Structure.LEFT_LATERAL_VENTRICLE
    >>> brain = Volume(numbers, np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> name_region(brain, np.array([[12.0, 8.0, 12.0]])), name_region(brain, np.array([[12.0, 18.0, 12.0]]))
    ('left periventricular white matter', 'left deep white matter')
    >>> numbers[6:] += Structure.RIGHT_WHITE_MATTER - Structure.LEFT_WHITE_MATTER
    >>> name_region(brain, np.array([[x, 18.0, 12.0] for x in (8.0, 10.0, 12.0, 14.0)]))
    'deep white matter on both sides'
    """
    voxels = np.rint((places_mm - structures.affine[:3, 3]) @ np.linalg.inv(structures.affine[:3, :3]).T).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < structures.voxels.shape)).all(1)]
    met = np.bincount(np.asarray(structures.voxels[tuple(voxels.T)], dtype=int), minlength=len(Structure))
    tissues, sides = _count_tissues_and_sides(met)
    tissue, most = tissues.most_common(1)[0]
    if not most:
        return None
    words = TISSUE_NAMES[tissue]
    if tissue == "WHITE_MATTER":
        words = f"{_place_white_matter(structures, voxels)} {words}"
    return words if tissue in Structure.__members__ else _add_side(words, sides)


def _count_tissues_and_sides(met: NDArray[np.int64]) -> tuple[Counter[str], Counter[str]]:
    """Count voxels by tissue, both sides together, and by side, from their number by `Structure`."""
    tissues: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    for structure in Structure:
        side, _, tissue = structure.name.partition("_")
        sided = side in ("LEFT", "RIGHT")
        if structure != Structure.BACKGROUND:
            tissues[tissue if sided else structure.name] += int(met[structure])
        if sided:
            sides[side.lower()] += int(met[structure])
    return tissues, sides


def _add_side(words: str, sides: Counter[str]) -> str:
    """Say the side, or that it is both: what crosses the midline has its centre on either."""
    (side, most), (_, fewer) = sides.most_common(2)
    return f"{words} on both sides" if fewer >= MIN_SHARE_OF_A_SIDE * (most + fewer) else f"{side} {words}"


def _place_white_matter(structures: Volume, voxels: NDArray[np.int64]) -> str:
    """Whether white matter touches a lateral ventricle, or else the cortex, or neither."""
    if _touches(structures, voxels, (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)):
        return "periventricular"
    near = _touches(structures, voxels, (Structure.LEFT_CORTEX, Structure.RIGHT_CORTEX))
    return "juxtacortical" if near else "deep"


def _touches(structures: Volume, voxels: NDArray[np.int64], which: tuple[Structure, ...]) -> bool:
    from scipy.ndimage import distance_transform_edt

    spacing = structures.spacing_mm
    room = np.ceil(TOUCHING_MM / spacing).astype(int)
    low = np.maximum(voxels.min(0) - room, 0)
    box = tuple(slice(a, b) for a, b in zip(low, voxels.max(0) + room + 1, strict=True))
    there = np.isin(structures.voxels[box], which)
    if not there.any():
        return False
    away = distance_transform_edt(~there, sampling=spacing)
    return bool(away[tuple((voxels - low).T)].min() <= TOUCHING_MM)
