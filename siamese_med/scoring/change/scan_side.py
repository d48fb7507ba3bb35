"""Reading of scans for scoring: voxels, brain, and alignment to the template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change.pair_scoring import PairScan
from siamese_med.study.prepared_scans import PreparedScan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ScanReader:
    """Reader of the scans of a study. It holds paths only, so it can be sent to worker processes.

    Parameters
    ----------
    data
        The data folder; paths of prepared scans are relative to it.
    """

    data: Path

    def read_side(self, prepared: PreparedScan) -> PairScan:
        """Read one scan as it was ingested, with its alignment to the template; MONOCHROME1 is inverted.

        Returns
        -------
        PairScan
            Voxels (i, j, k) with their affine to RAS+ mm, and the brain where one was found.
        """
        scan = volume.read_volume(self.data / prepared.path)
        bright = Volume(undo_monochrome1(scan.voxels, prepared.flags), scan.affine)
        brain = None if prepared.brain is None else read_brain_mask(self.data / prepared.brain)
        to_template = np.linalg.inv(prepared.matrix) if prepared.ok else None
        return PairScan(bright, brain, to_template, *prepared.acquisition)

    def read_aligned_voxels(self, prepared: PreparedScan) -> NDArray[np.float16]:
        """Open the voxels of one scan on the template's grid, memory-mapped: float16 (i, j, k), normalised."""
        voxels: NDArray[np.float16] = np.load(self.data / prepared.volume, mmap_mode="r")
        return voxels
