"""What became of a place: drawn on a smooth head-like block, seen both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from siamese_med.brain.structures import Structure
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.change import components
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.study.component import Component
from siamese_med.study.thresholds import MAX_COMPONENTS
from siamese_med.study.vocabulary import ComponentKind

SHAPE = (40, 40, 40)
SPACING_MM = 1.5


def ball(centre: tuple[int, int, int], radius: float) -> Tensor:
    grid = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"), -1)
    return ((grid - torch.tensor(centre)).float().norm(dim=-1) <= radius).float()


def tissue(seed: int) -> Tensor:
    """White matter beside grey matter, with noise."""
    scan = torch.ones(SHAPE)
    scan[:, :, 28:] = 1.3
    return scan + 0.02 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


SHIFT = np.eye(4)
SHIFT[:3, 3] = (10, 0, -5)
SPACE = PairSpace(make_centred_affine(SHAPE, SPACING_MM), np.ones(SHAPE, dtype=bool))


def laid(earlier: Tensor, later: Tensor) -> RegisteredPair:
    return RegisteredPair(
        SPACE, earlier, later, earlier, later, torch.ones(SHAPE, dtype=torch.bool), 1.0, 1.0, SHIFT, SHIFT
    )


def listed(pair: RegisteredPair, p: float = 0.001) -> list[Component]:
    evidence = (pair.b - pair.a) * 20
    changed = evidence.abs() > 4
    return components.find_components(pair, evidence, changed, lambda _: p, np.linalg.inv(SHIFT))


BRIGHT, DARK = 0.6, -0.5
COURSES = ((0.0, 5.0, "new"), (3.5, 6.0, "enlarging"), (6.0, 3.5, "shrinking"), (5.0, 0.0, "vanished"))


@pytest.mark.parametrize(
    ("contrast", "before", "after", "kind"),
    [
        *((BRIGHT, before, after, kind) for before, after, kind in COURSES),
        *((DARK, before, after, "darker" if after > before else "brighter") for before, after, _ in COURSES),
    ],
)
def test_what_became_of_a_lesion(contrast: float, before: float, after: float, kind: str) -> None:
    centre = (20, 18, 20)
    dates = [
        tissue(seed) + contrast * (ball(centre, radius) if radius else torch.zeros(SHAPE))
        for seed, radius in enumerate((before, after))
    ]
    (found,) = listed(laid(*dates))
    grows = after > before
    assert (found.kind, found.sign) == (kind, int(np.sign(contrast)) * (1 if grows else -1))
    volume = abs(float(ball(centre, after).sum() if after else 0) - float(ball(centre, before).sum() if before else 0))
    assert found.volume_ml == pytest.approx(volume * SPACE.voxel_ml, rel=0.1)
    (back,) = listed(laid(*dates[::-1]))
    assert (back.kind, back.sign) == (ComponentKind(kind).reversed, -(found.sign or 0))


@pytest.mark.parametrize(("later", "kind"), [(0.4, "new"), (-0.05, "brighter")])
def test_bright_tissue_in_place_of_dark_tissue_has_not_vanished(later: float, kind: str) -> None:
    place = ball((20, 18, 14), 4)
    (found,) = listed(laid(tissue(0) - 0.6 * place, tissue(1) + later * place))
    assert (found.kind, found.sign) == (kind, 1), "its dark tissue stood out more than what came after it"


def test_a_new_lesion_at_the_cortex_is_new_although_grey_matter_is_bright() -> None:
    dates = [tissue(0), tissue(1) + 0.6 * ball((20, 18, 24), 3.5) * (tissue(1) < 1.15)]
    assert listed(laid(*dates))[0].kind == "new"


def test_places_are_given_in_both_scans_millimetres() -> None:
    (found,) = listed(laid(tissue(0), tissue(1) + 0.6 * ball((30, 18, 12), 4)))
    expected = (SPACE.affine @ [30, 18, 12, 1])[:3]
    np.testing.assert_allclose(found.position_mm, expected, atol=0.2)
    np.testing.assert_allclose(found.earlier_mm, np.add(expected, [10, 0, -5]), atol=0.2)


def test_what_a_rescan_shows_too_may_be_chance_and_specks_are_not_listed() -> None:
    pair = laid(tissue(0), tissue(1) + 0.6 * ball((20, 18, 12), 3))
    (part,) = listed(pair, p=0.2)
    assert [components.mark_chance_component(part, limit).kind for limit in (0.05, 0.2, 0.21)] == [
        *("may_be_chance", "may_be_chance", "new"),
    ]
    speck = tissue(1)
    speck[5, 5, 5] += 0.6
    assert listed(replace(pair, b=speck)) == []


def test_the_strongest_part_comes_first_and_the_list_ends() -> None:
    later = tissue(1)
    centres = [(i, j, k) for i in (6, 16, 26, 36) for j in (6, 16, 26, 36) for k in (6, 16)]
    for centre in centres:
        later = later + 0.6 * ball(centre, 2.2)
    pair = laid(tissue(0), later)
    evidence = (pair.b - pair.a) * 20
    found = components.find_components(pair, evidence, evidence > 4, lambda part: 1e-3 / float(part.abs().max()))
    assert len(found) == MAX_COMPONENTS < len(centres)
    assert [part.p for part in found] == sorted(part.p for part in found)


def test_a_part_is_named_by_the_structures_of_its_own_scan() -> None:
    pair = laid(tissue(1), tissue(1) + ball((20, 18, 20), 4.0))
    evidence = (pair.b - pair.a) * 20
    structures = Volume(np.full(SHAPE, Structure.RIGHT_CEREBELLUM), SHIFT @ SPACE.affine)
    (part,) = components.find_components(pair, evidence, evidence > 4, lambda _: 0.01, None, structures)
    assert part.region == "right cerebellum"
    away = Volume(structures.voxels, np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    for known in (None, away):
        (nowhere,) = components.find_components(pair, evidence, evidence > 4, lambda _: 0.01, None, known)
        assert nowhere.region is None
