"""What a scanner may do to the same anatomy: MONAI's random transforms, gentle, and drawn apart for every scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def build(strength: float, shape: Sequence[int]) -> Any:
    """A seedable MONAI Compose on (1, i, j, k); rigid only, since size and shape are what tells people apart."""
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandBiasField,
        RandCoarseDropout,
        RandGaussianNoise,
        RandGaussianSmooth,
    )

    if strength == 0:
        return Compose([])
    angles = [0.04 * strength if min(shape) > 1 else 0.0] * 2 + [0.04 * strength]
    band = [max(1, n // 8) if axis == 2 and n > 1 else n for axis, n in enumerate(shape)]
    return Compose(
        [
            RandAffine(
                prob=0.5,
                rotate_range=angles,
                translate_range=[0.015 * strength * n if n > 1 else 0.0 for n in shape],
                spatial_size=tuple(shape),
                cache_grid=True,
                padding_mode="border",
            ),
            RandBiasField(prob=0.5, degree=2, coeff_range=(0.0, 0.15 * strength)) if min(shape) > 1 else Compose([]),
            RandAdjustContrast(prob=0.8, gamma=(1 / (1 + 0.3 * strength), 1 + 0.3 * strength)),
            RandGaussianSmooth(prob=0.3, sigma_x=(0.0, 0.8), sigma_y=(0.0, 0.8), sigma_z=(0.0, 0.8)),
            RandGaussianNoise(prob=0.5, std=0.06 * strength),
            RandCoarseDropout(prob=0.3 * min(1.0, strength), holes=1, spatial_size=band, fill_value=0),
        ]
    )
