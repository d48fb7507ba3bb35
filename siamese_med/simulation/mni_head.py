"""Tissue fractions of a head: the MNI152 template that nilearn ships, with a simulated skull and scalp.

nilearn ships the template without skull. Bone and skin are added as shells around its brain mask, and continued
downwards as a neck, because real scans show them and registration has to deal with them.
The grid has HEAD_GRID_SHAPE voxels of HEAD_GRID_MM, RAS+, centred on the brain.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import make_centred_affine

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

HEAD_GRID_SHAPE = (120, 144, 120)
HEAD_GRID_MM = 1.5
"""Shape (i, j, k) and voxel edge of the head grid."""
TISSUES = ("grey", "white", "csf", "ventricle", "bone", "skin", "texture")
"""Channels of `load_tissue_fractions`: fractions 0 to 1, and texture, which is signed. `ventricle` is a part of csf."""


@lru_cache(maxsize=1)
def load_tissue_fractions() -> torch.Tensor:
    """Load the tissue fractions of the head; the result is cached and must not be changed.

    Returns
    -------
    float32 (7, 120, 144, 120) in the order of TISSUES, on the RAS+ head grid. Grey, white and csf sum to at most 1;
    ventricle counts within csf.
    """
    import torch

    grey, white, brain, t1 = _resampled_templates()
    total = np.clip(grey + white, 1, None)
    grey, white = grey / total, white / total
    csf = np.clip(brain - grey - white, 0, 1)
    bone, skin = _shells(brain)
    channels = [grey, white, csf, _ventricles(csf, brain), bone, skin, _texture(t1, grey, white, csf)]
    return torch.from_numpy(np.stack(channels).astype(np.float32))


def _resampled_templates() -> list[NDArray[np.float32]]:
    from nilearn.datasets import (
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )
    from scipy.ndimage import map_coordinates

    images = [
        load_mni152_gm_template(resolution=2),
        load_mni152_wm_template(resolution=2),
        load_mni152_brain_mask(resolution=2),
        load_mni152_template(resolution=1),
    ]
    mask = images[2]
    occupied = np.argwhere(np.asarray(mask.dataobj) > 0)
    centre = mask.affine[:3, :3] @ ((occupied.min(0) + occupied.max(0)) / 2) + mask.affine[:3, 3]
    grid = make_centred_affine(HEAD_GRID_SHAPE, HEAD_GRID_MM)
    voxels = np.stack(np.meshgrid(*map(np.arange, HEAD_GRID_SHAPE), indexing="ij"), -1)
    world = voxels @ grid[:3, :3].T + grid[:3, 3] + centre
    resampled = []
    for image in images:
        inverse = np.linalg.inv(image.affine)
        points = np.moveaxis(world @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
        data = np.asarray(image.dataobj, dtype=np.float32)
        resampled.append(map_coordinates(data / max(float(data.max()), 1e-6), points, order=1))
    grey, white, brain, t1 = resampled
    brain = (brain > 0.5).astype(np.float32)
    return [grey * brain, white * brain, brain, t1 * brain]


def _shells(brain: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    below = np.maximum.accumulate(brain[:, :, ::-1], axis=2)[:, :, ::-1]
    depth = int(np.argmax(brain.any((0, 1))))
    column = brain.copy()
    for k in range(depth + 30, -1, -1):
        taper = max(0, depth + 30 - k) * 0.35
        column[:, :, k] = np.maximum(brain[:, :, k], distance_transform_edt(below[:, :, k]) > taper + 4)
    distance = distance_transform_edt(column < 0.5, sampling=HEAD_GRID_MM)
    outside = (brain < 0.5).astype(np.float32)
    inner = distance_transform_edt(brain < 0.5, sampling=HEAD_GRID_MM)
    bone = ((inner > 2) & (inner < 8)).astype(np.float32) * outside
    skin = ((distance < 13) & (inner >= 8)).astype(np.float32) * outside
    return gaussian_filter(bone, 0.6), gaussian_filter(skin, 0.6)


def _ventricles(csf: NDArray[np.float32], brain: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import binary_erosion, gaussian_filter, label

    deep = binary_erosion(brain > 0, iterations=13)
    parts, _ = label((csf > 0.4) & deep)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(gaussian_filter((parts == sizes.argmax()).astype(np.float32), 0.8))


def _texture(
    t1: NDArray[np.float32], grey: NDArray[np.float32], white: NDArray[np.float32], csf: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The part of the T1 template that the three tissues do not explain. It gives white matter some texture."""
    inside = (grey + white + csf) > 0.5
    basis = np.stack([grey[inside], white[inside], csf[inside]], 1)
    weights = np.linalg.lstsq(basis, t1[inside], rcond=None)[0]
    texture = np.zeros_like(t1)
    texture[inside] = (t1[inside] - basis @ weights) / (4 * t1[inside].std())
    return texture
