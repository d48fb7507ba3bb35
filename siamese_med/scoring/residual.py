"""What differs between the two scans of a pair beyond noise and misalignment: the detector that needs no training."""

from __future__ import annotations

from torch import Tensor

from siamese_med import intensity
from siamese_med.deviation import deviation
from siamese_med.scoring.overlay import Overlay


def evidence(pair: Overlay, spacing_mm: float, smoothing_mm: float) -> Tensor:
    """Later - earlier (i, j, k) in units of what noise and misalignment explain; smoothed by that standard deviation.

    With `smoothing_mm` set it is an `overlay.Detector`.
    """
    middle = intensity.middle(pair.a, pair.b, pair.inside)
    scans = (intensity.compressed(pair.a, middle), intensity.compressed(pair.b, middle), pair.inside.to(pair.a.dtype))
    earlier, later, inside = (scan[None, None] for scan in scans)
    return deviation(earlier, later, inside, smoothing_mm / spacing_mm)[0, 0]
