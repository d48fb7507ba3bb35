"""Rigid registration of two scans of one patient, without a template: the result does not depend on their order.

The cost is the mean of two correlation ratios (`correlation_ratio`): that of the second scan given the first, and that
of the first given the second. One of them alone fails for some pairs of contrasts, since dark fluid, bone and air of
one contrast are three brightnesses in the other. Both are minimised together, as Gauss-Newton steps of one pose.

=======  ===============================================================  ==========================================
Step     What is tried                                                    Where the points lie
=======  ===============================================================  ==========================================
coarse   ten poses in each direction: that of the scanner's coordinates,  in the body
         and nine with the centres on each other
middle   the best three of each direction                                 in the regions, or else in the body
fine     the best one                                                     the same
=======  ===============================================================  ==========================================

The pose of the scanner's coordinates is kept unless another one is better by MIN_GAIN_OVER_SCANNER: between scans of
one session it is the best guess that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import correlation_ratio as correlation
from siamese_med.imaging.correlation_ratio import (
    AFFINE_DEGREES_OF_FREEDOM,
    RIGID_DEGREES_OF_FREEDOM,
    RegistrationCost,
)
from siamese_med.imaging.pose_optimisation import (
    MIN_STEP_GAIN,
    CostFunction,
    minimise_cost,
    minimise_registration_cost,
    move_poses,
)
from siamese_med.imaging.registration import (
    START_SHIFT_FRACTION,
    RegistrationLevel,
    Transform,
    make_starting_poses,
)
from siamese_med.imaging.registration_side import ScanSide
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Places = tuple[NDArray[np.int64], Matrix]

COARSE = RegistrationLevel(2.0, 1_200, 10, 7.0, 3)
MIDDLE = RegistrationLevel(1.0, 5_000, 6, 3.0, 1)
FINE = RegistrationLevel(0.6, 20_000, 8, 1.5, 1)
"""Levels of a pair. Lengths are in edges (`_edge_mm`), and `kept` is the number of poses that go on to the next level.

Source: open_ms patients 01 and 03, see `benchmarks/pair_pose.py`."""
MIN_GAIN_OVER_SCANNER = 0.02
"""The scanner's coordinates stay unless a pose leaves this share less unexplained.

Source: scans of one session of open_ms lie a median of 0.65 mm apart by their headers."""
NUDGE_EDGES = 4.0
"""`ScanPairPose.quality` compares the pose with poses that are so many edges away: 8 mm in a head."""


@dataclass(frozen=True)
class ScanPairPose:
    """Pose of two scans of one patient relative to each other.

    Attributes
    ----------
    matrix
        4x4, rigid, from mm of the first scan to mm of the second scan (RAS+).
    correlation_ratio
        Agreement at this pose, 0 to 1: the mean of both directions. It depends on the two contrasts and on noise.
    quality
        How distinct the pose is, 0 to 1: the mean loss of `correlation_ratio` when the second scan is moved by
        NUDGE_EDGES in each of the twelve directions of a rigid motion. It is 0 when one of these is as good.
    """

    matrix: Matrix
    correlation_ratio: float
    quality: float


def register_scan_pair(
    first: Volume,
    second: Volume,
    regions: tuple[Volume | None, Volume | None] = (None, None),
) -> ScanPairPose:
    """Register two scans of one patient to each other.

    Parameters
    ----------
    first, second
        Scans (i, j, k) with their affines to RAS+ mm, of any contrast and slice thickness.
    regions
        What is to lie on each other, such as the probability (i, j, k), 0 to 1, that a voxel is brain, on a grid of its
        own in the mm of each scan: neck, jaw, eyes and skin move. Unless both are given, the whole body counts.

    Returns
    -------
    ScanPairPose
        For swapped scans, `matrix` is the inverse, to the accuracy of the optimisation (about 0.1 mm); a caller who
        needs it exactly passes the scans in a fixed order.

    References
    ----------
    Roche et al., MICCAI 1998 (correlation ratio); Reuter, Rosas and Fischl, NeuroImage 2010 (inverse consistency).
    """
    import torch

    masks: tuple[Volume | None, Volume | None] = regions if all(one is not None for one in regions) else (None, None)
    search = _PairSearch(ScanSide(first, masks[0]), ScanSide(second, masks[1]))
    poses = search.find_coarse_poses()
    poses, _ = search.refine(poses, MIDDLE, 1)
    poses, left = search.refine(poses[:1], FINE, 2)
    scanner = torch.eye(4, dtype=torch.float64)[None]
    unmoved = search.cost_at(FINE, 2)(scanner, torch.zeros(1)).disagreement
    if float(unmoved[0]) * (1 - MIN_GAIN_OVER_SCANNER) <= float(left[0]) + MIN_STEP_GAIN:
        poses, left = scanner, unmoved
    return ScanPairPose(poses[0].numpy(), 1 - float(left[0]), search.measure_quality(poses[:1]))


def refine_scan_pair(
    first: ScanSide, second: ScanSide, starts: Sequence[Matrix], transform: Transform = "rigid"
) -> ScanPairPose:
    """Refine given poses of two scans, which may be of two people, and return the best one.

    Parameters
    ----------
    first, second
        The scans. A side can be used for several pairs; what was computed for the first one is used again.
    starts
        One starting pose or more, 4x4 from mm of the first to mm of the second scan.
    transform
        `affine` also finds scalings and shears.
    """
    import torch

    freedom = RIGID_DEGREES_OF_FREEDOM if transform == "rigid" else AFFINE_DEGREES_OF_FREEDOM
    search = _PairSearch(first, second, freedom)
    poses, _ = search.refine(torch.as_tensor(np.stack(starts), dtype=torch.float64), MIDDLE, 1)
    poses, left = search.refine(poses[:1], FINE, 2)
    return ScanPairPose(poses[0].numpy(), 1 - float(left[0]), search.measure_quality(poses))


class _PairSearch:
    """The cost of a pose of two scans, and the search for its minimum."""

    def __init__(self, first: ScanSide, second: ScanSide, freedom: int = RIGID_DEGREES_OF_FREEDOM) -> None:
        self.first, self.second, self.freedom = first, second, freedom
        self.lever, self.edge_mm = first.lever, first.edge_mm

    def find_coarse_poses(self) -> torch.Tensor:
        """Search in each direction alone; the best poses of both, (n, 4, 4), as matrices from first to second scan."""
        import torch

        forwards = self._search_one_way(self.first, self.second)
        backwards = torch.linalg.inv(self._search_one_way(self.second, self.first))
        return torch.cat([forwards, backwards])

    def _search_one_way(self, fixed: ScanSide, moving: ScanSide) -> torch.Tensor:
        import torch

        places, affine = fixed.body
        shift = START_SHIFT_FRACTION / 2 * float(np.ptp(places[:, 2])) * float(affine[2, 2])
        starts = np.stack([np.eye(4), *make_starting_poses(fixed.centre, moving.centre, shift)])
        poses, left = minimise_registration_cost(
            moving.smooth_image(self.edge_mm, COARSE.smoothing),
            torch.zeros(len(starts), dtype=torch.long),
            torch.as_tensor(starts),
            fixed.draw_points(self.edge_mm, COARSE, 0, in_body=True),
            (self.lever, COARSE.reach * self.edge_mm),
            COARSE.iterations,
            RIGID_DEGREES_OF_FREEDOM,
        )
        return poses[left.argsort(stable=True)[: COARSE.kept]]

    def refine(self, poses: torch.Tensor, level: RegistrationLevel, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine poses (n, 4, 4) in both directions together; returns them, best first, and 1 - correlation ratio."""
        scale = (self.lever, level.reach * self.edge_mm)
        found, left = minimise_cost(self.cost_at(level, seed), poses, scale, level.iterations)
        order = left.argsort(stable=True)
        return found[order], left[order]

    def cost_at(self, level: RegistrationLevel, seed: int) -> CostFunction:
        """Draw the points of a level, and return the cost of poses on them: the mean of both directions."""
        import torch

        sides = self.first, self.second
        points = [side.draw_points(self.edge_mm, level, seed) for side in sides]
        images = [side.smooth_image(self.edge_mm, level.smoothing) for side in sides]

        def cost(poses: torch.Tensor, _which: torch.Tensor) -> RegistrationCost:
            owners = torch.zeros(len(poses), dtype=torch.long)
            back = torch.linalg.inv(poses)
            there, here = (
                correlation.evaluate_registration_cost(image, owners, pose, drawn, self.lever, self.freedom)
                for image, pose, drawn in ((images[1], poses, points[0]), (images[0], back, points[1]))
            )
            return _join_directions(there, here, (poses, back), self.lever)

        return cost

    def measure_quality(self, pose: torch.Tensor) -> float:
        """Measure `ScanPairPose.quality` of a pose (1, 4, 4)."""
        import torch

        cost = self.cost_at(MIDDLE._replace(smoothing=FINE.smoothing), 3)
        here = cost(pose, torch.zeros(1))
        nudges = NUDGE_EDGES * self.edge_mm * torch.cat([torch.eye(6), -torch.eye(6)]).to(pose)
        moved = move_poses(pose.repeat(len(nudges), 1, 1), nudges, here.pivot, self.lever)
        lost = cost(moved, torch.zeros(len(nudges))).disagreement - here.disagreement
        return float(lost.mean().clamp(0, 1)) if lost.min() > 0 else 0.0


def _join_directions(
    there: RegistrationCost, here: RegistrationCost, poses: tuple[torch.Tensor, torch.Tensor], lever: float
) -> RegistrationCost:
    """The mean cost of poses and of their inverses, with the derivatives by a motion of the second scan.

    `poses` are those of `there` and of `here`, the inverses (n, 4, 4).
    """
    freedom = there.gradient.shape[1]
    turned = _invert_motions(there, here, poses, lever)[:, :freedom, :freedom].to(there.gradient.dtype)
    across = turned.transpose(1, 2)
    return RegistrationCost(
        (there.disagreement + here.disagreement) / 2,
        (there.gradient + (across @ here.gradient[:, :, None])[:, :, 0]) / 2,
        (there.curvature + across @ here.curvature @ turned) / 2,
        there.pivot,
    )


def _invert_motions(
    there: RegistrationCost, here: RegistrationCost, poses: tuple[torch.Tensor, torch.Tensor], lever: float
) -> torch.Tensor:
    """Matrix (n, 12, 12) from a motion of poses M to the motion of their inverses that it means.

    A motion G, t about the pivot p moves x to x + G (x - p) + t. So it moves y = M^-1 x by H (y - M^-1 p) - L t, where
    L is the linear part of M^-1 and H = -L G L^-1, and that is H (y - q) + H (q - M^-1 p) - L t about the inverse's own
    pivot q. Motions are in the order of `pose_optimisation.move_poses`, and G in units of 1 / lever.
    """
    import torch

    forth, back = poses
    linear = back[:, :3, :3]
    arm = here.pivot - (linear @ there.pivot[:, :, None])[:, :, 0] - back[:, :3, 3]
    generators = torch.zeros(AFFINE_DEGREES_OF_FREEDOM, 3, 3, dtype=back.dtype)
    for axis, (one, other) in enumerate(((1, 2), (2, 0), (0, 1))):
        generators[axis, other, one], generators[axis, one, other] = 1.0, -1.0
        generators[6 + axis, axis, axis] = 1.0
        generators[9 + axis, one, other] = generators[9 + axis, other, one] = 1.0
    moved = -torch.einsum("nij,kjl,nlm->nkim", linear, generators, forth[:, :3, :3])
    turned = torch.zeros(len(back), AFFINE_DEGREES_OF_FREEDOM, AFFINE_DEGREES_OF_FREEDOM, dtype=back.dtype)
    for axis, (one, other) in enumerate(((1, 2), (2, 0), (0, 1))):
        turned[:, axis] = (moved[:, :, other, one] - moved[:, :, one, other]) / 2
        turned[:, 6 + axis] = moved[:, :, axis, axis]
        turned[:, 9 + axis] = (moved[:, :, other, one] + moved[:, :, one, other]) / 2
    turned[:, 3:6] = (moved @ arm[:, None, :, None])[:, :, :, 0].transpose(1, 2) / lever
    turned[:, 3:6, 3:6] = -linear
    return turned
