"""Reading of scans for scoring: voxels, brain, and alignment to the template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.segmentation_files import make_probability_volume, read_segmentation
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
            Voxels (i, j, k) with their affine to RAS+ mm, and what is to be compared: its mask, or else its brain.
        """
        scan = volume.read_volume(self.data / prepared.path)
        bright = Volume(undo_monochrome1(scan.voxels, prepared.flags), scan.affine)
        to_template = np.asarray(np.linalg.inv(prepared.matrix)) if prepared.ok else None
        return PairScan(bright, self._read_region(prepared), to_template, *prepared.acquisition)

    def _read_region(self, prepared: PreparedScan) -> Volume | None:
        """The mask that came with the scan, or else its brain; None where there is neither."""
        if prepared.mask is not None:
            mask = volume.read_volume(self.data / prepared.mask)
            return Volume((mask.voxels > 0).astype(np.float32), mask.affine)
        if prepared.brain is not None:
            return make_probability_volume(read_segmentation(self.data / prepared.brain))
        return None

    def read_aligned_voxels(self, prepared: PreparedScan) -> NDArray[np.float16]:
        """Open the voxels of one scan on the template's grid, memory-mapped: float16 (i, j, k), normalised."""
        voxels: NDArray[np.float16] = np.load(self.data / prepared.volume, mmap_mode="r")
        return voxels
