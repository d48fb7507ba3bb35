"""Synthetic scans of label maps: what is drawn is what lies there."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation import synthetic_head_scans as heads
from siamese_med.simulation.label_map_synthesis import LabelMap
from siamese_med.simulation.synthetic_head_scans import HeadProtocol
from siamese_med.simulation.tissue_levels import CONTRASTS, TISSUE_OF_LABEL, draw_levels
from tests.brain.real_people import label_map_path, person


@pytest.fixture(scope="module")
def ball() -> LabelMap:
    """A ball of white matter, radius 40 mm, its right half structure 2 and its left half structure 1."""
    grid = make_centred_affine((60, 60, 60), 2.0)
    places = np.stack(np.meshgrid(*map(np.arange, (60, 60, 60)), indexing="ij"), -1) * 2.0 + grid[:3, 3]
    inside = np.linalg.norm(places, axis=-1) < 40
    structures = np.where(places[..., 0] > 0, 2, 1) * inside
    return LabelMap((inside * TISSUE_OF_LABEL[2]).astype(np.uint8), structures.astype(np.uint8), grid)


def test_a_rigid_warp_says_exactly_what_lies_where(ball: LabelMap) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = [10.0, 0.0, 0.0]
    warp = synthesis.make_rigid_warp(matrix)
    grid = make_centred_affine((60, 60, 60), 2.0)
    found = synthesis.get_structures(ball, warp.sample(ball, grid, (60, 60, 60), np.zeros((1, 3)))[0]).numpy()
    assert np.array_equal(found[:-5], ball.structures[5:])


def test_the_same_seed_gives_the_same_scan_and_another_contrast_the_same_anatomy(ball: LabelMap) -> None:
    def scan(contrast: str) -> np.ndarray:
        rng = np.random.default_rng(3)
        protocol = HeadProtocol(contrast, noise=0.0, bias=0.0)
        return heads.synthesise_head_scan(
            ball, protocol, rng, synthesis.make_rigid_warp(np.eye(4)), (60,) * 3
        ).scan.voxels

    assert np.array_equal(scan("T1w"), scan("T1w"))
    assert scan("T1w")[30, 30, 30] > 1.4 * scan("T2w")[30, 30, 30]


def test_thick_slices_are_means_and_lie_where_they_say() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (4, 4, 40)).copy()
    fine = Volume(ramp, make_centred_affine((4, 4, 40), 1.0))
    thick = synthesis.acquire_slices(fine, np.random.default_rng(0), 2, 4.0, 5.0)
    centres = thick.affine[2, 2] * np.arange(thick.voxels.shape[2]) + thick.affine[2, 3]
    assert thick.spacing_mm[2] == pytest.approx(5.0)
    assert np.allclose(thick.voxels[0, 0], centres - fine.affine[2, 3], atol=1e-4)


@pytest.mark.parametrize("removed", ["face", "scalp"])
def test_what_is_removed_is_outside_the_brain(removed: str) -> None:
    rng = np.random.default_rng(1)
    protocol = HeadProtocol("T1w", removed=removed, noise=0.0)
    head = heads.synthesise_head_scan(person(), protocol, rng, synthesis.make_rigid_warp(np.eye(4)))
    places = head.warp.sample(person(), head.scan.affine, head.scan.voxels.shape, np.zeros((1, 3)))[0]
    structures = synthesis.get_structures(person(), places).numpy()
    tissue = (structures > 0) & (structures != 12)
    assert (head.scan.voxels[tissue] > 0).mean() > 0.97
    assert (head.scan.voxels == 0).mean() > 0.2


@pytest.mark.long
def test_fluid_over_the_hull_of_the_brain_and_in_the_spine_is_not_brain() -> None:
    one = synthesis.read_label_map(label_map_path(18))
    assert 1000 < (one.structures > 0).sum() / 1000 < 1500
    bottom = np.flatnonzero((one.structures > 0).any((0, 1))).min()
    assert bottom >= np.flatnonzero((one.structures == 11).any((0, 1))).min() - 6


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_tissues_are_as_bright_as_their_contrast_says(contrast: str) -> None:
    levels = draw_levels(np.random.default_rng(0), contrast, jitter=0.02)
    white, grey, fluid = (levels[TISSUE_OF_LABEL[label]] for label in (2, 3, 4))
    assert (fluid > grey) == (contrast == "T2w")
    assert (white > grey) == (contrast in ("T1w", "T1wCE"))
