"""The region of the template's grid that the identity network looks at: what nearly all training scans show as body.

Two questions are asked of every voxel, because a scan may lack it for two reasons. Does the body reach there in nearly
every scan whose field of view does? If not, the voxel would show air, and with it the outline of the head. Do the
fields of view of most scans reach there? A scan whose field of view is shorter is left blank where it shows nothing
(`Atlas.view`), so it costs the others nothing. A scan that lies wrong on the template answers neither question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

BODY_INTENSITY_THRESHOLD = 0.3
"""Normalised intensity above which a voxel belongs to the body; 1 is the median of bright tissue."""
MIN_BODY_SHARE = 0.98
"""Share of the scans reaching a voxel that must show the body there. A laxer one lets the outline of heads in."""
MIN_REACHING_SHARES = (0.8, 0.65, 0.5)
"""Share of the scans whose field of view must reach a voxel. The next one is taken where the region would be smaller
than MIN_SHARE_OF_TYPICAL_BODY."""
MIN_SHARE_OF_TYPICAL_BODY = 0.5
"""A region of at least this share of the typical body is large enough."""
TYPICAL_BODY_SHARE = 0.9
"""The typical body is where this share of the scans reaching a voxel show the body, and half of all scans reach."""
MIN_AGREEMENT = 0.92
"""A scan that shows the body in less of the typical body, as far as it reaches, lies wrong and has no vote."""
RIM_VOXELS = 2
"""Voxels by which the region is eroded."""
MIN_GRID_SHARE = 0.02
"""A region smaller than this share of the grid is none: the scans have no body in common."""


@dataclass(frozen=True)
class ShownBodies:
    """What each of n aligned scans shows.

    Attributes
    ----------
    body
        (n, i, j, k): the body, with the cavities that it encloses.
    reached
        (n, i, j, k): the field of view.
    """

    body: Mask
    reached: Mask

    def part(self, chosen: Mask) -> ShownBodies:
        """Select the scans (n,) that are marked."""
        return ShownBodies(self.body[chosen], self.reached[chosen])

    def find_body(self, share: float) -> Mask:
        """Find the voxels (i, j, k) where this share of the scans reaching them, and at least one, show the body."""
        count = self.reached.sum(0)
        return np.asarray((self.body.sum(0) >= share * count) & (count > 0))

    def find_typical_body(self, share: float = TYPICAL_BODY_SHARE) -> Mask:
        """Find the voxels (i, j, k) of `find_body` that half of all scans reach."""
        return np.asarray(self.find_body(share) & (self.reached.mean(0) >= 0.5))

    def measure_agreement(self) -> NDArray[np.float64]:
        """Measure in how much (n,) of the typical body each scan shows the body, as far as it reaches; 1 is all."""
        typical = self.find_typical_body()
        expected = (self.reached & typical).sum((1, 2, 3))
        return np.asarray((self.body & typical).sum((1, 2, 3)) / np.maximum(expected, 1))


def extract_bodies(volumes: Sequence[NDArray[np.floating[Any]]]) -> ShownBodies:
    """Extract what each of some aligned volumes shows.

    Parameters
    ----------
    volumes
        Normalised intensities (i, j, k) of one shape; exactly 0 is outside the field of view.
    """
    from scipy.ndimage import binary_fill_holes

    body = np.stack([binary_fill_holes(volume > BODY_INTENSITY_THRESHOLD) for volume in volumes])
    return ShownBodies(body, body | np.stack([np.asarray(volume) > 0 for volume in volumes]))


def find_common_region(shown: ShownBodies) -> NDArray[np.float32]:
    """Find the region (i, j, k), 0 or 1, that the network looks at; the whole grid if the scans share nothing.

    Scans below MIN_AGREEMENT have no vote, unless they are more than half of all.

    Examples
    --------
    >>> scans = np.zeros((10, 24, 24, 24), dtype=np.float32)
    >>> scans[:, 4:20, 4:20, 4:20] = 1
    >>> scans[0, :, :, 12:] = 0  # one short field of view
    >>> int(find_common_region(extract_bodies(list(scans))).sum())  # (20 - 4 - 2 * RIM_VOXELS) ** 3
    1728
    """
    voting = shown.measure_agreement() >= MIN_AGREEMENT
    voters = shown.part(voting) if voting.mean() >= 0.5 else shown
    body, reached = voters.find_body(MIN_BODY_SHARE), voters.reached.mean(0)
    enough = MIN_SHARE_OF_TYPICAL_BODY * _erode(voters.find_typical_body()).sum()
    for share in MIN_REACHING_SHARES:
        region = _erode(body & (reached >= share))
        if region.sum() >= enough:
            break
    for candidate in (region, _erode(voters.find_typical_body())):
        if candidate.mean() > MIN_GRID_SHARE:
            return candidate.astype(np.float32)
    return np.ones(region.shape, dtype=np.float32)


def _erode(region: Mask) -> Mask:
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(region, iterations=RIM_VOXELS))
