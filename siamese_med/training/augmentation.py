"""The augmentation of identity training: a MONAI `Compose` of random transforms of a whole batch.

Anatomy is shared by all scans of a patient in the batch, the pose and the effects of the scanner are drawn apart for
each scan. The transforms run on the device of their input. A transform of the user's (`train.transform`) stands last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose, Randomizable

from siamese_med.errors import SiameseMedError
from siamese_med.study.config import TrainConfig
from siamese_med.training.batch_transforms import (
    RandBatchTransformd,
    RandControlPointBiasFieldd,
    RandGammaCurved,
    RandShortFieldOfViewd,
    RandSliceBlurd,
    RandTissueNoised,
)
from siamese_med.training.patient_geometry import RandPatientGeometryd
from siamese_med.training.plugin_transform import build_plugin_transform

ROTATION_SD_RADIANS = 0.016
"""Standard deviation of the rotation about each axis at strength 1."""
SHIFT_SD_VOXELS = 0.3
"""Standard deviation of the shift along each axis at strength 1."""
BIAS_FIELD_LOG_SD = 0.24
"""Standard deviation of the logarithm of the bias field at its control points, at strength 1."""
GAMMA_LOG_SD = 0.4
"""Standard deviation of the logarithm of gamma in the contrast curve `intensity ** gamma`, at strength 1."""
MAX_NOISE_SD = 0.06
"""Largest standard deviation of the added noise at strength 1; normalised intensity, in which bright tissue is 1."""
MAX_NEIGHBOUR_WEIGHT = 0.25
"""Largest weight of each neighbouring slice in the blur that imitates thicker slices."""
SHORT_FIELD_SHARE = 0.3
"""Share of the scans with a shorter field of view at strength 1."""
MAX_CROPPED_FRACTION = 0.125
"""Largest part of an axis that a shorter field of view loses."""


class BatchCompose(Compose):  # type: ignore[misc]
    """A MONAI `Compose` of transforms of a batch, reproducible from one seed, that can be printed.

    Our own transforms (`RandBatchTransformd`) draw from one generator, in their order. Each other random transform is
    given the seed itself, so what it draws does not depend on the ones before it.

    Examples
    --------
    >>> print(build_augmentation(TrainConfig(augmentation_strength=0)))
    BatchCompose([
      RandPatientGeometryd(keys=('image', 'mask'), rotation_sd_radians=0.0, shift_sd_voxels=0.0, warp_voxels=0.5),
    ])
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]] = ()) -> None:
        super().__init__(list(transforms))

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> BatchCompose:
        """Seed all transforms; `seed` may be any whole number from 0."""
        seed = int(np.random.default_rng().integers(2**32)) if seed is None and state is None else seed
        self.R = state if seed is None else np.random.RandomState(np.random.PCG64(seed))
        for transform in self.transforms:
            if isinstance(transform, RandBatchTransformd) or seed is None:
                if isinstance(transform, Randomizable):
                    transform.set_random_state(state=self.R)
            elif isinstance(transform, Randomizable):
                transform.set_random_state(seed=seed)
        return self

    def __call__(self, *batch: Any, **options: Any) -> Any:
        """Run the transforms; what went wrong in one of ours is told as it is, without MONAI's words around it."""
        try:
            return super().__call__(*batch, **options)
        except RuntimeError as error:
            if isinstance(error.__cause__, SiameseMedError):
                raise error.__cause__ from None
            raise

    def __repr__(self) -> str:
        lines = "".join(f"  {transform!r},\n" for transform in self.transforms)
        return f"{type(self).__name__}([\n{lines}])" if lines else f"{type(self).__name__}([])"


def build_augmentation(config: TrainConfig) -> BatchCompose:
    """Build the augmentation that a configuration asks for.

    Parameters
    ----------
    config
        `augmentation_strength` scales all effects of acquisition and alignment, 0 switches them off.
        `anatomy_warp_voxels` is the size of the warp that makes a new anatomy, 0 switches it off. `transform` is the
        user's own, which stands last.

    Returns
    -------
    BatchCompose
        Takes and returns a batch, see `batch_transforms`. Call its `set_random_state(seed)` before every batch.

    Examples
    --------
    >>> import torch
    >>> augment = build_augmentation(TrainConfig()).set_random_state(seed=1)
    >>> augment({"image": torch.rand(2, 1, 8, 8, 8), "subject": ["sub-1", "sub-2"]})["image"].shape
    torch.Size([2, 1, 8, 8, 8])
    """
    strength, chosen = config.augmentation_strength, build_plugin_transform(config)
    transforms: list[Callable[..., Any]] = []
    if strength > 0 or config.anatomy_warp_voxels > 0:
        turn, shift = ROTATION_SD_RADIANS * strength, SHIFT_SD_VOXELS * strength
        transforms.append(RandPatientGeometryd(turn, shift, config.anatomy_warp_voxels))
    if strength > 0:
        bounded = min(1.0, strength)
        transforms += [
            RandSliceBlurd(max_neighbour_weight=MAX_NEIGHBOUR_WEIGHT * bounded),
            RandControlPointBiasFieldd(log_sd=BIAS_FIELD_LOG_SD * strength),
            RandGammaCurved(log_sd=GAMMA_LOG_SD * strength),
            RandTissueNoised(max_sd=MAX_NOISE_SD * strength),
            RandShortFieldOfViewd(prob=SHORT_FIELD_SHARE * bounded, max_fraction=MAX_CROPPED_FRACTION),
        ]
    return BatchCompose([*transforms, *([] if chosen is None else [chosen])])
