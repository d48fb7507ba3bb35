"""The truth of planted changes: shapes of the wanted volume, in healthy tissue, where the laid scans differ."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import lesion_shapes, planted
from benchmarks.lesion_shapes import EXPERT_MASKS, FAMILIES
from benchmarks.planted import Facts, Plan
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import VOXEL_MM3, WHITE_CHANNEL
from tests.registered_pairs import make_pair

needs_experts = pytest.mark.skipif(
    not EXPERT_MASKS.is_dir(), reason="expert masks are not in ../shared, see its README"
)
FAMILY = [pytest.param(name, marks=needs_experts if name == "expert" else ()) for name in FAMILIES]


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("volume_mm3", [20.0, 200.0, 3000.0])
def test_a_shape_has_the_volume_that_was_asked_for(name: str, volume_mm3: float) -> None:
    shape = FAMILIES[name](np.random.default_rng(1), volume_mm3)
    assert float(shape.sum()) * VOXEL_MM3 == pytest.approx(volume_mm3, rel=0.05)
    assert 0 <= shape.min() < shape.max() <= 1
    assert max(shape[face].max() for face in ([0, -1], np.s_[:, [0, -1]], np.s_[:, :, [0, -1]])) == 0


@pytest.mark.parametrize("name", FAMILY)
def test_held_out_shapes_are_no_ellipsoids(name: str) -> None:
    """An ellipsoid fills the one with its own second moments; blotches and experts' lesions do not."""
    filled = [_filling(FAMILIES[name](np.random.default_rng(seed), 1500.0)) for seed in range(6)]
    assert (np.mean(filled) > 0.97) == (name == "ellipsoid")


def _filling(shape: lesion_shapes.Shape) -> float:
    places = np.argwhere(shape > 0.5).astype(float)
    offsets = places - places.mean(0)
    distance = np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(5 * np.cov(offsets.T)), offsets)
    return float((distance <= 1).mean())


def test_truth_lies_where_the_scans_differ() -> None:
    rng = np.random.default_rng(3)
    person = anatomy.simulate_anatomy(rng, 0.5)
    later_person, change, count = planted.planted(person, Plan("noise", 2500, 8000), rng)
    machine = scanner.draw_scanners(rng, 2)[1]
    earlier, later = (scanner.acquire_scan(who, machine, rng) for who in (person, later_person))
    laid = register_pair(earlier.volume, later.volume, (None, None), 3.0)
    truth = planted.on_pair(change, earlier, laid)
    sign = float(torch.sign(truth.sum()))
    difference = sign * (laid.b - laid.a)
    assert 1 <= count <= planted.MAX_LESIONS
    assert 2500 <= float(change.abs().sum()) * VOXEL_MM3 < 8000
    assert float(truth.abs().sum()) * 27 == pytest.approx(float(change.abs().sum()) * VOXEL_MM3, rel=0.1)
    for axis, step in product(range(3), (-1, 1)):  # one voxel aside, the truth explains less
        aside = truth.abs().roll(step, axis)
        assert float((difference * truth.abs()).sum()) > 1.05 * float((difference * aside).sum())


def test_lesions_grow_in_healthy_white_matter() -> None:
    person = anatomy.simulate_anatomy(np.random.default_rng(5), 1.0)
    _, change, _ = planted.planted(person, Plan("noise", 150, 500), np.random.default_rng(6))
    there = change.abs() > 0
    assert float(person.tissue[:2].sum(0)[there].mean()) > 0.8
    assert float(person.tissue[WHITE_CHANNEL][there].mean()) > 0.5
    assert float(person.lesion[there].max()) < 1


def test_a_pair_comes_back_as_it_was_written(tmp_path: Path) -> None:
    a, b = torch.rand(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(6, 5, 4)
    truth[2, 2] = torch.tensor([-0.8, -0.3, -0.2, -0.05])
    inside = torch.ones(6, 5, 4, dtype=torch.bool)
    inside[0] = False
    facts = Facts("p001_noise_0020", "test-001", "noise", 30.0, -1, 1, "FLAIR", ("one", "other"), 0.9, 1.0)
    path = tmp_path / f"{facts.name}.npz"
    planted.write(path, facts, make_pair(a, b, inside, planted.SPACING_MM), truth)
    found = planted.read(path)
    assert found.facts == facts
    torch.testing.assert_close(found.overlay.b, b, atol=1e-3, rtol=0)
    assert found.changed.nonzero().tolist() == [[2, 2, 0], [2, 2, 1]]
    assert not found.counted[2, 2, 2]
    assert not found.counted[0].any()
    assert found.counted[2, 2, 3]
