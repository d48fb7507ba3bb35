"""The face of a head scan, found by the template of real heads and removed: `remove_face`.

The region of the face is defined once, in mm of the template. It is carried to the scan by the affine registration of
`head_template`. What lies near the brain, of the scan and of the template, is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain import head_grid, head_template
from siamese_med.brain.segmentation import BrainSegmentation, segment_brain
from siamese_med.imaging.intensity import choose_voxels
from siamese_med.imaging.volume import Volume
from siamese_med.study.thresholds import DOUBTFUL_HEAD_OVERLAP, DOUBTFUL_HEAD_QUALITY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siamese_med.brain.head_template import HeadAlignment

FACE_PROFILE = ((15.0, -62.0), (45.0, -36.0), (55.0, -16.0), (70.0, -2.0), (85.0, 10.0), (100.0, 16.0))
"""The upper and rear border of the face, seen from the side: (y, z) in mm of the template.

All in front of the first point and below the line is face: brows, eyes, nose, cheeks, mouth and jaw. Source: drawn on
the template in T1w, see `python -m benchmarks.defacing`."""
LOWEST_FACE_MM = -180.0
"""The face ends here, below the chin of the longest jaw. Unit: z, mm of the template. Source: our choice."""
EAR_X_MM, EAR_Y_MM, EAR_Z_MM = 74.0, (-45.0, 20.0), (-80.0, 0.0)
"""Ears lie farther to the side than this, between these limits, in mm of the template. Source: as FACE_PROFILE."""
BRAIN_MARGIN_MM, MIDLINE_MARGIN_MM, TEMPLATE_BRAIN_MARGIN_MM = 8.0, 10.0, 4.0
"""Minimum distances of removed voxels: to the scan's brain, off and near the midline; to the registered template's.

The roof of the orbit is thinner than that, so the upper edge of an eyeball may stay, behind its lid. Near the midline
the brain's lower border is less sure. Source: masks of experts, `python -m benchmarks.defacing`."""
MIDLINE_MM = 15.0
"""The midline reaches so far to both sides. Unit: x, mm of the template."""
MIN_SCALE, MAX_SCALE = 0.75, 1.35
"""Limits of a head's size along any direction, as a ratio to the template's. Source: our choice."""
FAR_MM = 200
"""Distances from the brain are measured up to here."""
MIN_AIR_VOXELS = 100
"""Fewer voxels of air are not asked for how bright air is."""


@dataclass(frozen=True)
class FacelessScan:
    """A scan without its face, and the voxels (i, j, k) that were set to the level of air."""

    scan: Volume
    removed: NDArray[np.bool_]


def remove_face(scan: Volume, contrast: str) -> FacelessScan | None:
    """Remove the face and the ears of a head scan of any contrast.

    Parameters
    ----------
    scan
        In RAS+ orientation. It may lack a face, scalp and face, or a part of the brain.
    contrast
        Its contrast; other words than `head_template.TEMPLATE_CONTRASTS` stand for an unknown one.

    Returns
    -------
    FacelessScan or None
        None where no head is found for sure, or it does not lie on the template well enough to say where its face is.

    Examples
    --------
    >>> empty = Volume(np.zeros((32, 32, 32), dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    >>> remove_face(empty, "T1w") is None
    True
    """
    segmentation = segment_brain(scan)
    if not segmentation.found():
        return None
    (alignment,) = head_template.register_to_head_template([scan], [segmentation], [contrast])
    if not is_face_place_sure(alignment):
        return None
    removed = find_face_region(scan, alignment.matrix, segmentation)
    voxels = np.where(removed, estimate_air_level(scan.voxels), scan.voxels).astype(scan.voxels.dtype)
    return FacelessScan(Volume(np.asfortranarray(voxels), scan.affine), removed)


def is_face_place_sure(alignment: HeadAlignment) -> bool:
    """Tell whether a scan lies on the template of heads so well that its face can be removed.

    Both limits are those below which an alignment is doubtful; one that is doubtful by either of them is not enough.
    """
    scales = np.linalg.svd(alignment.matrix[:3, :3], compute_uv=False)
    return bool(
        alignment.quality >= DOUBTFUL_HEAD_QUALITY
        and alignment.brain_overlap >= DOUBTFUL_HEAD_OVERLAP
        and scales.min() >= MIN_SCALE
        and scales.max() <= MAX_SCALE
    )


def find_face_region(scan: Volume, matrix: NDArray[np.float64], found: BrainSegmentation) -> NDArray[np.bool_]:
    """Find the voxels (i, j, k) of a scan that show face or ears, or air in front of them.

    Parameters
    ----------
    matrix
        4x4 from mm of the template to mm of the scan.
    found
        The brain of the scan.
    """
    to_template = np.linalg.inv(matrix) @ scan.affine
    shape = scan.voxels.shape
    j, k = (np.arange(n, dtype=np.float32) for n in shape[1:])
    own = _lay_distance_from_brain(found, scan.affine, shape)
    known = _lay_distance_from_brain(head_template.load_template_segmentation(), to_template, shape)
    region = np.zeros(shape, dtype=bool, order="F")
    for i in range(shape[0]):
        x, y, z = (
            np.float32(row[0] * i + row[3]) + np.float32(row[1]) * j[:, None] + np.float32(row[2]) * k[None]
            for row in to_template[:3]
        )
        margin = np.where(np.abs(x) > MIDLINE_MM, BRAIN_MARGIN_MM, MIDLINE_MARGIN_MM)
        region[i] = is_face_in_template(x, y, z) & (own[i] >= margin) & (known[i] >= TEMPLATE_BRAIN_MARGIN_MM)
    return region


def is_face_in_template(x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell for places of the template, in RAS+ mm, whether they are face or ears, whatever the brain's margin says.

    Examples
    --------
    >>> nose, crown, ear = (0, 110, -45), (0, 0, 80), (80, -10, -40)
    >>> is_face_in_template(*np.array([nose, crown, ear], dtype=np.float32).T)
    array([ True, False,  True])
    """
    front, height = np.array(FACE_PROFILE).T
    face = (y > front[0]) & (z < np.interp(y, front, height)) & (z > LOWEST_FACE_MM)
    ears = (np.abs(x) > EAR_X_MM) & (y > EAR_Y_MM[0]) & (y < EAR_Y_MM[1]) & (z > EAR_Z_MM[0]) & (z < EAR_Z_MM[1])
    return np.asarray(face | ears)


def _lay_distance_from_brain(
    brain: BrainSegmentation, voxels_to_mm: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Measure how far each voxel of a grid lies from a brain, in mm rounded down; FAR_MM or more far from it."""
    from scipy.ndimage import affine_transform, distance_transform_edt

    edge = np.linalg.norm(brain.affine[:3, :3], axis=0)
    reach = int(np.ceil(MIDLINE_MARGIN_MM / edge.min())) + 1
    away = distance_transform_edt(~np.pad(brain.mask, reach), sampling=edge).clip(max=FAR_MM).astype(np.uint8)
    there = np.linalg.inv(brain.affine) @ voxels_to_mm
    laid = affine_transform(away, there[:3, :3], there[:3, 3] + reach, shape, order=0, cval=FAR_MM)
    return np.asarray(laid)


def estimate_air_level(voxels: NDArray[np.generic]) -> float:
    """Estimate how bright air is: the median of the darkest voxels, as a value that the scan has.

    Examples
    --------
    >>> estimate_air_level(np.array([-1000.0] * 300 + [40.0] * 200))
    -1000.0
    """
    some = np.asarray(voxels).ravel(order="K")[choose_voxels(voxels.size, head_grid.SAMPLED_VOXELS)].astype(np.float64)
    air = some[some <= head_grid.find_air_limit(some)[1]]
    return float(np.sort(air)[len(air) // 2]) if len(air) >= MIN_AIR_VOXELS else float(some.min())
