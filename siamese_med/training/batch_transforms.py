"""Random effects of the scanner as MONAI dictionary transforms of a whole batch of scans, on the device of the batch.

A batch is a dictionary: `image` (s, 1, i, j, k), normalised so that bright tissue is 1 and 0 is outside the field of
view, and, where there is one, `mask` of the same shape. `subject` names the patient of each scan. Two more keys are
there where several ranks share a batch: `batch_subject` has the patients of the whole batch (b,), and `place` the
positions (s,) of the scans that are here. Every transform draws for the whole batch, so a scan is changed in the same
way whatever its share.

Voxels that are 0 stay 0. The affine of a MetaTensor stays too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Index = NDArray[np.int64]
Keys = str | Sequence[str]

IMAGE, MASK = "image", "mask"
SUBJECT, BATCH_SUBJECT, PLACE = "subject", "batch_subject", "place"
DARKEST_TISSUE = 1e-4
"""Tissue is never darker than this, so that it is not taken for what lies outside the field of view."""


class RandBatchTransformd(Randomizable, MapTransform):  # type: ignore[misc]
    """Base of random dictionary transforms of a batch of scans.

    A subclass draws in `draw_effects` for all scans of the batch, and changes the scans that are here in
    `change_scans`. Name one by `train.transform` to add it to the augmentation of a training.

    Parameters
    ----------
    keys
        Keys of the scans (s, 1, i, j, k) to change.
    settings
        What `repr` shows beside the keys.

    Attributes
    ----------
    subjects
        Patients of the whole batch (b,).
    places
        Positions (s,) in it of the scans that are here.
    grid
        Voxels (i, j, k) of each scan.

    Examples
    --------
    >>> class RandGaind(RandBatchTransformd):
    ...     def draw_effects(self, rng):
    ...         self.gain = rng.uniform(0.9, 1.1, len(self.subjects))
    ...
    ...     def change_scans(self, scans):
    ...         return scans * float_tensor(self.gain[self.places], scans.device)[:, None, None, None, None]
    >>> gain = RandGaind("image").set_random_state(seed=1)
    >>> gain({"image": torch.ones(2, 1, 4, 4, 4), "subject": ["sub-1", "sub-2"]})["image"].shape
    torch.Size([2, 1, 4, 4, 4])
    """

    def __init__(self, keys: Keys, allow_missing_keys: bool = True, **settings: object) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.settings = settings
        self.subjects: NDArray[Any] = np.zeros(0)
        self.places: Index = np.zeros(0, dtype=np.int64)
        self.grid = torch.Size([0, 0, 0])

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        changed = dict(data)
        self.randomize(changed)
        for key in self.key_iterator(changed):
            scans = strip_meta(changed[key])
            found = self.change_masks(scans) if key == MASK else self.change_scans(scans)
            changed[key] = keep_meta(found, changed[key])
        return changed

    def randomize(self, data: Mapping[Any, Any]) -> None:
        """Draw what every scan of a batch is changed by, from the random state `R` that MONAI has set."""
        self.subjects, self.places = find_batch_subjects(data), find_places(data)
        self.grid = next(data[key].shape[2:] for key in self.keys if key in data or key == self.keys[-1])
        self.draw_effects(np.random.Generator(self.R._bit_generator))

    def draw_effects(self, rng: np.random.Generator) -> None:
        """Draw from `rng` what every scan of the batch is changed by, and keep it."""
        raise NotImplementedError

    def change_scans(self, scans: Tensor) -> Tensor:
        """Return the changed scans (s, 1, i, j, k); the given ones are not changed."""
        raise NotImplementedError

    def change_masks(self, masks: Tensor) -> Tensor:
        """Return the masks (s, 1, i, j, k) that go with the changed scans; as scans, unless a subclass says more."""
        return self.change_scans(masks)

    def __repr__(self) -> str:
        given = {"keys": self.keys, **self.settings}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


class RandSliceBlurd(RandBatchTransformd):
    """Mix each slice with its neighbours along one random axis, as thicker slices would.

    Parameters
    ----------
    max_neighbour_weight
        Largest weight of each of the two neighbours, at most 0.5.
    """

    def __init__(self, keys: Keys = IMAGE, max_neighbour_weight: float = 0.25) -> None:
        super().__init__(keys, max_neighbour_weight=max_neighbour_weight)
        self.max_neighbour_weight = max_neighbour_weight

    def draw_effects(self, rng: np.random.Generator) -> None:
        self.axes = rng.integers(0, 3, len(self.subjects))
        self.weights = self.max_neighbour_weight * rng.uniform(0, 1, len(self.subjects))

    def change_scans(self, scans: Tensor) -> Tensor:
        blurred = scans.clone()
        for number, place in enumerate(self.places):
            axis, weight, n = int(self.axes[place]), float(self.weights[place]), scans.shape[2 + self.axes[place]]
            if n < 3:
                continue
            scan, middle = scans[number, 0], blurred[number, 0].narrow(axis, 1, n - 2)
            sides = scan.narrow(axis, 0, n - 2) + scan.narrow(axis, 2, n - 2)
            middle.mul_(1 - 2 * weight).add_(sides, alpha=weight)
        return blurred.mul_(scans > 0)


class RandControlPointBiasFieldd(RandBatchTransformd):
    """Multiply by the exponential of a field that is linear between random values at 4 x 4 x 4 control points.

    Parameters
    ----------
    log_sd
        Standard deviation of the logarithm of the field at its control points.
    """

    KNOTS = 4

    def __init__(self, keys: Keys = IMAGE, log_sd: float = 0.24) -> None:
        super().__init__(keys, log_sd=log_sd)
        self.log_sd = log_sd

    def draw_effects(self, rng: np.random.Generator) -> None:
        knots = (min(self.KNOTS, n) for n in self.grid)
        self.knots = self.log_sd * rng.standard_normal((len(self.subjects), 1, *knots))

    def change_scans(self, scans: Tensor) -> Tensor:
        knots = float_tensor(self.knots[self.places], scans.device)
        return scans * functional.interpolate(knots, size=scans.shape[2:], mode="trilinear").exp()


class RandGammaCurved(RandBatchTransformd):
    """Change the contrast by `intensity ** gamma`, which keeps 0 and the level of bright tissue, 1.

    MONAI's `RandAdjustContrastd` keeps the darkest and the brightest voxel instead: then the curve that tissue sees
    depends on a single bright vessel.

    Parameters
    ----------
    log_sd
        Standard deviation of the logarithm of gamma.
    """

    def __init__(self, keys: Keys = IMAGE, log_sd: float = 0.4) -> None:
        super().__init__(keys, log_sd=log_sd)
        self.log_sd = log_sd

    def draw_effects(self, rng: np.random.Generator) -> None:
        self.gamma = np.exp(self.log_sd * rng.standard_normal((len(self.subjects), 1, 1, 1, 1)))

    def change_scans(self, scans: Tensor) -> Tensor:
        curve = float_tensor(self.gamma[self.places], scans.device)
        return (scans.clamp(min=DARKEST_TISSUE) ** curve).mul_(scans > 0)


class RandTissueNoised(RandBatchTransformd):
    """Add Gaussian noise of a random strength to all voxels that are not 0.

    Parameters
    ----------
    max_sd
        Largest standard deviation of the noise, in units of bright tissue.
    """

    def __init__(self, keys: Keys = IMAGE, max_sd: float = 0.06) -> None:
        super().__init__(keys, max_sd=max_sd)
        self.max_sd = max_sd

    def draw_effects(self, rng: np.random.Generator) -> None:
        self.sd = self.max_sd * rng.uniform(0, 1, (len(self.subjects), 1, 1, 1, 1))
        self.noise_seed = int(rng.integers(2**31))

    def change_scans(self, scans: Tensor) -> Tensor:
        generator = torch.Generator(scans.device).manual_seed(self.noise_seed)
        noise = torch.randn((len(self.subjects), 1, *scans.shape[2:]), generator=generator, device=scans.device)
        noise = noise if len(scans) == len(self.subjects) else noise[torch.from_numpy(self.places).to(scans.device)]
        sd = float_tensor(self.sd[self.places], scans.device)
        return noise.mul_(sd).add_(scans).clamp_(min=DARKEST_TISSUE).mul_(scans > 0)


class RandShortFieldOfViewd(RandBatchTransformd):
    """Cut off one end of one axis in some of the scans.

    Parameters
    ----------
    prob
        Share of the scans that lose something.
    max_fraction
        Largest part of the axis that is lost.
    """

    def __init__(self, keys: Keys = (IMAGE, MASK), prob: float = 0.3, max_fraction: float = 0.125) -> None:
        super().__init__(keys, prob=prob, max_fraction=max_fraction)
        self.prob, self.max_fraction = prob, max_fraction

    def draw_effects(self, rng: np.random.Generator) -> None:
        self.cuts = [
            (int(rng.integers(1, 4)), self.max_fraction * rng.uniform(0, 1), rng.random() < 0.5, rng.random())
            for _ in range(len(self.subjects))
        ]

    def change_scans(self, scans: Tensor) -> Tensor:
        cut = scans.clone()
        for scan, place in zip(cut, self.places, strict=True):
            axis, part, late, chance = self.cuts[place]
            lost = int(part * scan.shape[axis])
            if chance < self.prob and lost:
                scan.narrow(axis, scan.shape[axis] - lost if late else 0, lost).zero_()
        return cut


def find_batch_subjects(data: Mapping[Any, Any]) -> NDArray[Any]:
    """Return the patient of every scan of the whole batch (b,)."""
    subjects = data[BATCH_SUBJECT] if BATCH_SUBJECT in data else data[SUBJECT]
    return np.asarray(subjects.cpu() if isinstance(subjects, Tensor) else subjects)


def find_places(data: Mapping[Any, Any]) -> Index:
    """Return the positions (s,) in the whole batch of the scans that are here."""
    return np.asarray(data[PLACE] if PLACE in data else np.arange(len(find_batch_subjects(data))), dtype=np.int64)


def strip_meta(scans: Tensor) -> Tensor:
    """Return the plain tensor of a MetaTensor, whose every operation would copy its metadata; others as they are."""
    plain: Tensor = scans.as_tensor() if isinstance(scans, MetaTensor) else scans
    return plain


def keep_meta(scans: Tensor, former: Tensor) -> Tensor:
    """Return scans as a MetaTensor with the metadata of the former ones, where these were one."""
    return MetaTensor(scans).copy_meta_from(former) if isinstance(former, MetaTensor) else scans


def float_tensor(values: NDArray[np.float64], device: torch.device) -> Tensor:
    """Return drawn values as float32 on a device."""
    return torch.as_tensor(values, dtype=torch.float32, device=device)
