"""Registered pairs made of voxels alone, for tests of what is measured on them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair


def make_pair(a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float) -> RegisteredPair:
    """Two images that lie on each other, on a grid whose first voxel is the origin."""
    space = PairSpace(np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]), inside.numpy())
    return RegisteredPair(space, a, b, a, b, inside, 1.0, 1.0, np.eye(4), np.eye(4))
