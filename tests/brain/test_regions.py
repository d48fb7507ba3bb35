"""The names of regions: by the structures around a place."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.brain.regions import name_region
from siamese_med.brain.structures import Structure
from siamese_med.imaging.volume import Volume

SHAPE = (30, 30, 30)
Place = tuple[float, float, float]


def head() -> Volume:
    """Two halves of white matter in a shell of cortex, the ventricles in the middle, the brain stem below."""
    numbers = np.full(SHAPE, Structure.BACKGROUND, dtype=np.uint8)
    numbers[3:27, 3:27, 3:27] = Structure.LEFT_CORTEX
    numbers[15:27, 3:27, 3:27] = Structure.RIGHT_CORTEX
    numbers[5:15, 5:25, 5:25] = Structure.LEFT_WHITE_MATTER
    numbers[15:25, 5:25, 5:25] = Structure.RIGHT_WHITE_MATTER
    numbers[14:15, 12:18, 12:18] = Structure.LEFT_LATERAL_VENTRICLE
    numbers[13:17, 13:17, 3:6] = Structure.BRAIN_STEM
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-30, -30, -10)
    return Volume(numbers, affine)


def around(voxel: Place) -> np.ndarray:
    """A few places about a voxel, in mm."""
    return 2.0 * (np.array(voxel) + np.array([[0, 0, 0], [0.3, 0, 0], [0, -0.3, 0.2]])) + (-30, -30, -10)


@pytest.mark.parametrize(
    ("voxel", "name"),
    [
        ((13, 14, 14), "left periventricular white matter"),
        ((10, 20, 14), "left deep white matter"),
        ((20, 23.5, 14), "right juxtacortical white matter"),
        ((20, 25.5, 14), "right cortex"),
        ((14, 14, 14), "left lateral ventricle"),
        ((14, 14, 4), "brain stem"),
        ((1, 1, 1), None),
        ((90, 1, 1), None),
    ],
)
def test_a_place_has_the_name_of_what_is_there(voxel: Place, name: str | None) -> None:
    assert name_region(head(), around(voxel)) == name


def test_most_of_the_places_decide_and_those_outside_do_not_count() -> None:
    inside, outside = around((20, 25.5, 14)), np.concatenate([around((1, 1, 1)), around((90, 1, 1))])
    assert name_region(head(), np.concatenate([outside, inside])) == "right cortex"


def test_what_crosses_the_midline_lies_on_both_sides() -> None:
    left, right = around((7, 25.5, 14)), around((20, 25.5, 14))
    assert name_region(head(), np.concatenate([left, right])) == "cortex on both sides"
    assert name_region(head(), np.concatenate([left, left, right[:1]])) == "left cortex"


def test_a_grid_that_lies_turned_gives_the_same_name() -> None:
    known = head()
    turned = Volume(known.voxels[::-1].copy(), known.affine @ np.array(
        [[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))  # fmt: skip
    assert name_region(turned, around((13, 14, 14))) == "left periventricular white matter"
