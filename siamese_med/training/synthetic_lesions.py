"""Synthetic focal changes: soft unions of ellipsoids that appear, grow, shrink or stay the same.

Lengths are in voxels unless the name says mm; patches have the axes (i, j, k).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MIN_LESION_MM3, MAX_LESION_MM3 = 15.0, 4000.0
"""Smallest and largest volume of a lesion; volumes are drawn evenly on a logarithmic scale."""
MAX_ELLIPSOIDS = 4
"""Largest number of ellipsoids whose union is one lesion."""
BRIGHT_LESION_FRACTION = 0.7
"""Share of lesions that are brighter than their surroundings."""
BRIGHT_SIGNAL_RANGE, DARK_SIGNAL_RANGE = (0.15, 0.9), (0.2, 0.75)
"""Intensity that a lesion adds to its surroundings or takes from them, as a share of the surroundings."""
COURSE_PROBABILITIES = {"new": 0.4, "growing": 0.25, "stable": 0.35}
"""Probability of each course of a lesion. With the dates swapped, a new one vanishes and a growing one shrinks."""
TISSUE_SIGNAL_RANGE = (0.15, 0.35)
"""Normalised intensity below which there is no tissue for a lesion, and from which on there is."""
DRAWN_RADII = 1.6
"""Distance from its centre up to which a lesion is drawn, in radii of a ball of its volume; little lies farther out."""


def plant_lesion(
    patch: Tensor, centre: NDArray[np.float64], spacing_mm: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Put one lesion into a patch and return the patch at two dates.

    The course is random: the lesion is new, has vanished, grows, shrinks, or is the same at both dates.

    Parameters
    ----------
    patch
        Normalised intensities (i, j, k); not changed.
    centre
        Centre of the lesion (3,) in voxels of the patch.
    spacing_mm
        Edge of the cubic voxels.
    rng
        Source of all draws.

    Returns
    -------
    earlier, later : Tensor
        Patches (i, j, k).
    """
    volume = math.exp(rng.uniform(math.log(MIN_LESION_MM3), math.log(MAX_LESION_MM3))) / spacing_mm**3
    radius = (3 * volume / (4 * math.pi)) ** (1 / 3)
    box = _box(centre, DRAWN_RADII * radius + 2, patch.shape)
    depth = _depth(box, centre, radius, rng)
    softness = rng.uniform(0.15, 0.8)
    inner, outer = _courses(radius, rng)
    part = patch[box]
    room = ((part - TISSUE_SIGNAL_RANGE[0]) / (TISSUE_SIGNAL_RANGE[1] - TISSUE_SIGNAL_RANGE[0])).clamp(0, 1)
    signal = _signal(part, (depth < 0).float() * room, rng)
    dates = []
    for shift in (inner, outer):
        share = torch.sigmoid((-depth - shift) / softness) * room
        date = patch.clone()
        date[box] = part + share * (signal - part)
        dates.append(date)
    return (dates[0], dates[1]) if rng.random() < 0.5 else (dates[1], dates[0])


def _courses(radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Depth of the border at each date inside that of the full lesion; deeper than the radius, there is no lesion."""
    course = rng.choice(list(COURSE_PROBABILITIES), p=list(COURSE_PROBABILITIES.values()))
    if course == "new":
        return 1e3, 0.0
    return (radius * rng.uniform(0.15, 0.6), 0.0) if course == "growing" else (0.0, 0.0)


def _box(centre: NDArray[np.float64], reach: float, shape: torch.Size) -> tuple[slice, slice, slice]:
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.maximum(np.minimum(np.ceil(centre + reach) + 1, shape).astype(int), low + 1)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def _depth(box: tuple[slice, ...], centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> Tensor:
    """Distance to the border of a union of turned ellipsoids, negative inside: (i, j, k) of the box."""
    axes = [torch.arange(s.start, s.stop, dtype=torch.float32) for s in box]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    count = int(rng.integers(1, MAX_ELLIPSOIDS + 1))
    nearest = torch.full(grid.shape[:3], 1e3)
    for number in range(count):
        lengths = np.exp(0.35 * rng.standard_normal(3))
        lengths *= radius * count**-0.25 * rng.uniform(0.7, 1.1) / lengths.prod() ** (1 / 3)
        turned = np.linalg.qr(rng.standard_normal((3, 3)))[0] / lengths
        place = centre + (0.6 * radius * rng.standard_normal(3) if number else 0)
        offsets = (grid - torch.from_numpy(place).float()) @ torch.from_numpy(turned).float()
        nearest = torch.minimum(nearest, (offsets.norm(dim=-1) - 1) * float(lengths.mean()))
    return nearest


def _signal(part: Tensor, inside: Tensor, rng: np.random.Generator) -> Tensor:
    """Intensity of the lesion: the mean of its surroundings, made brighter or darker, with a texture."""
    surroundings = (part * inside).sum() / inside.sum().clamp(min=1e-3) if inside.sum() > 0.5 else part.mean()
    texture = 1 + 0.15 * _smooth_noise(part.shape, rng)
    if rng.random() < BRIGHT_LESION_FRACTION:
        return torch.maximum(part, surroundings * (1 + rng.uniform(*BRIGHT_SIGNAL_RANGE)) * texture)
    return torch.minimum(part, surroundings * (1 - rng.uniform(*DARK_SIGNAL_RANGE)) * texture)


def _smooth_noise(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    coarse = torch.from_numpy(rng.standard_normal([1, 1, *(max(2, n // 2) for n in shape)]).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
