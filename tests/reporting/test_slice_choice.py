"""Which slices a page shows: one through each part that is called changed comes first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siamese_med.reporting.render.slice_choice import SLICE_ARRAYS, PairSliceStack, order_slices
from siamese_med.reporting.render.slice_choice import _list_sure_parts as list_sure_parts

CHOSEN = ["strongest change"] * 4 + ["fixed"] * 2
PARTS = ["1", "2,3", "4", "5", "", ""]


@pytest.fixture
def stack(tmp_path: Path) -> PairSliceStack:
    images = np.random.default_rng(0).integers(60, 200, (6, 40, 40), dtype=np.uint8)
    np.savez(
        tmp_path / "pair.npz",
        plane=np.array(["axial"] * 6),
        position_mm=np.arange(6.0),
        chosen=np.array(CHOSEN),
        parts=np.array(PARTS),
        spacing_mm=np.array(1.0),
        **dict.fromkeys(SLICE_ARRAYS, images),  # type: ignore[arg-type]
    )
    return PairSliceStack(tmp_path / "pair.npz")


def pair(status: str, *kinds: str) -> Any:
    components = tuple(SimpleNamespace(kind=kind) for kind in kinds)
    return SimpleNamespace(status=status, score=SimpleNamespace(components=components))


def test_a_slice_through_each_changed_part_comes_before_all_others(stack: PairSliceStack) -> None:
    sure = list_sure_parts(pair("changed", "may_be_chance", "new", "darker", "may_be_chance", "vanished"))
    assert sure == [2, 3, 5]
    assert stack.order(sure) == [1, 3, 0, 4, 2, 5]
    assert stack.slice(1).parts == (2, 3)


@pytest.mark.parametrize("status", ["uncertain", "no_change", "wrong_patient"])
def test_where_nothing_is_called_changed_the_order_is_that_of_strength(stack: PairSliceStack, status: str) -> None:
    sure = list_sure_parts(pair(status, "new", "new"))
    assert stack.order(sure) == order_slices(CHOSEN) == [0, 1, 4, 2, 3, 5]
