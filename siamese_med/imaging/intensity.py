"""Intensity normalisation: arbitrary scanner units to a scale with air at 0 and the median of bright tissue at 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

INVERTED_FLAG = str(ScanFlag.INVERTED)
"""The flag of a scan whose stored values run from white to black (MONOCHROME1)."""
MAX_NORMALISED_INTENSITY = 3.0
"""Normalised intensities are clipped here: three times the median of bright tissue."""
MAX_SAMPLED_VOXELS = 200_000
"""Quantiles and medians are taken from about this many voxels, evenly spaced, to save time."""
COMPRESSION_RANGE = 0.6
"""Compressed intensities stay within this distance of the middle, as a share of bright tissue. At this distance from
the middle, a difference counts for two fifths of what it counts at the middle."""


IntensityLevels = tuple[float, float]
"""Two intensities of a scan in scanner units: those that are normalised to 0 and to 1."""


def undo_monochrome1(voxels: NDArray[np.float32], flags: Iterable[str]) -> NDArray[np.float32]:
    """Invert the intensities of a MONOCHROME1 scan, so that bright tissue has high values; return others unchanged.

    Parameters
    ----------
    voxels
        Stored values, of any shape.
    flags
        Flags of the scan in the catalogue; `inverted` marks MONOCHROME1.

    Examples
    --------
    >>> import numpy as np
    >>> undo_monochrome1(np.array([0, 10, 40], dtype=np.float32), ["inverted"])
    array([40., 30.,  0.], dtype=float32)
    """
    return voxels.max() + voxels.min() - voxels if INVERTED_FLAG in flags else voxels


def normalise_intensity(voxels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Shift and scale intensities by robust statistics, and clip them to 0..MAX_NORMALISED_INTENSITY.

    Zero is the 1st percentile. One is the median of the voxels above a fifth of the range from the 1st to the 99th
    percentile. Medians are used because lesions and vessels are few; the shift is needed because CT is negative in air.

    Parameters
    ----------
    voxels
        Intensities in scanner units, of any shape.
    valid
        The same shape; voxels with at most 0.5 are ignored, and become 0.

    Examples
    --------
    >>> import torch
    >>> scan = torch.tensor([0.0, 0.0, 0.0, 400.0, 400.0, 800.0])
    >>> [round(value, 2) for value in normalise_intensity(scan, torch.ones(6)).tolist()]
    [0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
    """
    levels = measure_intensity_levels(voxels, valid)
    return scale_intensity(voxels, valid, levels)


def measure_intensity_levels(voxels: torch.Tensor, valid: torch.Tensor) -> IntensityLevels:
    """Return the intensities in scanner units that `normalise_intensity` makes 0 and 1; for arguments see there.

    Examples
    --------
    >>> import torch
    >>> measure_intensity_levels(torch.tensor([0.0, 0.0, 0.0, 400.0, 400.0, 800.0]), torch.ones(6))
    (0.0, 400.0)
    """
    import torch

    inside = voxels[valid > 0.5]
    if inside.numel() == 0:
        return 0.0, 1.0
    inside = inside[:: max(1, inside.numel() // MAX_SAMPLED_VOXELS)]
    low, high = torch.quantile(inside, torch.tensor([0.01, 0.99], device=inside.device))
    bright = inside[inside > low + 0.2 * (high - low)]
    return float(low), float(bright.median() if bright.numel() else high)


def scale_intensity(voxels: torch.Tensor, valid: torch.Tensor, levels: IntensityLevels) -> torch.Tensor:
    """Scale intensities so that `levels` become 0 and 1, and clip them to 0..MAX_NORMALISED_INTENSITY.

    Voxels that are not `valid` become 0; both tensors are of one shape, see `normalise_intensity`.
    """
    low, one = levels
    scaled = (voxels - low) / max(one - low, 1e-6)
    normalised: torch.Tensor = scaled.clamp(0, MAX_NORMALISED_INTENSITY) * (valid > 0.5)
    return normalised


def choose_voxels(size: int, count: int) -> NDArray[np.int64]:
    """Choose about `count` of the voxels 0 .. size - 1 of a whole volume, always the same ones, in rising order.

    They are not evenly spaced: steps that fit the length of a row would take all voxels from one plane of the volume.

    Examples
    --------
    >>> len(choose_voxels(1000, 50)), len(choose_voxels(10, 50))
    (50, 10)
    """
    import numpy as np

    if size <= count:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).integers(size, size=count))


def measure_median_brightness(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> float:
    """Measure the median intensity of two scans together, inside the body.

    `a`, `b` and `inside` have the same shape; voxels with `inside` above 0 count. Returns 0 for an empty mask.
    """
    import torch

    values = torch.cat([a[inside > 0], b[inside > 0]])
    return float(values[:: max(1, values.numel() // MAX_SAMPLED_VOXELS)].median()) if values.numel() else 0.0


def compress_intensity(voxels: torch.Tensor, middle: float) -> torch.Tensor:
    """Compress intensities around `middle` with a hyperbolic tangent, to -COMPRESSION_RANGE..COMPRESSION_RANGE.

    Matching the contrast of two scans fails for rare tissues: fluid that is as dark as bone in one scan only, or an old
    lesion that is brighter in one scan. These lie far from the middle, where differences are reduced. Tissue that
    turned into another tissue crosses the middle, where differences are kept.
    """
    import torch

    return COMPRESSION_RANGE * torch.tanh((voxels - middle) / COMPRESSION_RANGE)
