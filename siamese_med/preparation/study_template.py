"""The study's own template: the mean of a few scans, aligned to one another until none is preferred."""

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
"""Coarsely to the first scan, then finely to the mean of all."""
MAX_SPACING_MM = 3.0
MASK_MARGIN_VOXELS = 3


def check_configured_template(path: Path | None) -> Path | None:
    """The template that a config names, if it does; raises ConfigError where scans cannot be aligned to it."""
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
    """Mean of the scans on a grid centred on the body; the pose is the scans' mean pose, so left stays left.

    `spacing_mm` None takes the spacing at which the median field of view fills the grid, 3 mm at most. What lies
    outside a scan's mask (on its grid) is dark in the template, so that only what the masks mark is aligned to it.
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
    """The same transforms, with the template turned so that their mean rotation is none."""
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
