"""The region of the template's grid that the identity network looks at: what nearly all training scans show as body.

Outside it some scans would show air, and with it the outline of the head, which tells persons apart without their
anatomy. But a scan with a short field of view, and one that lies wrong on the template, show little of the body that
the others show; they would shrink the region for everybody. So they have no vote. The network is shown such a scan as
far as it reaches, and nothing elsewhere (`Atlas.view`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

BODY_INTENSITY_THRESHOLD = 0.3
"""Normalised intensity above which a voxel belongs to the body; 1 is the median of bright tissue."""
MIN_SHARED_BODY_FRACTION = 0.98
"""Share of the voting scans that must show the body at a voxel. A laxer one lets the outline of heads in."""
RIM_VOXELS = 2
"""Voxels by which the region is eroded."""
INNER_VOXELS = 4
"""Voxels below the surface from which on small and large heads show the body alike."""
MIN_SHOWN_SHARE = 0.85
"""A scan votes if it shows this share of the body below INNER_VOXELS. Of scans of 12 real heads, well aligned ones that
reach everywhere show .946 and more, slabs .65 to .81. One that lies 17 mm off shows .92; it votes, and costs the region
a twentieth."""
MIN_GRID_SHARE = 0.02
"""A region smaller than this share of the grid is none: the scans have no body in common."""


def extract_bodies(volumes: Sequence[NDArray[np.floating[Any]]]) -> Mask:
    """Mark the body, with the cavities that it encloses, in each of n aligned volumes.

    Parameters
    ----------
    volumes
        Normalised intensities (i, j, k), all of one shape.

    Returns
    -------
    Mask
        (n, i, j, k).
    """
    from scipy.ndimage import binary_fill_holes

    return np.stack([binary_fill_holes(volume > BODY_INTENSITY_THRESHOLD) for volume in volumes])


def find_usual_body(bodies: Mask) -> Mask:
    """Find the voxels (i, j, k) where at least half of the scans show the body; `bodies` is (n, i, j, k)."""
    return np.asarray(bodies.mean(0) >= 0.5)


def find_voting_scans(bodies: Mask) -> Mask:
    """Find the scans (n,) that have a vote on the common region: those that show most of the usual body.

    Parameters
    ----------
    bodies
        Body of each scan, (n, i, j, k).

    Returns
    -------
    Mask
        All scans where fewer than half would have a vote.

    Examples
    --------
    >>> bodies = np.zeros((5, 24, 24, 24), dtype=bool)
    >>> bodies[:, 4:20, 4:20, 4:20] = True
    >>> bodies[0, :, :, 12:] = False  # a short field of view
    >>> find_voting_scans(bodies).tolist()
    [False, True, True, True, True]
    """
    inner = _erode(find_usual_body(bodies), INNER_VOXELS)
    voting = (bodies & inner).sum((1, 2, 3)) >= MIN_SHOWN_SHARE * inner.sum()
    return np.asarray(voting if 2 * voting.sum() >= len(bodies) else np.ones(len(bodies), dtype=bool))


def find_common_region(bodies: Mask) -> NDArray[np.float32]:
    """Find the region (i, j, k), 0 or 1, that nearly all voting scans show; the whole grid if they share nothing.

    Parameters
    ----------
    bodies
        Body of each scan, (n, i, j, k), see `extract_bodies`.

    Examples
    --------
    >>> bodies = np.zeros((5, 24, 24, 24), dtype=bool)
    >>> bodies[:, 4:20, 4:20, 4:20] = True
    >>> bodies[0, :, :, 12:] = False
    >>> int(find_common_region(bodies).sum())  # (20 - 4 - 2 * RIM_VOXELS) ** 3
    1728
    """
    shared = bodies[find_voting_scans(bodies)].mean(0) >= MIN_SHARED_BODY_FRACTION
    for body in (shared, find_usual_body(bodies)):
        region = _erode(body, RIM_VOXELS)
        if region.mean() > MIN_GRID_SHARE:
            return region.astype(np.float32)
    return np.ones(region.shape, dtype=np.float32)


def _erode(region: Mask, voxels: int) -> Mask:
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(region, iterations=voxels))
