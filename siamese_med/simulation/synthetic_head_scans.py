"""A synthetic head scan with everything that may differ between scanners, protocols and patients drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.structures import Structure
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation.label_map_synthesis import LabelMap, Warp
from siamese_med.simulation.lesion_blobs import add_spots, add_tumour
from siamese_med.simulation.tissue_levels import CONTRASTS, draw_levels, get_unevenness

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

MIXTURE_VOXELS = 0.5
"""A voxel is the mean of its centre and of a place up to this far away along each axis."""


@dataclass(frozen=True)
class HeadProtocol:
    """Acquisition of a synthetic scan.

    Attributes
    ----------
    contrast
        One of `tissue_levels.CONTRASTS`, or None for random brightness of every tissue.
    slice_axis, slice_mm, spacing_mm
        Axis of the slices (0 sagittal, 1 coronal, 2 axial), their thickness and their distance in mm; slices as thick
        as a voxel of the fine grid leave it as it is.
    noise, bias, gamma
        Standard deviation of the noise as a share of full scale, of the logarithm of the bias field, and the exponent
        of the contrast curve.
    removed
        `nothing`, `face`, or `scalp`: everything but the brain.
    cut
        Share of the grid that the field of view leaves out at the low and the high end of the slice axis.
    tumour, spots
        Whether there is a tumour, and the number of small lesions.
    """

    contrast: str | None = None
    slice_axis: int = 2
    slice_mm: float = 2.0
    spacing_mm: float = 2.0
    noise: float = 0.03
    bias: float = 0.2
    gamma: float = 1.0
    removed: str = "nothing"
    cut: tuple[float, float] = (0.0, 0.0)
    tumour: bool = False
    spots: int = 0


@dataclass(frozen=True)
class SyntheticHead:
    """A synthetic scan, and the warp from its mm to the mm of the label map, which says what lies where."""

    scan: Volume
    warp: Warp
    protocol: HeadProtocol


def draw_protocol(rng: np.random.Generator) -> HeadProtocol:
    """Draw a protocol: half of them in a usual contrast, half in a random one; a third of them isotropic."""
    contrast = None if rng.random() < 0.5 else str(rng.choice(CONTRASTS))
    thick = rng.random() < 0.67
    slice_mm = float(rng.uniform(2.0, 7.0)) if thick else 2.0
    cut = (0.0, 0.0)
    if rng.random() < 0.25:
        low = rng.uniform(0, 0.45)
        cut = (low, 0.0) if rng.random() < 0.5 else (0.0, low)
    return HeadProtocol(
        contrast,
        int(rng.choice(3, p=[0.2, 0.2, 0.6])),
        slice_mm,
        slice_mm * float(rng.choice([1.0, 1.0, 1.2])) if thick else 2.0,
        float(rng.uniform(0.0, 0.07)),
        float(rng.uniform(0.0, 0.35)),
        math.exp(0.25 * rng.standard_normal()),
        str(rng.choice(["nothing", "face", "scalp"], p=[0.6, 0.15, 0.25])),
        cut,
        bool(rng.random() < 0.3),
        int(rng.integers(3, 40)) if rng.random() < 0.2 else 0,
    )


def synthesise_head_scan(
    label_map: LabelMap,
    protocol: HeadProtocol,
    rng: np.random.Generator,
    warp: Warp,
    shape: tuple[int, int, int] = (96, 112, 96),
    pixel_mm: float = 2.0,
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> SyntheticHead:
    """Acquire a synthetic scan of a warped label map.

    Parameters
    ----------
    shape, pixel_mm, centre_mm
        The fine grid, before slices are averaged: shape, voxel edge, and the place of its centre in the scan's mm. The
        origin of these is about the centre of the brain.

    Examples
    --------
    >>> half = np.zeros((40, 40, 40), dtype=np.uint8)
    >>> half[:20] = 1
    >>> person = LabelMap(half, half, make_centred_affine((40, 40, 40), 4.0))
    >>> still = synthesis.make_rigid_warp(np.eye(4))
    >>> head = synthesise_head_scan(person, HeadProtocol("T1w"), np.random.default_rng(0), still, (32, 32, 32))
    >>> head.scan.voxels.shape
    (32, 32, 32)
    """
    affine = make_centred_affine(shape, pixel_mm)
    affine[:3, 3] += centre_mm
    shifts = rng.uniform(-MIXTURE_VOXELS, MIXTURE_VOXELS, (2, 3)) * pixel_mm
    shifts[0] = 0
    places = warp.sample(label_map, affine, shape, shifts)
    levels = draw_levels(rng, protocol.contrast)
    image, spread = synthesis.paint_tissues(label_map, places, levels, get_unevenness())
    image = image + spread * synthesis.make_smooth_noise(rng, shape, int(rng.integers(2, 9)))
    structures = synthesis.get_structures(label_map, places[0])
    if protocol.tumour:
        image = add_tumour(image, structures, rng, (3.0 / pixel_mm, 50.0 / pixel_mm))
    if protocol.spots:
        image = add_spots(image, structures, rng, protocol.spots)
    image = _remove_parts(image, structures, protocol.removed, rng)
    voxels = _degrade(image, protocol, rng)
    return SyntheticHead(_acquire(Volume(voxels, affine), protocol, rng), warp, protocol)


def _degrade(image: torch.Tensor, protocol: HeadProtocol, rng: np.random.Generator) -> NDArray[np.float32]:
    """Bias field and contrast curve; noise follows after the slices were averaged."""
    import torch

    field = torch.exp(protocol.bias * synthesis.make_smooth_noise(rng, tuple(image.shape), max(image.shape) // 3))
    return np.asarray((image.clamp(min=0) ** protocol.gamma * field).numpy())


def _remove_parts(
    image: torch.Tensor, structures: torch.Tensor, removed: str, rng: np.random.Generator
) -> torch.Tensor:
    """Remove the face (all in front of and below a tilted plane, up to near the brain), or all but the brain."""
    import torch
    import torch.nn.functional as functional

    brain = structures > 0
    if removed == "nothing":
        return image
    if removed == "scalp":
        if rng.random() < 0.5:  # with the fluid of the sulci or without
            brain = brain & (structures != Structure.OTHER_FLUID)
            brain = functional.max_pool3d(brain.float()[None, None], 3, 1, 1)[0, 0] > 0
        wide = functional.avg_pool3d(brain.float()[None, None], 3, 1, 1)[0, 0]
        kept: torch.Tensor = image * (wide > float(rng.choice([0.2, 0.5, 0.7])))
        return kept
    low, high = (torch.nonzero(brain.any(0).any(axis)) for axis in (1, 0))
    if not len(low):
        return image
    front, bottom = float(low.max()) - rng.uniform(0, 12), float(high.min()) + rng.uniform(5, 25)
    j = torch.arange(image.shape[1], dtype=torch.float32)[:, None]
    k = torch.arange(image.shape[2], dtype=torch.float32)[None]
    gone = ((j - front) - rng.uniform(0.5, 1.5) * (k - bottom)) > 0
    near = functional.max_pool3d(brain.float()[None, None], 5, 1, 2)[0, 0] > 0
    without: torch.Tensor = image * (~gone[None] | near)
    return without


def _acquire(fine: Volume, protocol: HeadProtocol, rng: np.random.Generator) -> Volume:
    """Average slices, cut the field of view, add Rician noise."""
    axis, count = protocol.slice_axis, fine.voxels.shape[protocol.slice_axis]
    first, last = (int(share * count) for share in protocol.cut)
    kept = [slice(None)] * 3
    kept[axis] = slice(first, count - last)
    affine = fine.affine.copy()
    affine[:3, 3] += affine[:3, axis] * first
    part = Volume(np.ascontiguousarray(fine.voxels[tuple(kept)]), affine)
    if max(protocol.slice_mm, protocol.spacing_mm) > float(fine.spacing_mm[axis]):
        part = synthesis.acquire_slices(part, rng, axis, protocol.slice_mm, protocol.spacing_mm)
    noise = protocol.noise * rng.standard_normal((2, *part.voxels.shape), dtype=np.float32)
    air = part.voxels > 0 if protocol.removed == "scalp" else np.ones(part.voxels.shape, dtype=bool)
    return Volume(np.hypot(part.voxels + noise[0], noise[1]).astype(np.float32) * air, part.affine)
