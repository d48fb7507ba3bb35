"""The open MS data (Lesjak et al., 2016): its scans, and how its authors laid them on one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

OPEN_MS = Path("../shared/real/open_ms")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's millimetres run to the left, the back and the head."""
CONTRASTS = {"FLAIR": "FLAIR", "T1W": "T1w", "T2W": "T2w"}
"""The contrast in the names of the files, and our word for it."""


@dataclass(frozen=True)
class PosedScan:
    """A scan of a patient; `from_common`: 4x4, mm of the patient's common space to mm of the scan (RAS+, affine)."""

    patient: str
    date: int
    contrast: str
    scan: Volume
    from_common: Matrix


def read_itk_affine(path: Path) -> Matrix:
    """Read an ITK affine in text as 4x4 in RAS+ mm: from the common space to the scan's, the way resampling goes."""
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ": " in line)
    numbers = np.array(lines["Parameters"].split(), dtype=float)
    centre = np.array(lines["FixedParameters"].split(), dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS @ matrix @ LPS)


def read_scans(patient: Path) -> Iterator[PosedScan]:
    """Read the scans of a patient's folder: two dates, FLAIR, T1 and T2 as far as there are some."""
    for date in (1, 2):
        flair = read_itk_affine(patient / f"study{date}_FLAIR_to_common_space.txt")
        for name, contrast in CONTRASTS.items():
            path = patient / f"study{date}_{name}.nii.gz"
            if path.is_file():
                within = patient / f"study{date}_{name}_intrastudy_to_FLAIR.txt"
                pose = read_itk_affine(within) @ flair if within.is_file() else flair
                yield PosedScan(patient.name, date, contrast, volume.read_volume(path), pose)


def read_brain_points(patient: Path, count: int = 2000) -> NDArray[np.float64]:
    """Read about `count` places (n, 3) inside the experts' brain mask, in mm of the common space."""
    brain = volume.read_volume(patient / "brainmask.nii.gz")
    voxels = np.argwhere(brain.voxels > 0)
    voxels = voxels[:: max(1, len(voxels) // count)]
    return np.asarray(voxels @ brain.affine[:3, :3].T + brain.affine[:3, 3])
