"""Dataset of aligned scans; the volumes are memory-mapped, so memory does not grow with the number of scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    sessions
        Visit of each volume; None where nothing says.
    days
        Days of each volume since the first visit of its patient, NaN where unknown; None where nothing says.
    affine
        4x4 matrix from voxels of the grid to RAS+ mm; None where it is unknown.

    Examples
    --------
    >>> ScanDataset([Path("a.npy"), Path("b.npy"), Path("c.npy")], ["sub-2", "sub-1", "sub-2"]).labels.tolist()
    [1, 0, 1]
    """

    volumes: Sequence[Path]
    subjects: Sequence[str]
    sessions: Sequence[str] | None = None
    days: Sequence[float] | None = None
    affine: NDArray[np.float64] | None = None

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
        return ScanDataset(
            [self.volumes[scan] for scan in scans],
            [self.subjects[scan] for scan in scans],
            None if self.sessions is None else [self.sessions[scan] for scan in scans],
            None if self.days is None else [self.days[scan] for scan in scans],
            self.affine,
        )

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

    def load_batch(self, scans: NDArray[np.int64], box: Box | None = None) -> dict[str, Any]:
        """Load some scans, or the same part of each, as one dictionary.

        Parameters
        ----------
        scans
            Positions (s,) of the scans.
        box
            Part to load; None for whole volumes.

        Returns
        -------
        dict
            `image`: voxels (s, 1, i, j, k), float32; a MetaTensor with the affine (s, 4, 4) of the part where the
            dataset knows one. `subject`: number of the patient, see `labels`, (s,). `session`: list of s names, where
            known. `days`: (s,), float32, where known.
        """
        import torch

        batch: dict[str, Any] = {"image": torch.stack([self.load(int(scan), box) for scan in scans])}
        if self.affine is not None:
            batch["image"] = _placed(batch["image"], self.affine, box)
        batch["subject"] = torch.from_numpy(self.labels[scans])
        if self.sessions is not None:
            batch["session"] = [self.sessions[scan] for scan in scans]
        if self.days is not None:
            batch["days"] = torch.tensor([self.days[scan] for scan in scans])
        return batch


def _placed(voxels: torch.Tensor, affine: NDArray[np.float64], box: Box | None) -> torch.Tensor:
    """Voxels (s, 1, i, j, k) of a part of a grid as a batch of MetaTensors."""
    import torch
    from monai.data import MetaTensor

    corner = np.eye(4)
    corner[:3, 3] = [0, 0, 0] if box is None else [low for low, _ in box]
    placed: torch.Tensor = MetaTensor(
        voxels, affine=torch.from_numpy(affine @ corner).expand(len(voxels), -1, -1).clone()
    )
    placed.is_batch = True  # type: ignore[attr-defined]
    return placed
