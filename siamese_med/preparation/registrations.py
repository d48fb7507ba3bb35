"""Registration of scans to the template by the built-in method or by a plug-in; how well it went is measured alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import PluginError
from siamese_med.imaging import registration
from siamese_med.imaging.registration import Alignment, Transform
from siamese_med.imaging.volume import Volume
from siamese_med.plugins import Plugin, bind_plugin, plugin_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_] | None

LARGEST_STRETCH = 3.0
"""A scan that a registration makes so many times larger or smaller along some axis lies wrong, whatever it shows."""


def register_to_template(
    plugin: Plugin,
    moving: Sequence[Volume],
    fixed: Volume,
    transform: Transform = "rigid",
    device: str = "cpu",
    masks: Sequence[Mask] | None = None,
) -> list[Alignment]:
    """Register every scan to a template.

    Parameters
    ----------
    plugin
        The registration. The built-in one takes all scans at once; a plug-in is called for each with (moving, fixed),
        and with `transform`, `mask` and `device` where it has parameters of these names.
    moving, fixed
        Scans and template, voxels (i, j, k) with affines to RAS+ mm.
    transform
        Degrees of freedom that are asked for: "rigid" is 6, "affine" is 12.
    masks
        Where each scan is to be looked at, (i, j, k); everywhere where there is none.

    Returns
    -------
    list of Alignment
        Each with the 4x4 matrix from fixed mm to moving mm. Correlation ratio and quality are always siamese-med's own,
        so that `prepare.min_quality` means the same for all registrations.

    Raises
    ------
    PluginError
        Where a plug-in fails or gives something else than such a matrix.
    """
    if plugin.built_in:
        return registration.register_scans(moving, fixed, device=device, masks=masks, transform=transform)
    chosen = list(masks or [None] * len(moving))
    found = [_matrix(plugin, scan, fixed, transform, device, mask) for scan, mask in zip(moving, chosen, strict=True)]
    return registration.measure_alignments(moving, fixed, found, device, chosen)


def _matrix(
    plugin: Plugin, scan: Volume, fixed: Volume, transform: Transform, device: str, mask: Mask
) -> NDArray[np.float64]:
    try:
        found = bind_plugin(plugin, ("moving", "fixed"), transform=transform, device=device, mask=mask)(scan, fixed)
    except PluginError:
        raise
    except Exception as error:
        raise plugin_failure(plugin, error) from error
    if problem := matrix_problem(found):
        raise PluginError(f"{plugin} gives a matrix that {problem}: it must be 4x4, from template mm to scan mm (RAS+)")
    return np.asarray(found, dtype=np.float64)


def matrix_problem(found: object) -> str:
    """Say what is wrong with a matrix from template mm to scan mm; empty where it is one."""
    try:
        matrix = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        return "holds no numbers"
    if matrix.shape != (4, 4):
        return f"has the shape {matrix.shape}"
    if not np.isfinite(matrix).all():
        return "holds NaN or infinite numbers"
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        return "has another last row than 0 0 0 1"
    stretch = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    if stretch.min() < 1 / LARGEST_STRETCH or stretch.max() > LARGEST_STRETCH:
        return f"stretches the scan by more than a factor of {LARGEST_STRETCH:g}"
    return "mirrors the scan" if np.linalg.det(matrix[:3, :3]) < 0 else ""
