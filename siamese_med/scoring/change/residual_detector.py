"""What differs between the two scans of a pair beyond noise and misalignment: the detector that needs no training."""

from __future__ import annotations

from torch import Tensor

from siamese_med.imaging import intensity
from siamese_med.imaging.noise_normalised_difference import normalise_difference
from siamese_med.scoring.change.pair_registration import RegisteredPair


def detect_with_residual(pair: RegisteredPair, spacing_mm: float, smoothing_mm: float) -> Tensor:
    """Later - earlier (i, j, k) in units of what noise and misalignment explain; smoothed by that standard deviation.

    With `smoothing_mm` set it is an `overlay.Detector`.
    """
    middle = intensity.measure_median_brightness(pair.a, pair.b, pair.inside)
    scans = (
        intensity.compress_intensity(pair.a, middle),
        intensity.compress_intensity(pair.b, middle),
        pair.inside.to(pair.a.dtype),
    )
    earlier, later, inside = (scan[None, None] for scan in scans)
    return normalise_difference(earlier, later, inside, smoothing_mm / spacing_mm)[0, 0]
