"""Brain segmentations on disk: one compressed npz file for each scan, without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siamese_med.brain.segmentation import BrainSegmentation
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files

FULL_PROBABILITY = 255
"""The value of `BrainSegmentation.brain` that stands for 1."""


def write_segmentation(path: Path, found: BrainSegmentation) -> None:
    """Write a segmentation; the file is replaced as a whole."""
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            structures=found.structures,
            brain=found.brain,
            affine=found.affine,
            inside=np.ones(found.brain.shape, dtype=bool) if found.inside is None else found.inside,
        )


def read_segmentation(path: Path) -> BrainSegmentation:
    """Read what `write_segmentation` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return BrainSegmentation(file["structures"], file["brain"], file["affine"], file["inside"])


def make_structure_volume(found: BrainSegmentation) -> Volume:
    """Make the structures as a volume: numbers of `Structure`, uint8 (i, j, k), in mm of the scan."""
    return Volume(found.structures, found.affine)


def make_probability_volume(found: BrainSegmentation) -> Volume:
    """Make the probability of brain as a volume: float32 (i, j, k), 0 to 1, in mm of the scan."""
    return Volume(found.brain.astype(np.float32) / FULL_PROBABILITY, found.affine)
