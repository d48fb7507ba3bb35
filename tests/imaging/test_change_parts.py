"""Which listed part is which tissue of a change map."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.imaging.change_parts import label_changed_parts
from siamese_med.imaging.volume import Volume
from siamese_med.study.component import Component

VOXELS = np.zeros((40, 40, 40))
VOXELS[5:8, 5:8, 5:8] = 0.99
VOXELS[30:33, 30:33, 30:33] = 0.9


def part(place: float, volume_ml: float = 0.027) -> Component:
    return Component("new", volume_ml, 1, 0.01, (None,) * 3, (place,) * 3)


def test_a_part_below_the_limit_of_the_map_is_not_the_next_tissue_far_away() -> None:
    assert label_changed_parts(Volume(VOXELS, np.eye(4)), [part(6.0), part(31.0)])[1] == [1, 0]


@pytest.mark.parametrize("thickness", [1, 6])
def test_a_shell_and_thick_slices_keep_their_parts(thickness: int) -> None:
    away = np.linalg.norm(np.indices((40, 40, 40)) - 20.0, axis=0)
    shell = np.where((away > 9) & (away < 11), 0.99, 0.0)
    volume = Volume(shell[:, :, ::thickness], np.diag([1.0, 1.0, thickness, 1.0]))
    assert label_changed_parts(volume, [part(20.0, float((shell > 0).sum()) / 1000)])[1] != [0]
    small = Volume(VOXELS[:, :, 6::thickness], np.diag([1.0, 1.0, thickness, 1.0]))
    small.affine[2, 3] = 6 + thickness / 2
    assert label_changed_parts(small, [part(6.0)])[1] == [1], "drawn half a slice away"
