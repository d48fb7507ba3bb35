"""Volumes in memory, and reading and writing them as NIfTI. No other module of `imaging` knows NIfTI.

World coordinates are RAS+ mm: x to the patient's right, y to the front (anterior), z to the head (superior). Voxel axes
are i, j, k.
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
"""Offset of the voxels in a NIfTI-1 file: 348 bytes of header, 4 bytes that announce extensions."""
FIRST_BLOCK_BYTES = 16
"""So much of a `.nii.gz` file is compressed as a block of its own, which makes the bytes follow from the content alone.

At level 1, isal's compressor enters the second byte of its input in its table of earlier places under a hash of the
address where the compressor lies, instead of a hash of the data (ISA-L 2.31 on x86, `.write_first_byte` in
igzip_icf_body_h1_gr_bt.asm). At about one address in 8192 it then compresses the same volume to other bytes. Up to 16
bytes that are flushed go another way, and what follows does not pass there. The block costs 4 bytes and no time;
level 0 is free of the fault too, but files are 12 % larger."""
MIN_VOXEL_MM3 = 1e-9
"""A voxel below this volume has no extent along some axis: its affine is singular."""


@dataclass(frozen=True)
class Volume:
    """A three-dimensional image and its position in space.

    Attributes
    ----------
    voxels
        Intensities (i, j, k), float32 or integer.
    affine
        4x4 matrix from voxel (i, j, k, 1) to RAS+ mm.

    Examples
    --------
    >>> scan = Volume(np.zeros((64, 64, 30), dtype=np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> scan.spacing_mm
    array([1., 1., 3.])
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Edge lengths (3,) of a voxel along i, j and k in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def content_digest(self) -> str:
        """Compute the SHA-256 of shape, voxels and affine, as hex.

        The affine is rounded to 1e-5 mm. The same values give the same digest whether they are stored as int16 or
        float32.
        """
        digest = hashlib.sha256(repr(self.voxels.shape).encode())
        digest.update(np.asfortranarray(narrow_voxel_dtype(self.voxels)).T.data)
        digest.update(np.round(self.affine, 5).astype(np.float64).tobytes())
        return digest.hexdigest()


def narrow_voxel_dtype(voxels: NDArray[Any]) -> NDArray[Any]:
    """Convert voxels to int16 where that keeps every value exactly, else to float32.

    Examples
    --------
    >>> narrow_voxel_dtype(np.array([0.0, 12.0, 300.0])).dtype
    dtype('int16')
    >>> narrow_voxel_dtype(np.array([0.5, 12.0, 300.0])).dtype
    dtype('float32')
    """
    if voxels.dtype == np.int16:
        return voxels
    low, high = float(voxels.min()), float(voxels.max())
    if not (low >= -32768 and high <= 32767):  # NaN is in no range
        return voxels.astype(np.float32, copy=False)
    whole = voxels.astype(np.int16)
    exact = np.issubdtype(voxels.dtype, np.integer) or bool((whole == voxels).all())
    return whole if exact else voxels.astype(np.float32, copy=False)


def read_volume(path: Path) -> Volume:
    """Read a NIfTI file as float32, in the orientation that it is stored in.

    Only for files that siamese-med wrote or that the user trusts: nothing is checked. Files of the input are read by
    `ingestion`, which checks them first.
    """
    import nibabel as nib

    image = nib.load(path)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))


def find_template_flaw(template: Volume) -> str | None:
    """Find the reason why a volume cannot serve as template of a registration; None if it can.

    Returns
    -------
    The end of a sentence about the template, for an error message.

    Examples
    --------
    >>> find_template_flaw(Volume(np.zeros((4, 4)), np.eye(4)))
    'is not three-dimensional'
    >>> find_template_flaw(Volume(np.arange(8.0).reshape(2, 2, 2), np.eye(4))) is None
    True
    """
    if template.voxels.ndim != 3:
        return "is not three-dimensional"
    if not np.isfinite(template.voxels).all() or not np.ptp(template.voxels) > 0:
        return "has voxels that are NaN or infinite, or all alike"
    if not np.isfinite(template.affine).all() or abs(np.linalg.det(template.affine[:3, :3])) < MIN_VOXEL_MM3:
        return "has an affine that places no grid"
    return None


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume as NIfTI-1 atomically, in the data type of its voxels.

    The header is written anew, so nothing of a source file's header is kept: sform and qform (both code 1), mm, no
    scaling. A path that ends in `.gz` is compressed with gzip level 1 and without a time stamp, so equal volumes give
    equal bytes. Raises NoSpaceError when the disk is full.
    """
    header = _header(volume)
    with replace_atomically(path) as temporary, _opened(path, temporary) as file:
        file.write(header[:FIRST_BLOCK_BYTES])
        file.flush()
        file.write(header[FIRST_BLOCK_BYTES:])
        for k in range(volume.voxels.shape[2]):
            file.write(volume.voxels[:, :, k].tobytes(order="F"))


def encode_nifti_gz(volume: Volume) -> bytes:
    """Encode a volume as the bytes of a `.nii.gz` file, with gzip level 6 and no time stamp.

    The content is that of `write_volume`, in a smaller file: for pages that embed a volume.
    """
    import gzip

    return gzip.compress(_header(volume) + volume.voxels.tobytes(order="F"), 6, mtime=0)


def _header(volume: Volume) -> bytes:
    """The 348 bytes of the header, and 4 bytes that say that no extension follows."""
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
    """Open the temporary file; compress if the final path ends in `.gz`, without name and time in the gzip header."""
    with temporary.open("wb") as plain:
        if not path.name.endswith(".gz"):
            yield plain
            return
        from isal import igzip

        opened = igzip.IGzipFile("", "wb", 1, plain, mtime=0)  # type: ignore[no-untyped-call]
        with opened as file:
            yield cast("IO[bytes]", file)


def reorient_to_ras(volume: Volume) -> Volume:
    """Reorient a volume to the canonical orientation: i, j, k closest to right, anterior, superior (RAS+).

    Axes are permuted and flipped; nothing is resampled, and every voxel keeps its place in space. The voxels are
    returned in Fortran order (i fastest), as a NIfTI file stores them.

    Examples
    --------
    >>> stored = Volume(np.zeros((4, 5, 6)), np.diag([-1.0, -1.0, 1.0, 1.0]))  # LPS, as DICOM runs
    >>> np.diag(reorient_to_ras(stored).affine)
    array([1., 1., 1., 1.])
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(volume.affine)
    voxels = apply_orientation(volume.voxels, orientation)
    affine = volume.affine @ inv_ornt_aff(orientation, volume.voxels.shape)
    return Volume(np.asfortranarray(voxels), affine)


def make_centred_affine(shape: tuple[int, int, int], spacing_mm: float) -> NDArray[np.float64]:
    """Make the affine (4x4, voxel to mm) of an isotropic RAS+ grid whose centre lies at the origin.

    Examples
    --------
    >>> make_centred_affine((3, 5, 3), 2.0)[:3, 3]
    array([-2., -4., -2.])
    """
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.asarray(shape) - 1) / 2
    return affine
