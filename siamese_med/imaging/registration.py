"""Rigid and affine alignment, batched in torch: the same code on CPU and GPU.

The cost is the correlation ratio, see correlation. Nine starts a scan are followed coarsely on a thousand points by
damped Gauss-Newton steps, the best few at full resolution, the best of them to its end.
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
    RegistrationCost,
    SamplePoints,
)
from siamese_med.imaging.resampling import centre_of_mass
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from siamese_med.imaging.interpolation import PackedVolumes

    Matrix = NDArray[np.float64]

Transform = Literal["rigid", "affine"]
COARSE_GRID_MIN_SMOOTHING_VOXELS = 1.5
"""Where the smoothing is at least so many voxels, twice as large voxels do."""
START_ROTATION_RADIANS, START_SHIFT_FRACTION = 0.35, 0.4
"""Starts: turned by 20 degrees each way about each axis, and moved along the body by this share of its radius."""
MIN_STEP_GAIN = 1e-5
"""A step has to explain so much more of the variance, so that a perfect start stays untouched."""
CONVERGED_STEP_GAIN = 1e-4
"""A pose that gains less in a step has arrived."""
INITIAL_DAMPING, MAX_DAMPING = 0.02, 10.0
"""Of the first step, and where a pose is given up: no step, however short, is better."""
NUDGE_RADIUS_FRACTION, MIN_NUDGE_VOXELS = 0.125, 2.0
"""The quality figure compares the found pose with poses this share of the body's radius away (in a head 7 degrees, or
8 mm), and at least so many voxels: on a coarse grid a smaller motion costs little anywhere."""


class RegistrationLevel(NamedTuple):
    """One step from coarse to fine; smoothing and the longest single step in voxels of the fixed grid."""

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
PAIR_LEVELS = (RegistrationLevel(1.0, 8_000, 8, 1.0), RegistrationLevel(0.4, 20_000, 8, 0.5))


@dataclass(frozen=True)
class Alignment:
    """Where a scan lies: fixed mm to moving mm, how well the fixed scan explains it there, and how surely it is there.

    `correlation_ratio` depends on contrast and noise. `quality` is what of it is lost, on average over the twelve
    directions of a rigid motion, where the scan is moved by an eighth of the body's radius: 0 where some neighbour is
    as good as the pose found, so that it means nothing; both lie between 0 and 1.
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
    """Align every moving scan to the fixed volume; without `initial` from starts around the centres of mass.

    `inside` (i, j, k) tells where the fixed volume holds data, `masks` where each moving one is to be looked at.
    """
    import torch

    chosen = list(masks or [None] * len(moving))
    starts = [initial] if initial is not None else _starts(moving, chosen, fixed)
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
    """The matrices (4x4, fixed mm to moving mm) with correlation ratio and quality, as `register_scans` has them."""
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


def project_to_rigid(matrix: Matrix) -> Matrix:
    """The rigid transform nearest to an affine one, the fixed origin staying where it was; a rigid one as it is."""
    turn = matrix[:3, :3]
    if np.allclose(turn.T @ turn, np.eye(3), atol=1e-6):
        return matrix
    left, _, right = np.linalg.svd(turn)
    rigid = matrix.copy()
    rigid[:3, :3] = left @ right
    return rigid


def _starts(moving: Sequence[Volume], masks: Sequence[NDArray[np.bool_] | None], fixed: Volume) -> list[list[Matrix]]:
    """Centre on centre; then turned each way about each axis, and moved up and down the body: one list a start."""
    from scipy.spatial.transform import Rotation

    centre = centre_of_mass(fixed)
    along = START_SHIFT_FRACTION / 2 * fixed.voxels.shape[2] * fixed.spacing_mm[2] * np.array([0.0, 0.0, 1.0])
    motions = [(np.zeros(3), np.zeros(3)), (np.zeros(3), along), (np.zeros(3), -along)]
    motions += [(sign * START_ROTATION_RADIANS * axis, np.zeros(3)) for axis in np.eye(3) for sign in (1, -1)]
    goals = [centre_of_mass(scan, mask) for scan, mask in zip(moving, masks, strict=True)]
    starts = []
    for turn, shift in motions:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
        starts.append([_set_translation(matrix, goal + shift - matrix[:3, :3] @ centre) for goal in goals])
    return starts


def _set_translation(matrix: Matrix, shift: NDArray[np.float64]) -> Matrix:
    moved = matrix.copy()
    moved[:3, 3] = shift
    return moved


class _PoseSearch:
    """Scans and the fixed volume at the sharpness of each level, made when first asked for."""

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
        """The best of the poses (s, b, 4, 4) followed downhill, best first, and how much of the best disagrees (b,)."""
        import torch

        moving, points = self._images(level), self._points(level, seed)
        poses = poses[: level.kept]
        starts, scans = poses.shape[:2]
        owners = torch.arange(scans, device=poses.device).repeat(starts)
        found, left = _minimise_cost(
            moving, owners, poses.flatten(0, 1), points, (self.lever, level.reach * self.spacing), level, freedom
        )
        order = left.view(starts, scans).argsort(dim=0, stable=True)
        ranked = torch.gather(found.view(poses.shape), 0, order[:, :, None, None].expand(poses.shape))
        return ranked, left.view(starts, scans).min(0).values

    def quality(self, poses: torch.Tensor, level: RegistrationLevel) -> torch.Tensor:
        """What of the correlation ratio is lost, on average, where the poses (b, 4, 4) are nudged: (b,), 0 to 1.

        Nothing where one nudge costs nothing: a wrong pose may lie on a steep ridge, but not on a summit.
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
            nudged = _move_poses(poses, nudge.expand(len(poses), 6), here.pivot, self.lever)
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


def _minimise_cost(
    moving: PackedVolumes,
    owners: torch.Tensor,
    poses: torch.Tensor,
    points: SamplePoints,
    scale: tuple[float, float],
    level: RegistrationLevel,
    freedom: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Damped Gauss-Newton steps (Levenberg and Marquardt) on each pose (b, 4, 4): where they end, and what disagrees.

    `scale`: lever of a rotation and longest step, mm. A step that explains no more is not taken, and damped; a pose
    is left where it is when a step gains next to nothing.
    """
    import torch

    lever, reach = scale
    poses, damping = poses.clone(), torch.full((len(poses),), INITIAL_DAMPING, device=poses.device)
    state = correlation.evaluate_registration_cost(moving, owners, poses, points, lever, freedom)
    live = torch.arange(len(poses), device=poses.device)
    for _ in range(level.iterations):
        here = RegistrationCost(*(part[live] for part in state))
        step = _limit_step(_newton_step(here, damping[live]), reach)
        trial = _move_poses(poses[live], step.to(poses.dtype), here.pivot, lever)
        there = correlation.evaluate_registration_cost(moving, owners[live], trial, points, lever, freedom)
        gain = here.disagreement - there.disagreement
        better = gain > MIN_STEP_GAIN
        taken = live[better]
        poses[taken] = trial[better]
        for old, new in zip(state, there, strict=True):
            old[taken] = new[better]
        damping[live] *= torch.where(better, 0.3, 8.0)
        live = live[(gain > CONVERGED_STEP_GAIN) | (~better & (damping[live] < MAX_DAMPING))]
        if not len(live):
            break
    return poses, state.disagreement


def _newton_step(state: RegistrationCost, damping: torch.Tensor) -> torch.Tensor:
    import torch

    diagonal = state.curvature.diagonal(dim1=1, dim2=2).abs()
    damped = state.curvature + torch.diag_embed(damping[:, None] * diagonal + 1e-8)
    step: torch.Tensor = -torch.linalg.solve(damped, state.gradient)
    return step


def _limit_step(step: torch.Tensor, reach: float) -> torch.Tensor:
    length = step.norm(dim=1, keepdim=True).clamp(min=1e-9)
    limited: torch.Tensor = (step * (reach / length).clamp(max=1)).nan_to_num(0.0, 0.0, 0.0)
    return limited


def _move_poses(poses: torch.Tensor, step: torch.Tensor, pivot: torch.Tensor, lever: float) -> torch.Tensor:
    """Poses (b, 4, 4) followed by a small motion (b, 6 or 12) about the pivot, by the exponential map."""
    import torch

    x, y, z = (step[:, :3] / lever).unbind(1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    if step.shape[1] == AFFINE_DEGREES_OF_FREEDOM:
        a, b, c, yz, zx, xy = (step[:, 6:] / lever).unbind(1)
        generator = generator + torch.stack([a, xy, zx, xy, b, yz, zx, yz, c], 1).view(-1, 3, 3)
    turn = torch.linalg.matrix_exp(generator)
    moved = poses.clone()
    moved[:, :3, :3] = turn @ poses[:, :3, :3]
    moved[:, :3, 3] = (turn @ (poses[:, :3, 3] - pivot)[:, :, None])[:, :, 0] + pivot + step[:, 3:6]
    return moved
