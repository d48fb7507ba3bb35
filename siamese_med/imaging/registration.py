"""Rigid and affine registration of scans to a template, batched in torch; the same code runs on CPU and GPU.

The cost is the correlation ratio (`correlation_ratio`), the optimiser damped Gauss-Newton (`pose_optimisation`). Each
scan is registered from nine starting poses, coarsely on about a thousand points; the best three are refined at full
resolution, and the best of these to convergence.
A transform is a 4x4 matrix from fixed mm to moving mm (RAS+), as resampling needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from siamese_med.imaging import correlation_ratio as correlation
from siamese_med.imaging import interpolation
from siamese_med.imaging.correlation_ratio import (
    AFFINE_DEGREES_OF_FREEDOM,
    RIGID_DEGREES_OF_FREEDOM,
    SamplePoints,
)
from siamese_med.imaging.pose_optimisation import minimise_registration_cost, move_poses
from siamese_med.imaging.resampling import centre_of_mass
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from siamese_med.imaging.interpolation import PackedVolumes

    Matrix = NDArray[np.float64]

Transform = Literal["rigid", "affine"]
COARSE_GRID_MIN_SMOOTHING_VOXELS = 1.5
"""From this smoothing on, in voxels of the fixed grid, the moving scans are sampled on voxels twice as large."""
START_ROTATION_RADIANS, START_SHIFT_FRACTION = 0.35, 0.4
"""Starting poses: rotated by 20 degrees in both directions about each axis, and shifted along z by this share of half
the fixed grid's height."""
NUDGE_RADIUS_FRACTION, MIN_NUDGE_VOXELS = 0.125, 2.0
"""`Alignment.quality` compares the pose with poses that are this share of the body's radius away (7 degrees or 8 mm in
a head), and at least this many voxels, because on a coarse grid a smaller motion changes the cost little anywhere."""


class RegistrationLevel(NamedTuple):
    """One level of a coarse-to-fine registration.

    Attributes
    ----------
    smoothing
        Standard deviation of the Gaussian smoothing, in voxels of the fixed grid.
    points
        Number of sampled points.
    iterations
        Largest number of steps per pose.
    reach
        Longest single step, in voxels of the fixed grid.
    kept
        Number of poses per scan that this level starts from: the best ones of the level before.
    """

    smoothing: float
    points: int
    iterations: int
    reach: float
    kept: int = 1


TEMPLATE_LEVELS = (
    RegistrationLevel(2.0, 1_200, 10, 7.0, 9),
    RegistrationLevel(0.7, 4_800, 8, 2.0, 3),
    RegistrationLevel(0.7, 12_000, 5, 1.0),
)
"""Levels for a scan against the template: nine, three, then one pose."""


@dataclass(frozen=True)
class Alignment:
    """The result of registering one scan.

    Attributes
    ----------
    matrix
        4x4 from fixed mm to moving mm (RAS+).
    correlation_ratio
        Agreement at this pose, 0 to 1; it depends on contrast and noise.
    quality
        How distinct the pose is, 0 to 1: the mean loss of correlation ratio when the scan is moved by an eighth of the
        body's radius in each of the twelve directions of a rigid motion. It is 0 when any of these neighbours is as
        good as the pose, so that the pose cannot be trusted.
    """

    matrix: Matrix
    correlation_ratio: float
    quality: float


def register_scans(
    moving: Sequence[Volume],
    fixed: Volume,
    levels: Sequence[RegistrationLevel] = TEMPLATE_LEVELS,
    initial: Sequence[Matrix] | None = None,
    device: str = "cpu",
    inside: NDArray[np.bool_] | None = None,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    transform: Transform = "rigid",
) -> list[Alignment]:
    """Register every moving scan to the fixed volume.

    Parameters
    ----------
    levels
        Levels from coarse to fine, at least one.
    initial
        A starting matrix for each scan, from fixed mm to moving mm; if None, nine poses around the centres of mass.
    inside, masks
        Where the fixed volume holds data (i, j, k), and where each moving scan may be sampled, on its own grid.
    transform
        `affine` refines the rigid result with scalings and shears.
    """
    import torch

    chosen = list(masks or [None] * len(moving))
    starts = [initial] if initial is not None else _make_starts(moving, chosen, fixed)
    poses = torch.as_tensor(np.stack(starts), dtype=torch.float64, device=device)
    search = _PoseSearch(moving, chosen, fixed, inside, device)
    for number, level in enumerate(levels):
        poses, disagreement = search.follow(poses, level, number, RIGID_DEGREES_OF_FREEDOM)
    if transform == "affine":
        poses, disagreement = search.follow(poses, levels[-1], len(levels), AFFINE_DEGREES_OF_FREEDOM)
    quality = search.quality(poses[0], levels[-1])
    return [
        Alignment(matrix, 1 - float(left), float(sure))
        for matrix, left, sure in zip(poses[0].cpu().numpy(), disagreement, quality, strict=True)
    ]


def measure_alignments(
    moving: Sequence[Volume],
    fixed: Volume,
    matrices: Sequence[Matrix],
    device: str = "cpu",
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
) -> list[Alignment]:
    """Measure correlation ratio and quality of given matrices (4x4, fixed mm to moving mm); see `register_scans`."""
    import torch

    level = TEMPLATE_LEVELS[-1]
    search = _PoseSearch(moving, list(masks or [None] * len(moving)), fixed, None, device)
    poses = torch.as_tensor(np.stack(matrices), dtype=torch.float64, device=device)
    _, left = search.follow(
        poses[None], level._replace(iterations=0), len(TEMPLATE_LEVELS) - 1, RIGID_DEGREES_OF_FREEDOM
    )
    quality = search.quality(poses, level)
    return [
        Alignment(np.asarray(matrix), 1 - float(one), float(sure))
        for matrix, one, sure in zip(matrices, left, quality, strict=True)
    ]


def make_starting_poses(
    fixed_centre: NDArray[np.float64], moving_centre: NDArray[np.float64], shift_mm: float
) -> list[Matrix]:
    """Make nine starting poses of a scan: centre on centre, shifted up and down, and rotated about each axis.

    Parameters
    ----------
    fixed_centre, moving_centre
        Centre of the body (3,) in mm (RAS+) of the fixed and of the moving scan.
    shift_mm
        How far up and down.

    Returns
    -------
    Nine 4x4 matrices from mm of the fixed to mm of the moving scan.
    """
    from scipy.spatial.transform import Rotation

    along = np.array([0.0, 0.0, shift_mm])
    motions = [(np.zeros(3), np.zeros(3)), (np.zeros(3), along), (np.zeros(3), -along)]
    motions += [(sign * START_ROTATION_RADIANS * axis, np.zeros(3)) for axis in np.eye(3) for sign in (1, -1)]
    starts = []
    for turn, shift in motions:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
        matrix[:3, 3] = moving_centre + shift - matrix[:3, :3] @ fixed_centre
        starts.append(matrix)
    return starts


def _make_starts(
    moving: Sequence[Volume], masks: Sequence[NDArray[np.bool_] | None], fixed: Volume
) -> list[list[Matrix]]:
    """Nine lists, each with a starting pose for every moving scan."""
    shift = START_SHIFT_FRACTION / 2 * fixed.voxels.shape[2] * float(fixed.spacing_mm[2])
    centre = centre_of_mass(fixed)
    goals = [centre_of_mass(scan, mask) for scan, mask in zip(moving, masks, strict=True)]
    return [list(start) for start in zip(*(make_starting_poses(centre, goal, shift) for goal in goals), strict=True)]


class _PoseSearch:
    """The scans and the fixed volume, smoothed for each level on first use."""

    def __init__(
        self,
        moving: Sequence[Volume],
        masks: Sequence[NDArray[np.bool_] | None],
        fixed: Volume,
        inside: NDArray[np.bool_] | None,
        device: str,
    ) -> None:
        self.moving, self.masks, self.fixed, self.device = moving, masks, fixed, device
        self.spacing = float(fixed.spacing_mm[0])
        self.places = np.argwhere(correlation.find_body_mask(fixed.voxels, inside))
        self.lever = float(np.sqrt(((self.places - self.places.mean(0)) ** 2).sum(1).mean())) * self.spacing
        self.stacks: dict[float, tuple[PackedVolumes, PackedVolumes]] = {}

    def follow(
        self, poses: torch.Tensor, level: RegistrationLevel, seed: int, freedom: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine the poses (s, b, 4, 4); returns them, best first, and 1 - correlation ratio of the best (b,)."""
        import torch

        moving, points = self._images(level), self._points(level, seed)
        poses = poses[: level.kept]
        starts, scans = poses.shape[:2]
        owners = torch.arange(scans, device=poses.device).repeat(starts)
        scale = (self.lever, level.reach * self.spacing)
        found, left = minimise_registration_cost(
            moving, owners, poses.flatten(0, 1), points, scale, level.iterations, freedom
        )
        order = left.view(starts, scans).argsort(dim=0, stable=True)
        ranked = torch.gather(found.view(poses.shape), 0, order[:, :, None, None].expand(poses.shape))
        return ranked, left.view(starts, scans).min(0).values

    def quality(self, poses: torch.Tensor, level: RegistrationLevel) -> torch.Tensor:
        """Mean loss of correlation ratio when the poses (b, 4, 4) are moved a little: (b,), 0 to 1.

        It is 0 if any of the moves costs nothing: a wrong pose may lie on a steep ridge, but not on a peak.
        """
        import torch

        moving, points = self._images(level), self._points(TEMPLATE_LEVELS[1]._replace(smoothing=level.smoothing), 99)
        owners = torch.arange(len(poses), device=poses.device)
        here = correlation.evaluate_registration_cost(
            moving, owners, poses, points, self.lever, RIGID_DEGREES_OF_FREEDOM
        )
        length = max(NUDGE_RADIUS_FRACTION * self.lever, MIN_NUDGE_VOXELS * self.spacing)
        nudges = length * torch.cat([torch.eye(6), -torch.eye(6)]).to(poses)
        costs = []
        for nudge in nudges:
            nudged = move_poses(poses, nudge.expand(len(poses), 6), here.pivot, self.lever)
            there = correlation.evaluate_registration_cost(
                moving, owners, nudged, points, self.lever, RIGID_DEGREES_OF_FREEDOM
            )
            costs.append(there.disagreement - here.disagreement)
        lost = torch.stack(costs)
        return torch.where(lost.min(0).values > 0, lost.mean(0), 0.0).clamp(0, 1)

    def _images(self, level: RegistrationLevel) -> PackedVolumes:
        return self._stacks(level)[0]

    def _points(self, level: RegistrationLevel, seed: int) -> SamplePoints:
        return correlation.draw_sample_points(
            self._stacks(level)[1], self.places, self.fixed.affine, level.points, seed
        )

    def _stacks(self, level: RegistrationLevel) -> tuple[PackedVolumes, PackedVolumes]:
        if level.smoothing not in self.stacks:
            edge = self.spacing * (2 if level.smoothing >= COARSE_GRID_MIN_SMOOTHING_VOXELS else 1)
            sigma = level.smoothing * self.spacing
            self.stacks[level.smoothing] = (
                interpolation.pack_volumes(self.moving, self.masks, edge, sigma, self.device),
                interpolation.pack_volumes([self.fixed], [None], self.spacing, sigma, self.device),
            )
        return self.stacks[level.smoothing]
