"""Label maps of real people for the tests; tests that need them are skipped where they are absent."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation import synthetic_head_scans as heads
from siamese_med.simulation.label_map_synthesis import LabelMap
from siamese_med.simulation.synthetic_head_scans import HeadProtocol, SyntheticHead
from tests.commands import ROOT

LABEL_MAPS = ROOT.parent / "shared/real/label_maps"


def label_map_path(number: int) -> Path:
    """The file of one person's label map; skips the test where it is absent."""
    path = LABEL_MAPS / f"training_seg_{number:02d}.nii.gz"
    if not path.exists():
        pytest.skip(f"no real label maps: {path} is absent")
    return path


@lru_cache(maxsize=1)
def person(number: int = 18) -> LabelMap:
    """One person whom the network was not trained on."""
    return synthesis.read_label_map(label_map_path(number))


def scan_of(protocol: HeadProtocol, seed: int = 0, degrees: float = 10.0) -> SyntheticHead:
    """A synthetic scan of this person."""
    rng = np.random.default_rng(seed)
    return heads.synthesise_head_scan(person(), protocol, rng, synthesis.draw_warp(rng, degrees, 1.0))
