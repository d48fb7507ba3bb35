"""The study's own template: the mean of a few scans, aligned to one another in their mean pose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.imaging import registration, resampling, volume
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.registration import TEMPLATE_LEVELS, Alignment
from siamese_med.imaging.volume import Volume, make_centred_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

LEVELS_PER_ROUND = (TEMPLATE_LEVELS[:1], TEMPLATE_LEVELS)
"""Resolution levels of each round of registration: coarse to the first scan, then fine to the mean of all."""
MAX_SPACING_MM = 3.0
"""Largest voxel edge of a template whose spacing is not configured."""
MASK_MARGIN_VOXELS = 3
"""Voxels around a mask that are kept, so that registration sees the mask's border."""


def check_configured_template(path: Path | None) -> Path | None:
    """Check that scans can be aligned to the template that a configuration names.

    Parameters
    ----------
    path
        NIfTI file, or None where the study builds its own template.

    Returns
    -------
    Path or None
        The path as given.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If it cannot be read as a volume, or has a flaw that prevents alignment.
    """
    if path is None:
        return None
    if not path.is_file():
        raise MissingFileError(f"prepare.template is not there: {path}")
    try:
        wrong = volume.find_template_flaw(volume.read_volume(path))
    except Exception as error:  # whatever nibabel makes of a broken file
        raise ConfigError("prepare.template cannot be read: name a three-dimensional NIfTI") from error
    if wrong:
        raise ConfigError(f"prepare.template {wrong}: name another NIfTI")
    return path


def build_template(
    scans: Sequence[Volume],
    shape: tuple[int, int, int],
    spacing_mm: float | None,
    device: str,
    masks: Sequence[Mask | None] | None = None,
) -> Volume:
    """Build a template: the mean of some scans on a grid that is centred on the body.

    Its orientation is the mean orientation of the scans, in RAS+ space, so left stays left.

    Parameters
    ----------
    scans
        Scans of one contrast, one for each patient.
    shape
        Voxels (i, j, k) of the template.
    spacing_mm
        Edge of the cubic voxels; None for the spacing at which the median field of view fills the grid, at most 3 mm.
    device
        Device of torch, such as `cpu`.
    masks
        Mask of each scan on its own grid, or None. What lies outside a mask is dark in the template, so that later
        scans are aligned to the masked region only.

    Returns
    -------
    Volume
        Mean of the normalised intensities, float32.
    """
    chosen = list(masks or [None] * len(scans))
    scans = [_darken_outside_mask(scan, mask) for scan, mask in zip(scans, chosen, strict=True)]
    grid = make_centred_affine(shape, spacing_mm or _fitting_spacing(scans, shape))
    start = np.eye(4)
    start[:3, 3] = resampling.centre_of_mass(scans[0], chosen[0])
    template = _mean_volume(scans[:1], [start], grid, shape, device)
    for levels in LEVELS_PER_ROUND:
        found = registration.register_scans(scans, template, levels, device=device, masks=chosen)
        template = _mean_volume(scans, _remove_mean_rotation(found), grid, shape, device)
    return template


def _darken_outside_mask(scan: Volume, mask: Mask | None) -> Volume:
    """The scan with the surroundings of its mask at its darkest; a few voxels around the mask stay, for its edge."""
    from scipy.ndimage import binary_dilation

    if mask is None:
        return scan
    near = binary_dilation(mask, iterations=MASK_MARGIN_VOXELS)
    return Volume(np.where(near, scan.voxels, scan.voxels.min()), scan.affine)


def _fitting_spacing(scans: Sequence[Volume], shape: tuple[int, int, int]) -> float:
    extents = np.median([np.asarray(scan.voxels.shape) * scan.spacing_mm for scan in scans], axis=0)
    return min(MAX_SPACING_MM, round(float((extents / np.asarray(shape)).max()), 1))


def _remove_mean_rotation(found: Sequence[Alignment]) -> list[NDArray[np.float64]]:
    """The same transforms after turning the template so that their mean rotation is zero."""
    mean = np.mean([alignment.matrix[:3, :3] for alignment in found], axis=0)
    left, _, right = np.linalg.svd(mean)
    turn = np.eye(4)
    turn[:3, :3] = (left @ right).T
    return [alignment.matrix @ turn for alignment in found]


def _mean_volume(
    scans: Sequence[Volume],
    matrices: Sequence[NDArray[np.float64]],
    grid: NDArray[np.float64],
    shape: tuple[int, int, int],
    device: str,
) -> Volume:
    """Mean of the normalised scans over those whose field of view reaches a voxel."""
    import torch

    total = torch.zeros(shape, device=device)
    seen = torch.zeros(shape, device=device)
    for scan, matrix in zip(scans, matrices, strict=True):
        voxels, valid = resampling.resample_volume(scan, matrix @ grid, shape, device)[0]
        total += normalise_intensity(voxels, valid)
        seen += valid
    mean = total / seen.clamp(min=1)
    return Volume(mean.cpu().numpy(), grid)
