"""Local optimisation of poses by damped Gauss-Newton steps, batched in torch; the cost is in `correlation_ratio`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from siamese_med.imaging import correlation_ratio as correlation
from siamese_med.imaging.correlation_ratio import AFFINE_DEGREES_OF_FREEDOM, RegistrationCost, SamplePoints

if TYPE_CHECKING:
    import torch

    from siamese_med.imaging.interpolation import PackedVolumes

MIN_STEP_GAIN = 1e-5
"""A step is taken if it lowers 1 - correlation ratio by more than this, so a perfect start stays unchanged."""
CONVERGED_STEP_GAIN = 1e-4
"""A pose whose step gains no more than this has converged."""
INITIAL_DAMPING, MAX_DAMPING = 0.02, 10.0
"""Damping of the first step, as a share of the curvature's diagonal, and the damping at which a pose is given up."""


CostFunction = Callable[["torch.Tensor", "torch.Tensor"], RegistrationCost]
"""From poses (n, 4, 4), and the numbers (n,) that they have among all poses, to their cost."""


def minimise_registration_cost(
    moving: PackedVolumes,
    owners: torch.Tensor,
    poses: torch.Tensor,
    points: SamplePoints,
    scale: tuple[float, float],
    iterations: int,
    freedom: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise the cost of volumes against sampled points of a fixed scan, see `minimise_cost`.

    `poses` (b, 4, 4) map fixed mm to the mm (RAS+) of volume `owners[b]`. `freedom`: 6 or 12.
    """

    def cost(trial: torch.Tensor, which: torch.Tensor) -> RegistrationCost:
        return correlation.evaluate_registration_cost(moving, owners[which], trial, points, scale[0], freedom)

    return minimise_cost(cost, poses, scale, iterations)


def minimise_cost(
    cost: CostFunction, poses: torch.Tensor, scale: tuple[float, float], iterations: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise a cost from each pose by damped Gauss-Newton steps (Levenberg, 1944; Marquardt, 1963).

    A step that does not lower the cost is not taken, and the next one is damped more.

    Parameters
    ----------
    cost
        The cost with its gradient and curvature, see CostFunction.
    poses
        Starting poses (b, 4, 4).
    scale
        Lever of a rotation and longest single step, mm.
    iterations
        Largest number of steps of a pose.

    Returns
    -------
    The final poses (b, 4, 4), and 1 - correlation ratio (b,) at each.
    """
    import torch

    lever, reach = scale
    poses, damping = poses.clone(), torch.full((len(poses),), INITIAL_DAMPING, device=poses.device)
    live = torch.arange(len(poses), device=poses.device)
    state = cost(poses, live)
    for _ in range(iterations):
        here = RegistrationCost(*(part[live] for part in state))
        step = _limit_step(_newton_step(here, damping[live]), reach)
        trial = move_poses(poses[live], step.to(poses.dtype), here.pivot, lever)
        there = cost(trial, live)
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


def move_poses(poses: torch.Tensor, step: torch.Tensor, pivot: torch.Tensor, lever: float) -> torch.Tensor:
    """Apply a small motion to poses, by the exponential map.

    Parameters
    ----------
    poses
        4x4 matrices (b, 4, 4) from fixed mm to moving mm (RAS+).
    step
        Motions (b, 6 or 12) in mm: rotations about x, y, z (as arc length at `lever`), translations, and for affine
        also scalings and shears.
    pivot
        Points (b, 3) in moving mm about which they turn.
    lever
        Distance from the pivot in mm at which a rotation is measured.
    """
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
