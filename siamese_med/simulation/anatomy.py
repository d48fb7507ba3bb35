"""Simulated anatomy: a warped head with old lesions, and known changes between visits.

Lengths are in mm, volumes in mm3. All fields are on the grid of `mni_head` (HEAD_GRID_SHAPE, HEAD_GRID_MM, RAS+).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE, TISSUES, load_tissue_fractions

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

WHITE_CHANNEL, CSF_CHANNEL, VENTRICLE_CHANNEL = TISSUES.index("white"), TISSUES.index("csf"), TISSUES.index("ventricle")
"""Channels of the tissue fractions (see `mni_head.TISSUES`)."""
COARSE_WARP_MM = 4.5
FINE_WARP_MM = 2.2
"""Standard deviation of the warp at difference 1, for its coarse part and its fine part."""
FULL_WARP_DEPTH_MM = 8.0
"""With `inside_only`, the warp grows from 0 at the brain's surface to its full size at this depth."""
MEAN_OLD_LESION_COUNT = 7
"""Mean number of old lesions at difference 1. It is scaled by the difference, since lesions also identify a patient."""
VOXEL_MM3 = HEAD_GRID_MM**3
"""Volume of a voxel of the head grid."""


@dataclass(frozen=True)
class Anatomy:
    """The anatomy of one simulated patient at one date.

    Attributes
    ----------
    tissue
        Tissue fractions (7, i, j, k), float32, in the order of `mni_head.TISSUES`.
    lesion
        Lesion fraction (i, j, k), 0 to 1; a lesion replaces the tissue beneath it.
    centres
        Centre voxels of all lesions, in the order in which they appeared.
    """

    tissue: torch.Tensor
    lesion: torch.Tensor
    centres: tuple[tuple[int, int, int], ...] = ()

    @property
    def lesion_mm3(self) -> float:
        """Volume of all lesions in mm3."""
        return float(self.lesion.sum()) * VOXEL_MM3

    @property
    def ventricle_mm3(self) -> float:
        """Volume of the ventricles in mm3."""
        return float(self.tissue[VENTRICLE_CHANNEL].sum()) * VOXEL_MM3


def simulate_anatomy(rng: np.random.Generator, difference: float, inside_only: bool = False) -> Anatomy:
    """Simulate the anatomy of a new patient by warping the MNI152 head and adding old lesions.

    Parameters
    ----------
    difference
        Scale of the differences between patients; 1 is about the variation that remains between real patients after
        registration to MNI152.
    inside_only
        Give all patients the same head and the same outline and coarse form of the brain, so that they differ only in
        its detail and lesions.
    """
    import torch

    coarse = 0.0 if inside_only else difference
    linear = np.diag(1 + 0.05 * coarse * rng.standard_normal(3)) + 0.02 * coarse * rng.standard_normal((3, 3))
    points = _identity_points(HEAD_GRID_SHAPE) @ torch.from_numpy(linear.T.astype(np.float32))
    warp = _warp(rng, coarse, difference)
    points = points + (warp * _depth()[..., None] if inside_only else warp)
    anatomy = Anatomy(sample_channels(load_tissue_fractions(), points), torch.zeros(HEAD_GRID_SHAPE))
    for _ in range(rng.poisson(MEAN_OLD_LESION_COUNT * difference)):
        anatomy = add_lesion(anatomy, rng, math.exp(rng.uniform(math.log(50), math.log(1500))))
    return anatomy


def add_lesion(anatomy: Anatomy, rng: np.random.Generator, volume_mm3: float) -> Anatomy:
    """Add a lesion of `volume_mm3` at a random place in white matter; returns a new anatomy."""
    white = (anatomy.tissue[WHITE_CHANNEL] * (anatomy.tissue[WHITE_CHANNEL] > 0.7)).numpy().ravel()
    chosen = rng.choice(white.size, p=white / white.sum())
    i, j, k = (int(c) for c in np.unravel_index(chosen, HEAD_GRID_SHAPE))
    return _add_lesion_blob(anatomy, rng, (i, j, k), volume_mm3)


def grow_lesion(anatomy: Anatomy, rng: np.random.Generator, volume_mm3: float) -> Anatomy:
    """Let a random old lesion grow until the lesion volume has increased by at least `volume_mm3`.

    Returns a new anatomy. A patient without lesions gets a new one.
    """
    if not anatomy.centres:
        return add_lesion(anatomy, rng, volume_mm3)
    centre = anatomy.centres[rng.integers(len(anatomy.centres))]
    grown, size = anatomy, volume_mm3
    while grown.lesion_mm3 - anatomy.lesion_mm3 < volume_mm3:
        grown = _add_lesion_blob(anatomy, rng, centre, size)
        size *= 1.3
    return grown


def enlarge_ventricles(anatomy: Anatomy, volume_mm3: float) -> Anatomy:
    """Enlarge the ventricles by `volume_mm3` and push the surrounding tissue outwards; returns a new anatomy.

    The displacement follows the gradient of the smoothed ventricles. Its length, at most 12 voxels, is found by
    bisection.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(anatomy.tissue[VENTRICLE_CHANNEL].numpy(), 4.0)
    slope = np.stack(np.gradient(smooth), -1).astype(np.float32)
    slope /= np.linalg.norm(slope, axis=-1).max()
    box = _bounding_box(np.any(slope, axis=-1))  # what is not pushed need not be sampled
    direction = torch.from_numpy(slope[box]) * (2 / torch.tensor(HEAD_GRID_SHAPE))
    places = _identity_points(HEAD_GRID_SHAPE)[box]
    everything = torch.cat([anatomy.tissue, anatomy.lesion[None]])
    before = float(everything[VENTRICLE_CHANNEL][box].sum())
    low, high = 0.0, 12.0
    for _ in range(11):  # bisection on the length of the push, in voxels
        push = (low + high) / 2
        ventricle = sample_channels(everything[VENTRICLE_CHANNEL : VENTRICLE_CHANNEL + 1], places + push * direction)
        if (float(ventricle.sum()) - before) * VOXEL_MM3 < volume_mm3:
            low = push
        else:
            high = push
    everything[:, *box] = sample_channels(everything, places + high * direction)
    return replace(anatomy, tissue=everything[:-1], lesion=everything[-1])


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that contains all marked voxels."""
    marked = np.argwhere(mask)
    return tuple(slice(int(low), int(high) + 1) for low, high in zip(marked.min(0), marked.max(0), strict=True))


def sample_channels(channels: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Sample channels (c, i, j, k) at points by linear interpolation; 0 outside the grid.

    Parameters
    ----------
    points
        Positions (..., 3) along i, j, k, from -1 to 1 between the outer edges of the grid.

    Returns
    -------
    Values (c, ...).

    Examples
    --------
    >>> import torch
    >>> ramp = torch.arange(4.0).view(1, 4, 1, 1)
    >>> sample_channels(ramp, torch.tensor([[-0.75, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([[0.0000, 1.5000]])
    """
    import torch.nn.functional as functional

    flat = points.reshape(1, -1, 1, 1, 3).flip(-1)
    values = functional.grid_sample(channels[None], flat, align_corners=False, padding_mode="zeros")
    return values.reshape(len(channels), *points.shape[:-1])


def _add_lesion_blob(
    anatomy: Anatomy, rng: np.random.Generator, centre: tuple[int, int, int], volume_mm3: float
) -> Anatomy:
    import torch

    radius = (3 * volume_mm3 / (4 * math.pi)) ** (1 / 3) / HEAD_GRID_MM
    axes = np.exp(0.2 * rng.standard_normal(3))
    axes /= axes.prod() ** (1 / 3)
    reach = int(2.2 * radius) + 4
    box = tuple(slice(max(c - reach, 0), min(c + reach + 1, n)) for c, n in zip(centre, HEAD_GRID_SHAPE, strict=True))
    grids = np.meshgrid(*[np.arange(s.start, s.stop) - c for s, c in zip(box, centre, strict=True)], indexing="ij")
    distance = np.sqrt(sum((g / a) ** 2 for g, a in zip(grids, axes, strict=True)))
    room = (anatomy.tissue[0] + anatomy.tissue[1])[box].clamp(0, 1).numpy()
    for _ in range(4):  # part of the ball may lie outside the brain, so the radius is corrected until the volume fits
        blob = room / (1 + np.exp(np.clip((distance - radius) / 0.4, -30, 30)))
        radius *= float(np.clip((volume_mm3 / max(blob.sum() * VOXEL_MM3, 1.0)) ** (1 / 3), 0.6, 1.5))
    lesion = anatomy.lesion.clone()
    lesion[box] = torch.maximum(lesion[box], torch.from_numpy(blob.astype(np.float32)))
    return Anatomy(anatomy.tissue, lesion, (*anatomy.centres, centre))


def _identity_points(shape: tuple[int, int, int]) -> torch.Tensor:
    import torch

    axes = [(torch.arange(n) + 0.5) / n * 2 - 1 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


@lru_cache(maxsize=1)
def _depth() -> torch.Tensor:
    """Scale of the warp (i, j, k): 0 outside the brain and on its surface, 1 from FULL_WARP_DEPTH_MM below it."""
    import torch
    from scipy.ndimage import distance_transform_edt

    brain = load_tissue_fractions()[:3].sum(0).numpy() > 0.5
    return torch.from_numpy(
        (distance_transform_edt(brain) * HEAD_GRID_MM / FULL_WARP_DEPTH_MM).clip(0, 1).astype(np.float32)
    )


def _warp(rng: np.random.Generator, coarse: float, fine: float) -> torch.Tensor:
    """A smooth invertible displacement (i, j, k, 3), where the grid runs from -1 to 1.

    It is the integral of a stationary velocity field, by scaling and squaring (Arsigny et al., MICCAI 2006).
    """
    import torch
    import torch.nn.functional as functional

    side = 48
    velocity = torch.zeros(3, side, side, side)
    for knots, amplitude, share in ((9, COARSE_WARP_MM, coarse), (20, FINE_WARP_MM, fine)):
        noise = torch.from_numpy(rng.standard_normal((1, 3, knots, knots, knots)).astype(np.float32))
        smooth = functional.interpolate(noise, size=side, mode="trilinear", align_corners=False)[0]
        velocity += smooth / smooth.std() * amplitude * share
    extent = HEAD_GRID_MM * torch.tensor(HEAD_GRID_SHAPE) / 2
    moved = velocity / extent.view(3, 1, 1, 1) / 32
    for _ in range(5):  # scaling and squaring
        points = _identity_points((side, side, side)) + moved.permute(1, 2, 3, 0)
        moved = (
            moved
            + functional.grid_sample(moved[None], points.flip(-1)[None], align_corners=False, padding_mode="border")[0]
        )
    full = functional.interpolate(moved[None], size=HEAD_GRID_SHAPE, mode="trilinear", align_corners=False)[0]
    return full.permute(1, 2, 3, 0)
