"""Slices turned as a radiologist expects them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.change import pair_slices
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.scoring.change.pair_slices import SliceChoice
from siamese_med.study.component import Component

SHAPE = (20, 24, 16)
PLACES = {"right": (17, 12, 8), "left": (2, 12, 8), "front": (10, 21, 8), "back": (10, 2, 8), "head": (10, 12, 13)}


def shown(marker: str, choice: SliceChoice) -> tuple[int, int, tuple[int, ...]]:
    """Row and column of a marked voxel in a displayed slice, and the slice's shape; RAS+ voxels."""
    scan = np.zeros(SHAPE)
    scan[PLACES[marker]] = 1
    image = pair_slices.orient_slice(scan, choice)
    (row,), (column,) = np.nonzero(image)
    return int(row), int(column), image.shape


@pytest.mark.parametrize("choice", [SliceChoice("axial", 8, "fixed"), SliceChoice("coronal", 12, "fixed")])
def test_the_patients_right_is_on_the_left_of_the_picture(choice: SliceChoice) -> None:
    _, column, (_, columns) = shown("right", choice)
    assert column < columns / 2
    _, column, (_, columns) = shown("left", choice)
    assert column > columns / 2


def test_the_front_is_at_the_top_of_an_axial_and_on_the_left_of_a_sagittal_slice() -> None:
    row, _, (rows, _) = shown("front", SliceChoice("axial", 8, "fixed"))
    assert row < rows / 2
    _, column, (_, columns) = shown("front", SliceChoice("sagittal", 10, "fixed"))
    assert column < columns / 2


@pytest.mark.parametrize("choice", [SliceChoice("coronal", 12, "fixed"), SliceChoice("sagittal", 10, "fixed")])
def test_the_head_is_up(choice: SliceChoice) -> None:
    row, _, (rows, _) = shown("head", choice)
    assert row < rows / 2


@pytest.fixture
def pair() -> tuple[RegisteredPair, Tensor]:
    """A body with one strong and one weaker change, in different slices."""
    inside = np.zeros(SHAPE, dtype=bool)
    inside[2:-2, 2:-2, 2:-2] = True
    tissue = torch.from_numpy(inside.astype(np.float32))
    deviation = torch.zeros(SHAPE)
    deviation[15, 18, 11], deviation[5, 6, 4] = 9, -6
    space = PairSpace(make_centred_affine(SHAPE, 3.0), inside)
    laid = RegisteredPair(
        space, tissue, tissue, tissue, tissue + deviation / 10, torch.from_numpy(inside), 1.0, 1.0, np.eye(4), np.eye(4)
    )
    return laid, deviation


def test_the_slices_run_through_the_strongest_changes_and_the_middle(
    pair: tuple[RegisteredPair, Tensor],
) -> None:
    chosen = {(one.plane, one.index, one.chosen) for one in pair_slices.choose_slices(pair[1], pair[0].space)}
    assert ("axial", 11, "strongest change") in chosen
    assert ("axial", 4, "strongest change") in chosen
    assert ("coronal", 18, "strongest change") in chosen
    assert {plane for plane, _, why in chosen if why == "fixed"} == {"axial", "coronal", "sagittal"}


def test_the_file_holds_every_panel_of_every_slice_with_its_place(
    pair: tuple[RegisteredPair, Tensor], tmp_path: Path
) -> None:
    pair_slices.write_pair_slices(tmp_path / "pair.npz", pair[0], scans_of(pair[0]), pair[1], pair[1].abs() / 9)
    stored = np.load(tmp_path / "pair.npz", allow_pickle=False)
    count = len(pair_slices.choose_slices(pair[1], pair[0].space))
    for name in ("earlier", "later", "difference", "change"):
        assert stored[name].dtype == np.uint8
        assert stored[name].shape == (count, 72, 72), "pixels of 1 mm, a third of the grid's voxels"
    assert stored["spacing_mm"] == 1
    first = list(stored["plane"]).index("axial")
    assert stored["position_mm"][first] == pytest.approx((11 - 7.5) * 3)
    assert stored["change"][first].max() == 255
    row, column = np.unravel_index(stored["change"][first].argmax(), (72, 72))
    assert (row, column) == (3 * (24 - 1 - 18) + 1, 3 * (2 + 20 - 1 - 15) + 1)
    assert stored["difference"][first][row, column] > 128


def test_a_date_is_drawn_from_the_voxels_of_its_scan(pair: tuple[RegisteredPair, Tensor], tmp_path: Path) -> None:
    """Stripes of 1 mm that the grid of 3 mm cannot show, in a scan that lies 2 mm to the right and has other units."""
    laid, deviation = pair
    fine = make_centred_affine((60, 72, 48), 1.0)
    fine[0, 3] += 2
    stripes = np.zeros((60, 72, 48), dtype=np.float32)
    stripes[::2] = 500
    moved = np.eye(4)
    moved[0, 3] = 2
    known = replace(laid, matrix_later=moved, levels=((0.0, 1.0), (100.0, 600.0)))
    scans = scans_of(known)[0], Volume(stripes + 100, fine)
    pair_slices.write_pair_slices(tmp_path / "pair.npz", known, scans, deviation, deviation.abs() / 9)
    stored = np.load(tmp_path / "pair.npz", allow_pickle=False)
    first = list(stored["plane"]).index("axial")
    row = stored["later"][first][36, 6:-6].astype(int)
    np.testing.assert_array_equal(row[::2] > 200, row[0] > 200)
    np.testing.assert_array_equal(row[1::2] > 200, row[1] > 200)
    assert {int(row[0]), int(row[1])} == {0, int(max(row))}
    assert len(set(stored["earlier"][first][36, 18:-18])) == 1


def scans_of(laid: RegisteredPair) -> tuple[Volume, Volume]:
    """The two scans of a pair that lie as its grid does."""
    return Volume(laid.earlier.numpy(), laid.space.affine), Volume(laid.later.numpy(), laid.space.affine)


def test_every_listed_part_has_a_slice_and_near_ones_share_it(
    pair: tuple[RegisteredPair, Tensor], tmp_path: Path
) -> None:
    laid, deviation = pair
    parts = [make_part(laid, place) for place in ((15, 18, 11), (5, 6, 4), (8, 8, 11))]
    pair_slices.write_pair_slices(tmp_path / "pair.npz", laid, scans_of(laid), deviation, deviation.abs() / 9, parts)
    stored = np.load(tmp_path / "pair.npz", allow_pickle=False)
    listed = zip(stored["parts"], stored["position_mm"], stored["plane"], strict=True)
    axial = [(str(text), float(mm)) for text, mm, plane in listed if plane == "axial"]
    assert axial[:2] == [("1,3", pytest.approx(10.5)), ("2", pytest.approx(-10.5))]
    assert all(not text for text, _ in axial[2:])


def test_a_part_that_most_rescans_have_takes_no_slice(pair: tuple[RegisteredPair, Tensor], tmp_path: Path) -> None:
    laid, deviation = pair
    weak = replace(make_part(laid, (5, 6, 4)), p=0.98)
    parts = [make_part(laid, (15, 18, 11)), weak]
    pair_slices.write_pair_slices(tmp_path / "pair.npz", laid, scans_of(laid), deviation, deviation.abs() / 9, parts)
    assert {text for text in np.load(tmp_path / "pair.npz", allow_pickle=False)["parts"] if text} == {"1"}


def make_part(laid: RegisteredPair, voxel: tuple[int, int, int]) -> Component:
    place = tuple(float(mm) for mm in (laid.space.affine @ [*voxel, 1])[:3])
    return Component(kind="new", volume_ml=0.1, sign=1, p=0.01, position_mm=place, earlier_mm=place)
