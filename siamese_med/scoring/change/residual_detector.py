"""The change detector that needs no training: the difference beyond what noise and misalignment explain."""

from __future__ import annotations

from torch import Tensor

from siamese_med.imaging import intensity
from siamese_med.imaging.noise_normalised_difference import normalise_difference
from siamese_med.scoring.change.pair_registration import RegisteredPair


def detect_with_residual(pair: RegisteredPair, spacing_mm: float, smoothing_mm: float) -> Tensor:
    """Compute the smoothed difference later - earlier in units of what noise and misalignment explain.

    With G a Gaussian smoothing and a, b the compressed intensities of the earlier and the later scan::

        e = G(b - a) / sqrt(noise^2 + (0.67 voxels x |gradient of G((a + b) / 2)|)^2)

    where noise is the robust standard deviation of G(b - a) in the body.
    `imaging.noise_normalised_difference.normalise_difference` computes it.

    Parameters
    ----------
    pair
        The registered pair, see `pair_registration.RegisteredPair`.
    spacing_mm
        Voxel edge of the pair.
    smoothing_mm
        Standard deviation of G. With it bound, the function is a `pair_registration.ChangeDetector`.

    Returns
    -------
    Tensor
        Signed evidence e (i, j, k), float32: positive where the later scan is brighter, 0 outside the body.
    """
    middle = intensity.measure_median_brightness(pair.a, pair.b, pair.inside)
    scans = (
        intensity.compress_intensity(pair.a, middle),
        intensity.compress_intensity(pair.b, middle),
        pair.inside.to(pair.a.dtype),
    )
    earlier, later, inside = (scan[None, None] for scan in scans)
    return normalise_difference(earlier, later, inside, smoothing_mm / spacing_mm)[0, 0]
