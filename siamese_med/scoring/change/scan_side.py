"""Reading of scans for scoring: voxels, alignment to the template, and the grid on which pairs are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.scoring.change import pair_registration
from siamese_med.scoring.change.pair_registration import PairSpace
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
    template
        NIfTI of the template that the scans are aligned to.
    """

    data: Path
    template: Path

    def read_side(self, prepared: PreparedScan) -> PairScan:
        """Read one scan as it was ingested, with its alignment to the template; MONOCHROME1 is inverted.

        Returns
        -------
        PairScan
            Voxels (i, j, k) with their affine to RAS+ mm; `matrix` is 4x4, template mm to scan mm.
        """
        scan = volume.read_volume(self.data / prepared.path)
        bright = Volume(undo_monochrome1(scan.voxels, prepared.flags), scan.affine)
        return PairScan(bright, np.asarray(prepared.matrix), *prepared.acquisition, prepared.ok)

    def read_aligned_voxels(self, prepared: PreparedScan) -> NDArray[np.float16]:
        """Open the voxels of one scan on the template's grid, memory-mapped: float16 (i, j, k), normalised."""
        voxels: NDArray[np.float16] = np.load(self.data / prepared.volume, mmap_mode="r")
        return voxels

    def pair_space(self, spacing_mm: float) -> PairSpace:
        """Build the grid on which the pairs of this template are compared, see `pair_registration.build_pair_space`.

        It is cached in the process until the template's file changes.
        """
        return _pair_space(self.template, files.read_file_signature(self.template), spacing_mm)


@lru_cache(maxsize=2)
def _pair_space(template: Path, _version: tuple[int, int, int], spacing_mm: float) -> PairSpace:
    return pair_registration.build_pair_space(volume.read_volume(template), spacing_mm)
