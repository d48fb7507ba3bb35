"""What a scanner may do to the same anatomy: MONAI's random transforms, gentle, and drawn apart for every scan."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Augmenter:
    """Augments the scans of a batch side by side, each from its own seed, so that threads do not change the result."""

    def __init__(self, strength: float, shape: Sequence[int]) -> None:
        self._strength, self._shape = strength, shape
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def __call__(self, volumes: Sequence[torch.Tensor], seeds: Sequence[int]) -> list[torch.Tensor]:
        """Volumes (1, i, j, k), each changed as its seed says."""
        return list(self._pool.map(self._one, volumes, seeds))

    def _one(self, volume: torch.Tensor, seed: int) -> torch.Tensor:
        import torch

        if not hasattr(self._own, "transform"):
            self._own.transform = build(self._strength, self._shape)
        self._own.transform.set_random_state(seed=seed % 2**32)
        return torch.as_tensor(self._own.transform(volume))


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
