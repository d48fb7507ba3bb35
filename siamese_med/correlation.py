"""How well moving images agree with a fixed one: the correlation ratio (Roche et al., MICCAI 1998) at drawn points.

It is the share of the moving scan's variance that the fixed scan's intensity explains. It needs no common contrast,
and with the fixed bins known beforehand it is two matrix products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

BINS = 32
EDGE_VOXELS = 3
"""How far around the bright body points are drawn."""


def fixed_points(
    fixed: torch.Tensor, known: torch.Tensor, affine: NDArray[np.float64], count: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (n, 3) in mm, drawn off the grid around the bright part of what is known; their bin weights (n, BINS)."""
    import torch

    generator = np.random.default_rng(seed)
    near = _near_the_body(fixed, known)
    found = np.argwhere(near)
    low, high = (found.min(0), found.max(0)) if len(found) else (np.zeros(3), np.array(fixed.shape) - 1.0)
    voxels = generator.uniform(low, high, (3 * count, 3))
    inside = near[tuple(np.round(voxels).astype(int).T)]
    voxels = voxels[inside][:count] if inside.any() else voxels[:count]
    points = torch.as_tensor(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=torch.float32, device=fixed.device)
    size = torch.tensor(fixed.shape, dtype=torch.float32, device=fixed.device)
    unit = (2 * torch.as_tensor(voxels, dtype=torch.float32, device=fixed.device) + 1) / size - 1
    values = _sample(fixed[None, None], unit[None])[0, 0]
    return points, _bin_weights(values)


def ratio(images: torch.Tensor, grid: NDArray[np.float64], points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Share of the moving intensity's variance that the fixed bins explain, per image: (b,), 0 to 1."""
    import torch

    inverse = torch.as_tensor(np.linalg.inv(grid), dtype=torch.float32, device=images.device)
    voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
    size = torch.tensor(images.shape[2:], dtype=torch.float32, device=images.device)
    values, valid = _sample(images, (2 * voxels + 1) / size - 1).unbind(1)
    valid = (valid > 0.9).to(values.dtype)
    count = valid @ weights + 1e-3
    total = valid.sum(1) + 1e-3
    mean = (valid * values).sum(1) / total
    centred = (values - mean[:, None]) * valid
    explained = ((centred @ weights) ** 2 / count).sum(1)
    share: torch.Tensor = explained / ((centred**2).sum(1) + 1e-6)
    return share


def _near_the_body(fixed: torch.Tensor, known: torch.Tensor) -> NDArray[np.bool_]:
    """What is bright, filled and widened by a few voxels: edges count, and a face that the template lacks does not."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    bright = ((fixed > fixed.mean()) & known).cpu().numpy()
    near: NDArray[np.bool_] = binary_dilation(binary_fill_holes(bright), iterations=EDGE_VOXELS)
    near &= known.cpu().numpy()
    return near


def _bin_weights(values: torch.Tensor) -> torch.Tensor:
    """Linear weights (n, BINS) of each value in its two nearest bins, between the 0.5th and the 99.5th percentile."""
    import torch

    low, high = torch.quantile(values, torch.tensor([0.005, 0.995], device=values.device))
    place = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1) * (BINS - 1)
    centres = torch.arange(BINS, device=values.device)
    weights: torch.Tensor = (1 - (place[:, None] - centres).abs()).clamp(min=0)
    return weights


def _sample(images: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Images (b, c, i, j, k) at points (b, n, 3) from -1 to 1: (b, c, n)."""
    import torch.nn.functional as functional

    points = unit.flip(-1)[:, :, None, None]
    return functional.grid_sample(images, points, align_corners=False, padding_mode="zeros")[..., 0, 0]
