"""One scan as a side of a pair: its voxels, its place on the template, and the grid on which pairs are compared."""

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
from siamese_med.scoring.change.score_pair import PairScan
from siamese_med.study.prepared_scans import PreparedScan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ScanReader:
    """Where the scans of a study and their template lie; small, so that each worker can have one.

    Parameters
    ----------
    data
        The data folder, from which the paths of prepared scans count.
    template
        NIfTI of the template that the scans are aligned to.
    """

    data: Path
    template: Path

    def read_side(self, prepared: PreparedScan) -> PairScan:
        """Read one scan as it was ingested, bright where it was inverted, with its matrix to the template.

        Returns
        -------
        Side
            Voxels (i, j, k) with their affine to RAS+ mm; `matrix` is 4x4, template mm to scan mm.
        """
        scan = volume.read_volume(self.data / prepared.path)
        bright = Volume(undo_monochrome1(scan.voxels, prepared.flags), scan.affine)
        return PairScan(bright, np.asarray(prepared.matrix), *prepared.acquisition, prepared.ok)

    def read_aligned_voxels(self, prepared: PreparedScan) -> NDArray[np.float16]:
        """Map the voxels of one scan on the template's grid into memory: float16 (i, j, k)."""
        voxels: NDArray[np.float16] = np.load(self.data / prepared.volume, mmap_mode="r")
        return voxels

    def pair_space(self, spacing_mm: float) -> PairSpace:
        """Make the grid on which the pairs of this template are compared, once a process."""
        return _pair_space(self.template, files.read_file_signature(self.template), spacing_mm)


@lru_cache(maxsize=2)
def _pair_space(template: Path, _version: tuple[int, int, int], spacing_mm: float) -> PairSpace:
    return pair_registration.build_pair_space(volume.read_volume(template), spacing_mm)
