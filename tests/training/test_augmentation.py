"""Augmentation follows its seed, gives a patient's scans one new anatomy, and every scan its own acquisition."""

from __future__ import annotations

import pytest
import torch

from siamese_med.training.augmentation import Augmenter


@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 8, 1)])
def test_it_keeps_the_grid_and_follows_its_seed(shape: tuple[int, int, int]) -> None:
    scans, labels = torch.rand(4, 1, *shape), torch.tensor([0, 0, 1, 1])
    drawn = [Augmenter(1.0, 0.5)(scans, labels, seed) for seed in (0, 0, 1)]
    assert drawn[0].shape == scans.shape
    assert torch.isfinite(drawn[0]).all()
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_none_leaves_a_scan_as_it_is() -> None:
    scans = torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(Augmenter(0.0, 0.0)(scans, torch.tensor([0, 0]), 3), scans)


def test_a_new_person_is_shared_by_the_scans_of_a_patient_and_not_with_others() -> None:
    scan = _smooth((24, 24, 24))
    first, again, other = Augmenter(0.0, 1.0)(scan.expand(3, -1, -1, -1, -1), torch.tensor([7, 7, 9]), 0)
    torch.testing.assert_close(first, again)
    assert (first - other).abs().max() > 0.05
    assert (first - scan[0]).abs().max() > 0.05


def test_acquisition_differs_between_the_scans_of_a_patient() -> None:
    scan = _smooth((24, 24, 24))
    first, again = Augmenter(1.0, 0.0)(scan.expand(2, -1, -1, -1, -1), torch.tensor([7, 7]), 0)
    assert (first - again).abs().mean() > 0.01


def test_what_lies_outside_the_field_of_view_stays_outside() -> None:
    scan = _smooth((24, 24, 24)) + 0.5
    scan[:, :, :, :, 18:] = 0
    changed = Augmenter(0.5, 0.0)(scan, torch.tensor([0]), 0)
    assert (changed[:, :, :, :, 21:] == 0).all()


def _smooth(shape: tuple[int, int, int]) -> torch.Tensor:
    coarse = torch.rand(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear") + 0.2
