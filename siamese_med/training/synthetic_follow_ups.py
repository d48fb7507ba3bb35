"""Synthetic follow-ups from scans without change: known changes plus the effects of two acquisitions.

A source is one scan, or two scans of a patient between which nothing changed, on the pair's grid. Known changes are
put into a patch first, then each date passes through an acquisition of its own. Everything is drawn from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siamese_med.imaging import intensity
from siamese_med.runtime import files
from siamese_med.training import synthetic_lesions

PATCH_VOXELS = 40
"""Edge of a training patch."""
MARGIN_VOXELS = 4
"""Voxels around a patch that displacement and blurring may draw on."""
PADDED_PATCH_VOXELS = PATCH_VOXELS + 2 * MARGIN_VOXELS
CHANGED_MIN_DIFFERENCE = 0.1
"""Smallest difference of a changed voxel between the dates, as a share of bright tissue. From half of it on, a voxel is
unclear and has no weight.
"""
LESION_FREE_FRACTION = 0.25
"""Share of patches without a lesion."""
MAX_LESIONS = 4
"""Largest number of lesions in a patch."""

SHIFT_SD_MM, MAX_SHIFT_MM, MAX_WARP_SD_MM = 0.45, 1.0, 0.25
"""Residual misalignment: standard deviation and limit of a shift, and the largest deviation that is not rigid."""
MASS_EFFECT_RANGE_MM, MASS_EFFECT_FRACTION = (5.0, 16.0), 0.3
"""Reach of a smooth local change of volume, which moves borders but is no focal change, and the share of patches with
one.
"""
GAIN_SD, OFFSET_SD, BIAS_FIELD_LOG_SD, MAX_NOISE_SD = 0.05, 0.03, 0.06, 0.05
"""Intensity gain, offset, logarithm of the bias field, and largest noise, all at strength 1."""
CONTRAST_CURVE_LEVELS = np.array([0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.6, 3.0])
"""Normalised intensities between which a contrast curve is linear; 1 is the median of bright tissue."""
CONTRAST_CURVE_LOG_SD = np.array([0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5])
"""Standard deviation of the logarithm of its slope between them. The rare tissues at both ends are matched worst."""
LESION_CONTRAST_LOG_SD = 0.25
"""Standard deviation of the logarithm of an unchanged lesion's contrast from one acquisition to another."""
SLICE_THICKNESS_RANGE_MM = (1.2, 5.0)
"""Thinnest and thickest simulated slices."""
FLOW_ARTEFACT_FRACTION = 0.3
"""Share of acquisitions in which fluid is bright in places, as flowing fluid can be."""
TISSUE_RANGE_LOG_SD = 0.25
"""Standard deviation of the logarithm of the intensity range of bright tissue, from study to study."""
REAL_PAIR_STRENGTH = 0.35
"""Strength of simulated acquisition effects on real pairs, which already have those of two acquisitions."""


@dataclass(frozen=True)
class ChangeSource:
    """A pair of scans without change, or a single scan, that synthetic follow-ups are made of.

    Parameters
    ----------
    path
        .npy file, float16 (3, i, j, k): scan a, scan b (a again where there is no other), body mask 0 or 1.
    middle
        Median intensity inside the body, see `intensity.measure_median_brightness`.
    spacing_mm
        Edge of the cubic voxels.
    paired
        Whether a and b are different scans.
    """

    path: Path
    middle: float
    spacing_mm: float
    paired: bool


@dataclass(frozen=True)
class ChangeBatch:
    """Patches (b, 1, i, j, k): both dates as the network sees them, body mask, true sign of change, and weight of each
    voxel.
    """

    earlier: Tensor
    later: Tensor
    inside: Tensor
    truth: Tensor
    weight: Tensor


def write_change_source(path: Path, a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float) -> ChangeSource:
    """Save two scans without change and their body mask as a source; patches are later read from the file.

    `a`, `b` and `inside` are (i, j, k) on one grid with cubic voxels of `spacing_mm`, in normalised intensity.
    Pass the same scan twice where there is only one.
    """
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.save(file, torch.stack([a, b, inside.to(a.dtype)]).half().numpy())
    return read_change_source(path, spacing_mm)


def read_change_source(path: Path, spacing_mm: float) -> ChangeSource:
    """Read a source that `write_change_source` saved."""
    a, b, inside = torch.from_numpy(np.load(path).astype(np.float32))
    return ChangeSource(path, intensity.measure_median_brightness(a, b, inside), spacing_mm, not torch.equal(a, b))


def draw_change_batch(sources: Sequence[ChangeSource], size: int, rng: np.random.Generator) -> ChangeBatch:
    """Draw `size` patches, each from a random source; equal states of `rng` give equal patches."""
    made = [_draw_example(sources[int(rng.integers(len(sources)))], rng) for _ in range(size)]
    return ChangeBatch(*(torch.stack(part)[:, None] for part in zip(*made, strict=True)))


def _draw_example(source: ChangeSource, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """One patch: earlier, later, inside, truth and weight, each (PATCH_VOXELS,) * 3."""
    first, second, inside = _crop_source(source, rng)
    paired = source.paired and rng.random() < 0.7
    if rng.random() < 0.5:
        first, second = second, first
    second = second if paired else first
    added = _lesion_signals(first, inside, source.spacing_mm, rng)
    changes = added[1] - added[0]
    if paired:  # the scans have been through a scanner each, what was added has not
        added = [_blur_and_slice(part, source.spacing_mm, rng) for part in added]
    stands_out = np.exp(LESION_CONTRAST_LOG_SD * rng.standard_normal(2))
    states = [scan + float(out) * part for scan, out, part in zip((first, second), stands_out, added, strict=True)]
    mass = _mass_effect(source.spacing_mm, rng) if rng.random() < MASS_EFFECT_FRACTION else None
    strength = REAL_PAIR_STRENGTH if paired else 1.0
    seen = []
    for date, state in enumerate(states):
        field = _displacement(source.spacing_mm, strength, rng)
        field = field if mass is None or date == 0 else field + mass
        seen.append(_simulate_acquisition(_warp_patch(state, field), source.spacing_mm, strength, rng))
    if mass is not None:
        changes = _warp_patch(changes, mass)
    weight = inside * ((changes.abs() >= CHANGED_MIN_DIFFERENCE) | (changes.abs() < CHANGED_MIN_DIFFERENCE / 2))
    truth = torch.sign(changes) * (changes.abs() >= CHANGED_MIN_DIFFERENCE)
    span = math.exp(TISSUE_RANGE_LOG_SD * rng.standard_normal())
    dates = [intensity.compress_intensity((scan - source.middle) * span, 0.0) * inside for scan in seen]
    return _flipped([_crop_margin(part) for part in (*dates, inside, truth, weight)], rng)


def _crop_source(source: ChangeSource, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A cube with an edge of PADDED_PATCH_VOXELS, centred on tissue inside the body."""
    stack = np.load(source.path, mmap_mode="r")
    shape = np.array(stack.shape[1:])
    for _ in range(50):
        centre = (shape * rng.uniform(0, 1, 3)).astype(int)
        if stack[(2, *centre)] > 0 and stack[(0, *centre)] > synthetic_lesions.TISSUE_SIGNAL_RANGE[1]:
            break
    low = centre - PADDED_PATCH_VOXELS // 2
    high = low + PADDED_PATCH_VOXELS
    inner = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, shape, strict=True))
    cut = torch.from_numpy(np.asarray(stack[(slice(None), *inner)], dtype=np.float32))
    padding: list[int] = []
    for a, b, n in reversed(list(zip(low, high, shape, strict=True))):
        padding += [max(0, -a), max(0, b - n)]
    cut = functional.pad(cut, padding)
    return cut[0], cut[1], cut[2]


def _lesion_signals(patch: Tensor, inside: Tensor, spacing_mm: float, rng: np.random.Generator) -> list[Tensor]:
    """What lesions add to a patch at each date; zero where there is no tissue."""
    earlier, later = torch.zeros_like(patch), torch.zeros_like(patch)
    room = (
        torch.nonzero(_crop_margin(inside * (patch > synthetic_lesions.TISSUE_SIGNAL_RANGE[1]))).numpy() + MARGIN_VOXELS
    )
    if rng.random() < LESION_FREE_FRACTION or len(room) == 0:
        return [earlier, later]
    for _ in range(int(rng.integers(1, MAX_LESIONS + 1))):
        centre = room[rng.integers(len(room))] + rng.uniform(-0.5, 0.5, 3)
        before, after = synthetic_lesions.plant_lesion(patch, centre, spacing_mm, rng)
        earlier, later = _stronger(earlier, before - patch), _stronger(later, after - patch)
    return [earlier * inside, later * inside]


def _stronger(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(one.abs() >= other.abs(), one, other)


def _displacement(spacing_mm: float, strength: float, rng: np.random.Generator) -> Tensor:
    """Residual misalignment in voxels, (3, i, j, k) on the padded patch."""
    shift = np.clip(SHIFT_SD_MM * rng.standard_normal(3), -MAX_SHIFT_MM, MAX_SHIFT_MM)
    knots = shift[:, None, None, None] + MAX_WARP_SD_MM * rng.uniform() * rng.standard_normal((3, 3, 3, 3))
    return _upsampled(strength * knots / spacing_mm)


def _mass_effect(spacing_mm: float, rng: np.random.Generator) -> Tensor:
    """Displacement away from or towards a point in voxels, (3, i, j, k) on the padded patch."""
    sigma = rng.uniform(*MASS_EFFECT_RANGE_MM) / spacing_mm
    amplitude = rng.uniform(0.3, max(0.3, min(3.0 / spacing_mm, 0.35 * sigma))) * rng.choice([-1, 1])
    axis = torch.arange(PADDED_PATCH_VOXELS, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    offsets -= torch.from_numpy(rng.uniform(0, PADDED_PATCH_VOXELS, 3)).float()[:, None, None, None]
    profile = torch.exp(0.5 - offsets.square().sum(0) / (2 * sigma**2)) / sigma
    field: Tensor = amplitude * offsets * profile
    return field


def _warp_patch(patch: Tensor, field: Tensor) -> Tensor:
    axis = torch.arange(PADDED_PATCH_VOXELS, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")) + field
    points = ((2 * places + 1) / PADDED_PATCH_VOXELS - 1).permute(1, 2, 3, 0).flip(-1)
    return functional.grid_sample(patch[None, None], points[None], align_corners=False, padding_mode="border")[0, 0]


def _simulate_acquisition(patch: Tensor, spacing_mm: float, strength: float, rng: np.random.Generator) -> Tensor:
    """Fluid, contrast curve, bias field, noise, slices and blur of one acquisition."""
    if rng.random() < FLOW_ARTEFACT_FRACTION * strength:
        patch = _add_flow_artefact(patch, rng)
    patch = _apply_contrast_curve(patch.clamp(min=0), strength, rng)
    patch = patch * (1 + GAIN_SD * strength * rng.standard_normal()) + OFFSET_SD * strength * rng.standard_normal()
    knots = BIAS_FIELD_LOG_SD * strength * rng.standard_normal((1, 2, 2, 2))
    patch = patch * _upsampled(knots)[0].exp()
    noise = MAX_NOISE_SD * rng.uniform() * strength
    patch = patch + noise * _noise(rng)
    if strength == 1:
        patch = _blur_and_slice(patch, spacing_mm, rng)
    real, imaginary = patch + noise / 2 * _noise(rng), noise / 2 * _noise(rng)
    magnitude: Tensor = torch.sign(real) * (real.square() + imaginary.square()).sqrt()
    return magnitude


def _apply_contrast_curve(patch: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Apply a random rising curve through CONTRAST_CURVE_LEVELS: what matching two contrasts leaves over."""
    steps = np.diff(CONTRAST_CURVE_LEVELS) * np.exp(
        CONTRAST_CURVE_LOG_SD * strength * rng.standard_normal(len(CONTRAST_CURVE_LEVELS) - 1)
    )
    goals = np.concatenate([[0.0], np.cumsum(steps)])
    goals /= np.interp(1.0, CONTRAST_CURVE_LEVELS, goals)
    return torch.from_numpy(np.interp(patch.numpy(), CONTRAST_CURVE_LEVELS, goals).astype(np.float32))


def _add_flow_artefact(patch: Tensor, rng: np.random.Generator) -> Tensor:
    """Brighten dark fluid in places, as flow does."""
    fluid = ((0.5 - patch) / 0.3).clamp(0, 1)
    knots = torch.from_numpy(rng.standard_normal((1, 1, 9, 9, 9)).astype(np.float32))
    places = functional.interpolate(knots, size=(PADDED_PATCH_VOXELS,) * 3, mode="trilinear", align_corners=True)[0, 0]
    return patch + rng.uniform(0.2, 0.8) * fluid * (places - 0.8).clamp(0, 1)


def _blur_and_slice(patch: Tensor, spacing_mm: float, rng: np.random.Generator) -> Tensor:
    """Blur along every axis; along one of them, sample thick slices and interpolate back."""
    for axis in range(3):
        patch = _apply_along_axis(_gaussian_matrix(rng.uniform(0, 0.7)), patch, axis)
    if rng.random() < 0.8:
        thickness = max(1.0, rng.uniform(*SLICE_THICKNESS_RANGE_MM) / spacing_mm)
        patch = _apply_along_axis(_slice_matrix(thickness, rng.uniform(0, thickness)), patch, int(rng.integers(3)))
    return patch


def _gaussian_matrix(sigma: float) -> NDArray[np.float32]:
    if sigma < 0.05:
        return np.eye(PADDED_PATCH_VOXELS, dtype=np.float32)
    places = np.arange(PADDED_PATCH_VOXELS)
    weights = np.exp(-0.5 * ((places[:, None] - places[None]) / sigma) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def _slice_matrix(thickness: float, phase: float) -> NDArray[np.float32]:
    """Means over slices of `thickness` voxels, linearly interpolated, as a square matrix."""
    places = np.arange(PADDED_PATCH_VOXELS)
    centres = phase - thickness + thickness * np.arange(math.ceil(PADDED_PATCH_VOXELS / thickness) + 3)
    profile = np.exp(-0.5 * ((centres[:, None] - places[None]) / max(0.42 * thickness, 0.3)) ** 2)
    profile /= profile.sum(1, keepdims=True).clip(min=1e-6)
    back = (1 - np.abs(places[:, None] - centres[None]) / thickness).clip(min=0)
    return np.asarray(back / back.sum(1, keepdims=True).clip(min=1e-6) @ profile, dtype=np.float32)


def _apply_along_axis(matrix: NDArray[np.float32], patch: Tensor, axis: int) -> Tensor:
    applied: Tensor = torch.tensordot(torch.from_numpy(matrix), patch, dims=([1], [axis]))
    return applied.movedim(0, axis)


def _noise(rng: np.random.Generator) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))  # three times as fast as numpy's
    return torch.randn((PADDED_PATCH_VOXELS,) * 3, generator=generator)


def _upsampled(knots: NDArray[np.float64]) -> Tensor:
    coarse = torch.from_numpy(knots.astype(np.float32))[None]
    return functional.interpolate(coarse, size=(PADDED_PATCH_VOXELS,) * 3, mode="trilinear", align_corners=True)[0]


def _crop_margin(patch: Tensor) -> Tensor:
    return patch[MARGIN_VOXELS:-MARGIN_VOXELS, MARGIN_VOXELS:-MARGIN_VOXELS, MARGIN_VOXELS:-MARGIN_VOXELS].float()


def _flipped(parts: list[Tensor], rng: np.random.Generator) -> tuple[Tensor, ...]:
    axes = [axis for axis in range(3) if rng.random() < 0.5]
    return tuple(part.flip(axes) for part in parts)
