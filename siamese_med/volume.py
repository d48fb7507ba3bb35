"""A scan in memory: voxels and where they lie. The only module that knows NIfTI.

Coordinates are RAS+ millimetres (x to the patient's right, y to the front, z to the head); voxel axes are i, j, k.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """Voxels (i, j, k), float32 or integer, and the 4x4 affine from voxel to RAS+ mm."""

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Edge of a voxel along i, j and k."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def content_digest(self) -> str:
        """SHA-256 over shape, voxels and affine (affine to 1e-5 mm, so that formats do not matter)."""
        digest = hashlib.sha256(repr(self.voxels.shape).encode())
        digest.update(np.ascontiguousarray(self.voxels, dtype=np.float32).tobytes())
        digest.update(np.round(self.affine, 5).astype(np.float64).tobytes())
        return digest.hexdigest()


def read(path: Path) -> Volume:
    """Read a NIfTI that siamese-med wrote or the user vouches for, as float32; what comes from outside is ingested."""
    import nibabel as nib

    image = nib.load(path)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))


def write(path: Path, volume: Volume) -> None:
    """Write a NIfTI-1 atomically, with a header made afresh: sform and qform, millimetres, nothing from the source.

    `.nii.gz` is compressed at the fastest level without a time stamp, so equal volumes give equal bytes.
    """
    import nibabel as nib

    image = nib.Nifti1Image(volume.voxels, volume.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    content = image.to_bytes()
    with replacing(path) as temporary:
        if path.name.endswith(".gz"):
            content = gzip.compress(content, compresslevel=1, mtime=0)
        temporary.write_bytes(content)


def canonical(volume: Volume) -> Volume:
    """The same volume with voxel axes closest to right, front, head (RAS+); a permutation and flips, no resampling."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(volume.affine)
    voxels = apply_orientation(volume.voxels, orientation)
    affine = volume.affine @ inv_ornt_aff(orientation, volume.voxels.shape)
    return Volume(np.ascontiguousarray(voxels), affine)


def centred_grid(shape: tuple[int, int, int], spacing_mm: float) -> NDArray[np.float64]:
    """Affine of a RAS+ grid whose centre lies at the origin; `shape` in voxels, one spacing for all axes."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return affine
