"""A simulated patient changes by what was asked for, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamese_med.simulation import anatomy
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.mni_head import HEAD_GRID_SHAPE, TISSUES, load_tissue_fractions


def test_the_head_has_tissue_fractions_between_nothing_and_all() -> None:
    fractions = load_tissue_fractions()[:-1]
    assert load_tissue_fractions().shape == (len(TISSUES), *HEAD_GRID_SHAPE)
    assert float(fractions.min()) >= 0
    assert float(fractions.max()) <= 1 + 1e-6


def test_the_same_seed_gives_the_same_patient_and_another_one_does_not(person: Anatomy) -> None:
    again, other = (anatomy.simulate_anatomy(np.random.default_rng(seed), 0.5) for seed in (0, 1))
    assert torch.equal(again.tissue, person.tissue)
    assert torch.equal(again.lesion, person.lesion)
    assert not torch.equal(other.tissue, person.tissue)


def test_without_difference_everybody_is_the_template() -> None:
    nobody = anatomy.simulate_anatomy(np.random.default_rng(3), 0.0)
    torch.testing.assert_close(nobody.tissue, load_tissue_fractions(), atol=2e-3, rtol=0)


def test_people_who_differ_inside_only_have_one_head_and_their_own_detail() -> None:
    apart, alike = (
        [anatomy.simulate_anatomy(np.random.default_rng(seed), 0.9, inside_only).tissue for seed in (0, 1)]
        for inside_only in (False, True)
    )
    outside = load_tissue_fractions()[:3].sum(0) <= 0.5
    differs = (alike[0] - alike[1]).abs().amax(0)
    assert float(differs[outside].max()) < 0.01
    assert float(differs[~outside].max()) > 0.5
    coarse = [
        float(torch.nn.functional.avg_pool3d((one - other)[None, 0], 24).square().mean())
        for one, other in (apart, alike)
    ]
    assert coarse[1] < coarse[0] / 10


@pytest.mark.parametrize("volume_mm3", [300.0, 1500.0, 6000.0])
def test_a_new_lesion_has_the_volume_that_was_asked_for(person: Anatomy, volume_mm3: float) -> None:
    later = anatomy.add_lesion(person, np.random.default_rng(5), volume_mm3)
    assert later.lesion_mm3 - person.lesion_mm3 == pytest.approx(volume_mm3, rel=0.1)
    assert torch.equal(later.tissue, person.tissue)


def test_a_lesion_grows_by_at_least_what_was_asked_for(person: Anatomy) -> None:
    first = anatomy.add_lesion(person, np.random.default_rng(5), 500)
    later = anatomy.grow_lesion(first, np.random.default_rng(6), 1000)
    assert 1000 <= later.lesion_mm3 - first.lesion_mm3 < 1800
    assert bool((later.lesion >= first.lesion - 1e-6).all())


@pytest.mark.parametrize("volume_mm3", [1000.0, 4000.0])
def test_ventricles_grow_by_the_volume_that_was_asked_for(person: Anatomy, volume_mm3: float) -> None:
    later = anatomy.enlarge_ventricles(person, volume_mm3)
    assert later.ventricle_mm3 - person.ventricle_mm3 == pytest.approx(volume_mm3, rel=0.1)


def test_a_lesion_lies_in_white_matter(person: Anatomy) -> None:
    for seed in range(3):
        later = anatomy.add_lesion(person, np.random.default_rng(seed), 400)
        assert float(person.tissue[anatomy.WHITE_CHANNEL][later.centres[-1]]) > 0.7
