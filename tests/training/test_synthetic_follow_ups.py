"""Follow-ups that are made: the truth says where something changed, and nothing is said of what scanners do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from siamese_med.training import synthetic_follow_ups, synthetic_lesions
from siamese_med.training.patch_acquisition import PATCH_VOXELS
from siamese_med.training.synthetic_follow_ups import ChangeSource

SIDE = 64


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ChangeSource:
    """A single scan: tissue of one brightness with some texture, and fluid in its middle."""
    rng = np.random.default_rng(0)
    tissue = torch.from_numpy(1 + 0.02 * rng.standard_normal((SIDE, SIDE, SIDE)).astype(np.float32))
    tissue[28:36, 28:36, 28:36] = 0.1
    inside = torch.ones_like(tissue) > 0
    return synthetic_follow_ups.write_change_source(
        tmp_path_factory.mktemp("sources") / "0.npy", tissue, tissue, inside, 1.5
    )


def test_the_same_seed_gives_the_same_follow_ups(source: ChangeSource) -> None:
    one, again = (synthetic_follow_ups.draw_change_batch([source], 2, np.random.default_rng(5)) for _ in range(2))
    for first, second in zip(vars(one).values(), vars(again).values(), strict=True):
        assert torch.equal(first, second)
    assert one.earlier.shape == (2, 1, PATCH_VOXELS, PATCH_VOXELS, PATCH_VOXELS)


def test_where_the_truth_says_brighter_the_later_date_is(source: ChangeSource) -> None:
    made = synthetic_follow_ups.draw_change_batch([source], 16, np.random.default_rng(1))
    assert (made.truth != 0).any(dim=(1, 2, 3, 4)).sum() > 4
    for sign in (1, -1):
        stands_out = [
            sign * float(difference[truth == sign].mean() - difference[(truth == 0) & (weight > 0)].mean())
            for difference, truth, weight in zip(made.later - made.earlier, made.truth, made.weight, strict=True)
            if (truth == sign).any()
        ]
        assert np.mean(stands_out) > 0.1  # against the rest of its own patch: each date has a gain of its own


def test_truth_has_both_signs_and_patches_without_change(source: ChangeSource) -> None:
    made = synthetic_follow_ups.draw_change_batch([source], 24, np.random.default_rng(2))
    kinds = {(bool((truth > 0).any()), bool((truth < 0).any())) for truth in made.truth}
    assert {(True, False), (False, True), (False, False)} <= kinds


@pytest.mark.parametrize("spacing_mm", [0.7, 8.0])
def test_follow_ups_are_made_of_fine_and_of_coarse_voxels(source: ChangeSource, spacing_mm: float) -> None:
    made = synthetic_follow_ups.draw_change_batch(
        [replace(source, spacing_mm=spacing_mm)], 16, np.random.default_rng(3)
    )
    assert torch.isfinite(made.later).all()


def test_a_source_is_read_back_as_it_was_written(source: ChangeSource) -> None:
    assert synthetic_follow_ups.read_change_source(source.path, 1.5) == source
    assert not source.paired


def test_two_scans_make_a_paired_source(tmp_path: Path) -> None:
    a = torch.rand(SIDE, SIDE, SIDE)
    assert synthetic_follow_ups.write_change_source(tmp_path / "pair.npy", a, a + 0.1, a > 0, 1.5).paired


def test_a_lesion_is_new_grown_or_the_same_and_nothing_far_away_changes() -> None:
    patch = torch.ones(48, 48, 48)
    centre = np.array([24.0, 24.0, 24.0])
    volumes = []
    for seed in range(30):
        earlier, later = synthetic_lesions.plant_lesion(patch, centre, 1.5, np.random.default_rng(seed))
        changed = (later - earlier).abs() > 0.05
        assert not changed[:4].any()
        volumes.append(float(changed.sum()))
    assert min(volumes) == 0  # a stable one
    assert max(volumes) * 1.5**3 > 300


def test_no_lesion_where_there_is_no_tissue() -> None:
    fluid = torch.full((32, 32, 32), 0.05)
    earlier, later = synthetic_lesions.plant_lesion(fluid, np.array([16.0, 16.0, 16.0]), 1.5, np.random.default_rng(0))
    assert torch.equal(earlier, fluid)
    assert torch.equal(later, fluid)
