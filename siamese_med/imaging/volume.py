"""A scan in memory: voxels and where they lie. The only module that knows NIfTI.

Coordinates are RAS+ millimetres (x to the patient's right, y to the front, z to the head); voxel axes are i, j, k.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from siamese_med.runtime.files import replace_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

NIFTI1_VOXEL_OFFSET_BYTES = 352
"""Where the voxels of a NIfTI-1 file begin."""
MIN_VOXEL_MM3 = 1e-9
"""A voxel smaller than this has no extent along some axis."""


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
        """SHA-256 over shape, voxels and affine (affine to 1e-5 mm); what type holds the numbers does not matter."""
        digest = hashlib.sha256(repr(self.voxels.shape).encode())
        digest.update(np.asfortranarray(narrow_voxel_dtype(self.voxels)).T.data)
        digest.update(np.round(self.affine, 5).astype(np.float64).tobytes())
        return digest.hexdigest()


def narrow_voxel_dtype(voxels: NDArray[Any]) -> NDArray[Any]:
    """int16 where that keeps every value exactly, else float32."""
    if voxels.dtype == np.int16:
        return voxels
    low, high = float(voxels.min()), float(voxels.max())
    if not (low >= -32768 and high <= 32767):  # NaN is in no range
        return voxels.astype(np.float32, copy=False)
    whole = voxels.astype(np.int16)
    exact = np.issubdtype(voxels.dtype, np.integer) or bool((whole == voxels).all())
    return whole if exact else voxels.astype(np.float32, copy=False)


def read_volume(path: Path) -> Volume:
    """Read a NIfTI that siamese-med wrote or the user vouches for, as float32; what comes from outside is ingested."""
    import nibabel as nib

    image = nib.load(path)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))


def find_template_flaw(template: Volume) -> str | None:
    """Why scans cannot be aligned to a volume; None where they can."""
    if template.voxels.ndim != 3:
        return "is not three-dimensional"
    if not np.isfinite(template.voxels).all() or not np.ptp(template.voxels) > 0:
        return "has voxels that are NaN or infinite, or all alike"
    if not np.isfinite(template.affine).all() or abs(np.linalg.det(template.affine[:3, :3])) < MIN_VOXEL_MM3:
        return "has an affine that places no grid"
    return None


def write_volume(path: Path, volume: Volume) -> None:
    """Write a NIfTI-1 atomically, with a header made afresh: sform and qform, millimetres, nothing from the source.

    `.nii.gz` is compressed fast and without a time stamp, so equal volumes give equal bytes.
    """
    with replace_atomically(path) as temporary, _opened(path, temporary) as file:
        file.write(_header(volume))
        for k in range(volume.voxels.shape[2]):
            file.write(volume.voxels[:, :, k].tobytes(order="F"))


def encode_nifti_gz(volume: Volume) -> bytes:
    """What `write_volume` would put into a `.nii.gz`, compressed well."""
    import gzip

    return gzip.compress(_header(volume) + volume.voxels.tobytes(order="F"), 6, mtime=0)


def _header(volume: Volume) -> bytes:
    """348 bytes of header and 4 that say that no extension follows."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(volume.voxels.shape)
    header.set_data_dtype(volume.voxels.dtype)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1)
    header.set_slope_inter(1, 0)
    header["magic"], header["vox_offset"] = b"n+1", NIFTI1_VOXEL_OFFSET_BYTES
    return bytes(header.binaryblock).ljust(NIFTI1_VOXEL_OFFSET_BYTES, b"\0")


@contextmanager
def _opened(path: Path, temporary: Path) -> Iterator[IO[bytes]]:
    """The file to write, compressing where the final path says so; the gzip header holds no name and no time."""
    with temporary.open("wb") as plain:
        if not path.name.endswith(".gz"):
            yield plain
            return
        from isal import igzip

        opened = igzip.IGzipFile("", "wb", 1, plain, mtime=0)  # type: ignore[no-untyped-call]
        with opened as file:
            yield cast("IO[bytes]", file)


def reorient_to_ras(volume: Volume) -> Volume:
    """The same volume with voxel axes closest to right, front, head (RAS+); a permutation and flips, no resampling.

    The voxels come in the order in which a NIfTI file holds them (i fastest).
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(volume.affine)
    voxels = apply_orientation(volume.voxels, orientation)
    affine = volume.affine @ inv_ornt_aff(orientation, volume.voxels.shape)
    return Volume(np.asfortranarray(voxels), affine)


def make_centred_affine(shape: tuple[int, int, int], spacing_mm: float) -> NDArray[np.float64]:
    """Affine of a RAS+ grid whose centre lies at the origin; `shape` in voxels, one spacing for all axes."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return affine
