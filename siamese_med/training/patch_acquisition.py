"""Effects of two acquisitions on a patch: pose, pressure of a mass, contrast, noise, slices and blur.

A patch is a cube with an edge of PADDED_PATCH_VOXELS and axes (i, j, k); its outermost MARGIN_VOXELS are cut off at the
end. Everything is drawn from the given generator.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

PATCH_VOXELS = 40
"""Edge of a training patch."""
MARGIN_VOXELS = 4
"""Voxels around a patch that displacement and blurring may draw on."""
PADDED_PATCH_VOXELS = PATCH_VOXELS + 2 * MARGIN_VOXELS
SHIFT_SD_MM, MAX_SHIFT_MM, MAX_WARP_SD_MM = 0.45, 1.0, 0.25
"""Residual misalignment: standard deviation and limit of a shift, and the largest deviation that is not rigid."""
MASS_EFFECT_RANGE_MM = (5.0, 16.0)
"""Reach of a smooth local change of volume."""
GAIN_SD, OFFSET_SD, BIAS_FIELD_LOG_SD, MAX_NOISE_SD = 0.05, 0.03, 0.06, 0.05
"""Intensity gain, offset, logarithm of the bias field, and largest noise, all at strength 1."""
CONTRAST_CURVE_LEVELS = np.array([0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.6, 3.0])
"""Normalised intensities between which a contrast curve is linear; 1 is the median of bright tissue."""
CONTRAST_CURVE_LOG_SD = np.array([0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5])
"""Standard deviation of the logarithm of its slope between them. The rare tissues at both ends are matched worst."""
SLICE_THICKNESS_RANGE_MM = (1.2, 5.0)
"""Thinnest and thickest simulated slices."""
FLOW_ARTEFACT_FRACTION = 0.3
"""Share of acquisitions in which fluid is bright in places, as flowing fluid can be."""


def draw_displacement(spacing_mm: float, strength: float, rng: np.random.Generator) -> Tensor:
    """Draw a residual misalignment of two scans.

    Parameters
    ----------
    spacing_mm
        Edge of the cubic voxels.
    strength
        1 for two scans that were simulated from one, less where the scans already lie as a registration left them.

    Returns
    -------
    Tensor
        Displacement in voxels, (3, i, j, k) on the padded patch.
    """
    shift = np.clip(SHIFT_SD_MM * rng.standard_normal(3), -MAX_SHIFT_MM, MAX_SHIFT_MM)
    knots = shift[:, None, None, None] + MAX_WARP_SD_MM * rng.uniform() * rng.standard_normal((3, 3, 3, 3))
    return _upsampled(strength * knots / spacing_mm)


def draw_mass_effect(spacing_mm: float, rng: np.random.Generator) -> Tensor:
    """Draw a displacement away from or towards a point, in voxels, (3, i, j, k) on the padded patch."""
    sigma = rng.uniform(*MASS_EFFECT_RANGE_MM) / spacing_mm
    amplitude = rng.uniform(0.3, max(0.3, min(3.0 / spacing_mm, 0.35 * sigma))) * rng.choice([-1, 1])
    axis = torch.arange(PADDED_PATCH_VOXELS, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    offsets -= torch.from_numpy(rng.uniform(0, PADDED_PATCH_VOXELS, 3)).float()[:, None, None, None]
    profile = torch.exp(0.5 - offsets.square().sum(0) / (2 * sigma**2)) / sigma
    field: Tensor = amplitude * offsets * profile
    return field


def warp_patch(patch: Tensor, field: Tensor) -> Tensor:
    """Sample a patch (i, j, k) at its voxels displaced by `field`, in voxels (3, i, j, k)."""
    axis = torch.arange(PADDED_PATCH_VOXELS, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")) + field
    points = ((2 * places + 1) / PADDED_PATCH_VOXELS - 1).permute(1, 2, 3, 0).flip(-1)
    return functional.grid_sample(patch[None, None], points[None], align_corners=False, padding_mode="border")[0, 0]


def simulate_acquisition(patch: Tensor, spacing_mm: float, strength: float, rng: np.random.Generator) -> Tensor:
    """Pass a patch through one acquisition: fluid, contrast curve, bias field, noise, slices and blur.

    Parameters
    ----------
    patch
        Normalised intensities (i, j, k).
    spacing_mm
        Edge of the cubic voxels.
    strength
        1 for the whole of it; less, and then without slices and blur, where the patch is from a real pair.
    """
    if rng.random() < FLOW_ARTEFACT_FRACTION * strength:
        patch = _add_flow_artefact(patch, rng)
    patch = _apply_contrast_curve(patch.clamp(min=0), strength, rng)
    patch = patch * (1 + GAIN_SD * strength * rng.standard_normal()) + OFFSET_SD * strength * rng.standard_normal()
    knots = BIAS_FIELD_LOG_SD * strength * rng.standard_normal((1, 2, 2, 2))
    patch = patch * _upsampled(knots)[0].exp()
    noise = MAX_NOISE_SD * rng.uniform() * strength
    patch = patch + noise * _noise(rng)
    if strength == 1:
        patch = blur_and_slice(patch, spacing_mm, rng)
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


def blur_and_slice(patch: Tensor, spacing_mm: float, rng: np.random.Generator) -> Tensor:
    """Blur a patch along every axis; along one of them, sample thick slices and interpolate back."""
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
