"""Dataset of aligned scans; the volumes are memory-mapped, so memory does not grow with the number of scans."""

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
    """Aligned volumes on one grid and the patient of each.

    Parameters
    ----------
    volumes
        Paths of .npy files with arrays (i, j, k), all of one shape.
    subjects
        Patient of each volume, by pseudonym.

    Examples
    --------
    >>> ScanDataset([Path("a.npy"), Path("b.npy"), Path("c.npy")], ["sub-2", "sub-1", "sub-2"]).labels.tolist()
    [1, 0, 1]
    """

    volumes: Sequence[Path]
    subjects: Sequence[str]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Number of each scan's patient (n,), counted from 0 in the order of the pseudonyms."""
        return np.unique(np.asarray(self.subjects), return_inverse=True)[1].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (i, j, k) of the common grid, read from the first volume."""
        first: tuple[int, int, int] = np.load(self.volumes[0], mmap_mode="r").shape
        return first

    def part(self, scans: NDArray[np.int64]) -> ScanDataset:
        """Select the scans at some positions.

        Examples
        --------
        >>> ScanDataset([Path("a.npy"), Path("b.npy")], ["sub-1", "sub-2"]).part(np.array([1])).subjects
        ['sub-2']
        """
        return ScanDataset([self.volumes[scan] for scan in scans], [self.subjects[scan] for scan in scans])

    def load(self, scan: int, box: Box | None = None) -> torch.Tensor:
        """Load one scan, or a part of it.

        Parameters
        ----------
        scan
            Position of the scan.
        box
            Part to load; None for the whole volume.

        Returns
        -------
        Tensor
            Voxels (1, i, j, k), float32.
        """
        import torch

        voxels = np.load(self.volumes[scan], mmap_mode="r")
        part = voxels if box is None else voxels[tuple(slice(*edges) for edges in box)]
        return torch.from_numpy(part.astype(np.float32))[None]
