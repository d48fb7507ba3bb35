"""Augmentation is a Compose that follows its seed: a patient's scans share one new anatomy, not the acquisition."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable
from torch import Tensor

from siamese_med.errors import PluginError
from siamese_med.study.config import TrainConfig
from siamese_med.training.augmentation import BatchCompose, build_augmentation
from siamese_med.training.batch_transforms import RandBatchTransformd
from siamese_med.training.patient_geometry import RandPatientGeometryd
from tests.commands import ROOT

PUBLISHED_MEANS, PUBLISHED_VOXELS = [1.35807, 2.13495, 1.04012], [0.19581, 0.0378, 0.15921]
"""Of a batch with a known seed."""


class Emptyd(RandBatchTransformd):
    """A user's transform of whole batches: nothing is left of a scan."""

    def draw_effects(self, rng: np.random.Generator) -> None:
        self.drawn = rng.random(len(self.subjects))

    def change_scans(self, scans: Tensor) -> Tensor:
        return scans * 0


class TwoOfMonai(Compose):
    """A user's Compose for one scan."""

    def __init__(self) -> None:
        from monai.transforms import RandGaussianNoised, RandShiftIntensityd

        super().__init__([RandGaussianNoised("image", prob=1.0), RandShiftIntensityd("image", offsets=0.5, prob=1.0)])


def test_it_is_a_compose_of_random_dictionary_transforms_that_can_be_printed_and_changed() -> None:
    augment = build_augmentation(TrainConfig())
    assert isinstance(augment, Compose)
    assert all(isinstance(one, MapTransform) and isinstance(one, Randomizable) for one in augment.transforms)
    assert indent(repr(augment), "    ") in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    shorter = BatchCompose(augment.transforms[:1])
    scans = torch.rand(2, 1, 8, 8, 8)
    only_moved = _changed(shorter, scans, [0, 0], 3)
    assert torch.equal(only_moved, _changed(build_augmentation(_config(0.5, 0.5)).transforms[0], scans, [0, 0], 3))


@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 8, 1)])
def test_it_keeps_the_grid_and_follows_its_seed(shape: tuple[int, int, int]) -> None:
    scans = torch.rand(4, 1, *shape)
    drawn = [_augmented(scans, [0, 0, 1, 1], seed, 1.0, 0.5) for seed in (0, 0, 1)]
    assert drawn[0].shape == scans.shape
    assert torch.isfinite(drawn[0]).all()
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_batches_are_those_that_the_published_models_were_trained_on() -> None:
    """Values of the commit before the transforms became MONAI's, to rounding; seeds above 2**32 occur."""
    places = torch.stack(torch.meshgrid(*[torch.linspace(0, 3, n) for n in (12, 14, 10)], indexing="ij"))
    scan = (places.sum(0).sin() + 1.2)[None, None]
    found = _augmented(scan.repeat(3, 1, 1, 1, 1), [5, 5, 2], 2**33 + 5, 1.0, 0.5)
    assert found.mean((1, 2, 3, 4)).tolist() == pytest.approx(PUBLISHED_MEANS, abs=1e-4)
    assert found[:, 0, 6, 7, 5].tolist() == pytest.approx(PUBLISHED_VOXELS, abs=1e-4)


def test_none_leaves_a_scan_as_it_is() -> None:
    scans = torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(_augmented(scans, [0, 0], 3, 0.0, 0.0), scans)


def test_the_given_batch_is_not_changed() -> None:
    scans = _smooth((12, 12, 12)).expand(4, -1, -1, -1, -1).clone()
    kept = scans.clone()
    for transform in build_augmentation(_config(4.0, 0.5)).transforms:
        _changed(transform, scans, [0, 0, 1, 1], 2)
        assert torch.equal(scans, kept), transform


def test_a_new_person_is_shared_by_the_scans_of_a_patient_and_not_with_others() -> None:
    scan = _smooth((24, 24, 24))
    first, again, other = _augmented(scan.expand(3, -1, -1, -1, -1), ["sub-7", "sub-7", "sub-9"], 0, 0.0, 1.0)
    torch.testing.assert_close(first, again)
    assert (first - other).abs().max() > 0.05
    assert (first - scan[0]).abs().max() > 0.05


def test_acquisition_differs_between_the_scans_of_a_patient() -> None:
    first, again = _augmented(_smooth((24, 24, 24)).expand(2, -1, -1, -1, -1), [7, 7], 0, 1.0, 0.0)
    assert (first - again).abs().mean() > 0.01


def test_what_lies_outside_the_field_of_view_stays_outside() -> None:
    scan = _smooth((24, 24, 24)) + 0.5
    scan[:, :, :, :, 18:] = 0
    assert (_augmented(scan, [0], 0, 0.5, 0.0)[:, :, :, :, 21:] == 0).all()


def test_a_mask_goes_with_its_scan_and_the_affine_stays() -> None:
    scan = torch.zeros(2, 1, 16, 16, 16)
    scan[:, :, 4:12, 4:12, 4:12] = 1.0
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    batch = {"image": MetaTensor(scan, affine=affine), "mask": (scan > 0).byte(), "subject": [0, 1]}
    moved = BatchCompose([RandPatientGeometryd(0.0, 2.0, 0.0)]).set_random_state(1)(batch)
    assert torch.equal(moved["image"].affine, affine)
    assert moved["mask"].dtype == torch.uint8
    assert not torch.equal(moved["mask"], batch["mask"])
    inside = moved["mask"].bool()
    assert moved["image"][inside].min() > 0.1
    assert moved["image"][~inside].max() < 0.9


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("monai.transforms:RandGaussianNoise", {"prob": 1.0}),
        ("monai.transforms:RandGaussianNoised", {"keys": "image", "prob": 1.0}),
        ("monai.transforms:GaussianSmoothd", {"keys": "image", "sigma": 1.0}),
        (f"{__name__}:TwoOfMonai", {}),
        (f"{__name__}:Emptyd", {"keys": "image"}),
    ],
)
@pytest.mark.parametrize("share", [[0, 1, 2], [3, 4, 0]])
def test_a_transform_of_the_users_changes_a_scan_alike_in_any_share(
    name: str, arguments: dict[str, Any], share: list[int]
) -> None:
    scans, subjects = torch.rand(5, 1, 10, 8, 6), np.array([4, 4, 2, 2, 9])
    augment = build_augmentation(TrainConfig(transform=name, transform_args=arguments))
    plain = _augmented(scans, subjects, 3, 0.5, 0.5)
    affine = torch.eye(4).expand(5, -1, -1)
    placed = MetaTensor(scans, affine=affine)
    placed.is_batch = True
    whole = augment.set_random_state(3)({"image": placed, "subject": subjects})["image"]
    assert isinstance(whole, MetaTensor)
    assert whole.affine.shape == (5, 4, 4)
    assert not torch.equal(whole.as_tensor(), plain)
    mine = {"image": scans[share], "subject": subjects[share], "batch_subject": subjects, "place": share}
    assert torch.equal(augment.set_random_state(3)(mine)["image"], whole.as_tensor()[share])


def test_a_dictionary_transform_sees_whose_scan_it_is() -> None:
    config = TrainConfig(transform="monai.transforms:DeleteItemsd", transform_args={"keys": "session"})
    batch = {"image": torch.rand(2, 1, 8, 8, 8), "subject": [0, 1], "session": ["ses-1", "ses-2"]}
    assert build_augmentation(config).set_random_state(1)(batch)["session"] == ["ses-1", "ses-2"]
    with pytest.raises(PluginError, match="RandFlipd failed") as caught:
        build_augmentation(
            TrainConfig(transform="monai.transforms:RandFlipd", transform_args={"keys": "picture", "prob": 1.0})
        )(batch)
    assert "\n" not in str(caught.value)


def _config(strength: float, warp: float) -> TrainConfig:
    return TrainConfig(augmentation_strength=strength, anatomy_warp_voxels=warp)


def _augmented(scans: Tensor, subjects: Any, seed: int, strength: float, warp: float) -> Tensor:
    return _changed(build_augmentation(_config(strength, warp)), scans, subjects, seed)


def _changed(transform: Any, scans: Tensor, subjects: Any, seed: int) -> Tensor:
    """One transform, seeded as the Compose seeds its first one."""
    whole = transform if isinstance(transform, BatchCompose) else BatchCompose([transform])
    found: Tensor = whole.set_random_state(seed)({"image": scans, "subject": subjects})["image"]
    return found


def _smooth(shape: tuple[int, int, int]) -> Tensor:
    coarse = torch.rand(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear") + 0.2
