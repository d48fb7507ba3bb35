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


@dataclass(frozen=True)
class Cohort:
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

    def load(self, scan: int) -> torch.Tensor:
        """One volume, float32 (1, i, j, k)."""
        import torch

        return torch.from_numpy(np.load(self.volumes[scan], mmap_mode="r").astype(np.float32))[None]
