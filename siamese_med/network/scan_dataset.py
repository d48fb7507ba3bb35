"""The scans a network learns from or embeds: memory-mapped volumes, so that memory does not grow with the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Box = tuple[tuple[int, int], ...]
"""First and last-plus-one voxel along each axis."""


@dataclass(frozen=True)
class ScanDataset:
    """Volumes on one grid, as .npy files, and the patient of each."""

    volumes: Sequence[Path]
    subjects: Sequence[str]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """A number a patient, in the order of the scans."""
        return np.unique(np.asarray(self.subjects), return_inverse=True)[1].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the common grid."""
        first: tuple[int, int, int] = np.load(self.volumes[0], mmap_mode="r").shape
        return first

    def part(self, scans: NDArray[np.int64]) -> ScanDataset:
        """The scans at these positions, in this order."""
        return ScanDataset([self.volumes[scan] for scan in scans], [self.subjects[scan] for scan in scans])

    def load(self, scan: int, box: Box | None = None) -> torch.Tensor:
        """One volume, or the part of it inside `box`, float32 (1, i, j, k)."""
        import torch

        voxels = np.load(self.volumes[scan], mmap_mode="r")
        part = voxels if box is None else voxels[tuple(slice(*edges) for edges in box)]
        return torch.from_numpy(part.astype(np.float32))[None]
