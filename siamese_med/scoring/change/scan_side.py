"""The scans of a pair: what is known of each, and how it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.segmentation_files import (
    make_probability_volume,
    make_structure_volume,
    read_segmentation,
)
from siamese_med.imaging import volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.study.prepared_scans import PreparedScan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PairScan:
    """One scan of a pair.

    Attributes
    ----------
    scan
        Voxels (i, j, k) as ingested, bright tissue high, with their affine to RAS+ mm.
    region
        What is compared: the probability (i, j, k), 0 to 1, that a voxel is brain, or the mask that came with the scan,
        on a grid of its own in the mm of the scan. None where there is neither: then it is the whole body.
    to_template
        4x4, scan mm to template mm (RAS+); None where the scan could not be aligned to the template. It is used for
        nothing but the positions of parts.
    modality, contrast, scanner
        As in the catalogue; `unknown` where the header does not tell.
    structures
        The number of the brain structure of each voxel (i, j, k), on a grid of its own in the mm of the scan; None
        where no brain was found. It is used for nothing but the names of places.
    """

    scan: Volume
    region: Volume | None
    to_template: NDArray[np.float64] | None
    modality: str
    contrast: str
    scanner: str
    structures: Volume | None = None

    def content_digest(self) -> str:
        """Compute the SHA-256 of what is measured, the scan and its region, as hex."""
        region = self.region.content_digest() if self.region else "none"
        return hashlib.sha256(f"{self.scan.content_digest()} {region}".encode()).hexdigest()


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
        brain = read_segmentation(self.data / prepared.brain) if prepared.brain else None
        region = make_probability_volume(brain) if brain else None
        if prepared.mask:
            region = self._read_mask(prepared.mask)
        structures = make_structure_volume(brain) if brain else None
        return PairScan(bright, region, to_template, *prepared.acquisition, structures)

    def _read_mask(self, path: str) -> Volume:
        """The mask that came with a scan, as probability."""
        mask = volume.read_volume(self.data / path)
        return Volume((mask.voxels > 0).astype(np.float32), mask.affine)

    def read_aligned_voxels(self, prepared: PreparedScan) -> NDArray[np.float16]:
        """Open the voxels of one scan on the template's grid, memory-mapped: float16 (i, j, k), normalised."""
        voxels: NDArray[np.float16] = np.load(self.data / prepared.volume, mmap_mode="r")
        return voxels
