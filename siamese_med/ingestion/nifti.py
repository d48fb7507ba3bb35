"""NIfTI-1 and -2 from outside: the header is checked before a voxel is read, the voxels are streamed under a limit."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import decompression_limits
from siamese_med.ingestion.inputs import open_files
from siamese_med.ingestion.nifti_header import (
    NIFTI2_HEADER_BYTES,
    NiftiHeader,
    compute_nifti_affine,
    parse_nifti_header,
)
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952)."""

MAX_TRAILING_BYTES = 64 * 2**20
"""Inflated bytes after the voxels that are accepted; they are read for the checksum only."""

READ_CHUNK_BYTES = 2**20
"""Bytes that are read at once."""

COMPLEX_DATATYPES = (32, 1792, 2048)
"""NIfTI codes of complex numbers."""

RGB_DATATYPES = (128, 2304)
"""NIfTI codes of colours."""

DTYPE_BY_DATATYPE = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""NumPy types of the NIfTI codes for real numbers."""


def inflate_first_bytes(start: bytes) -> bytes:
    """Inflate the first bytes of a gzip file as far as a header needs; other bytes are returned as they are.

    Raises
    ------
    RejectedError
        `corrupt_gzip`.

    Examples
    --------
    >>> inflate_first_bytes(gzip.compress(b"header"))
    b'header'
    """
    if not start.startswith(GZIP_MAGIC):
        return start
    try:
        return zlib.decompressobj(31).decompress(start, NIFTI2_HEADER_BYTES)
    except zlib.error as error:
        raise RejectedError("corrupt_gzip") from error


def find_voxel_file(path: Path) -> Path | None:
    """Find the voxel file (`.img` or `.img.gz`, in any case) beside a header file.

    Returns
    -------
    Path or None
        The first match by name, or None where there is none.
    """
    stem = path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem
    wanted = {f"{stem}.img".lower(), f"{stem}.img.gz".lower()}
    return next((other for other in sorted(path.parent.iterdir()) if other.name.lower() in wanted), None)


def decode_nifti(
    path: Path,
    voxel_path: Path,
    volume_of_4d: str,
    max_gigabytes: float,
    min_slices: int,
    may_be_constant: bool = False,
) -> tuple[Volume, list[str], int]:
    """Decode a NIfTI file to a volume.

    Parameters
    ----------
    path, voxel_path
        The file with the header and the one with the voxels; the same one for `.nii`.
    volume_of_4d
        `refuse`, `first` or `mean`: what to do with a series of volumes.
    max_gigabytes
        Largest volume, at 4 bytes a voxel or more, in 10^9 bytes.
    min_slices
        Fewest voxels along each axis.
    may_be_constant
        Whether all voxels may have one value, as in a mask that marks nothing.

    Returns
    -------
    volume : Volume
        In RAS+ orientation, voxels that are no finite number set to zero.
    flags : list of str
        See `reasons.SCAN_FLAGS`.
    nan_voxels : int
        Number of voxels that were no finite number.

    Raises RejectedError with the reason where the file cannot be used.
    """
    with _opened(path) as (file, _):
        found = parse_nifti_header(_read(file, NIFTI2_HEADER_BYTES))
    if found is None:
        raise RejectedError("unreadable_header")
    _check_shape(found, volume_of_4d, min_slices)
    affine, flags = compute_nifti_affine(found)
    voxels = _voxels(found, voxel_path, max_gigabytes)
    voxels, more = _three_axes(voxels, volume_of_4d)
    voxels, missing = _without_nan(voxels, may_be_constant)
    flags = [*flags, *([ScanFlag.NAN_COUNT] if missing else [])]
    return volume.reorient_to_ras(Volume(volume.narrow_voxel_dtype(voxels), affine)), [*flags, *more], missing


def _without_nan(voxels: NDArray[Any], may_be_constant: bool) -> tuple[NDArray[Any], int]:
    """Set voxels that are no finite number to zero, and count them; refuse what holds no or a single value."""
    finite = np.isfinite(voxels)
    if not finite.any():
        raise RejectedError("no_finite_voxel")
    missing = int(voxels.size - np.count_nonzero(finite))
    if not may_be_constant and voxels[finite].min() == voxels[finite].max():
        raise RejectedError("constant_image")
    return (np.where(finite, voxels, 0) if missing else voxels), missing


def _check_shape(found: NiftiHeader, volume_of_4d: str, min_slices: int) -> None:
    code = int(found.raw["datatype"])
    if code in COMPLEX_DATATYPES:
        raise RejectedError("complex")
    if code in RGB_DATATYPES:
        raise RejectedError("rgb")
    count, dims = int(found.raw["dim"][0]), found.dims
    if not 1 <= count <= 7 or any(one <= 0 for one in dims) or code not in DTYPE_BY_DATATYPE:
        raise RejectedError("unreadable_header")
    if len(dims) < 3 or sum(one > 1 for one in dims[:3]) < 3:
        raise RejectedError("ndim_2")
    if len(dims) > 3 and volume_of_4d == "refuse":
        raise RejectedError("ndim_4")
    if min(dims[:3]) < min_slices:
        raise RejectedError("too_few_slices")


def _voxels(found: NiftiHeader, path: Path, max_gigabytes: float) -> NDArray[Any]:
    """Return scaled voxels with axes (i, j, k, ...); scaling is that of scl_slope and scl_inter."""
    kind = np.dtype(f"{found.order}{DTYPE_BY_DATATYPE[int(found.raw['datatype'])]}")
    count = int(np.prod([float(one) for one in found.dims]))
    slope, intercept = float(found.raw["scl_slope"]), float(found.raw["scl_inter"])
    scaled = np.isfinite(slope) and slope != 0 and (slope != 1 or intercept != 0)
    if count * max(kind.itemsize, 8 if scaled else 4) > max_gigabytes * 1e9:
        raise RejectedError("too_large")
    start = float(found.raw["vox_offset"])
    if not np.isfinite(start) or not 0 <= start < 2**40:
        raise RejectedError("unreadable_header")
    decompression_limits.check_inflated_size(path.stat().st_size, start + count * kind.itemsize)
    least = 0 if found.kind != "single" else (352 if found.version == 1 else 544)
    content = _content(path, max(int(start), least), count * kind.itemsize)
    stored = np.frombuffer(content, dtype=kind).reshape(found.dims, order="F")
    stored = stored.astype(kind.newbyteorder("="), copy=False)
    if not scaled:
        return stored
    values = stored.astype(np.float64)
    values *= slope
    values += intercept if np.isfinite(intercept) else 0.0
    return values


def _content(path: Path, start: int, length: int) -> bytes:
    """Return exactly `length` bytes from `start`; a compressed file is read to its end, so that its checksum counts."""
    with _opened(path) as (file, squeezed):
        _skip(file, start)
        content = _read(file, length)
        if len(content) < length:
            raise RejectedError("truncated")
        if squeezed:
            _skip_to_end(file)
    return content


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The file's own content, and whether it is compressed."""
    with open_files.open_regular_file(path) as plain:
        squeezed = plain.read(2) == GZIP_MAGIC
        plain.seek(0)
        try:
            if squeezed:
                with gzip.open(plain, "rb") as file:
                    yield cast("IO[bytes]", file), True
            else:
                yield plain, False
        except EOFError as error:
            raise RejectedError("truncated") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RejectedError("corrupt_gzip") from error


def _read(file: IO[bytes], length: int) -> bytes:
    """Return up to `length` bytes, read piece by piece, so that a false length in the header costs no memory."""
    gathered = io.BytesIO()
    while length > 0 and (piece := file.read(min(length, READ_CHUNK_BYTES))):
        gathered.write(piece)
        length -= len(piece)
    return gathered.getvalue()


def _skip(file: IO[bytes], length: int) -> None:
    while length > 0:
        piece = file.read(min(length, READ_CHUNK_BYTES))
        if not piece:
            raise RejectedError("truncated")
        length -= len(piece)


def _skip_to_end(file: IO[bytes]) -> None:
    trailing = 0
    while piece := file.read(READ_CHUNK_BYTES):
        trailing += len(piece)
        if trailing > MAX_TRAILING_BYTES:
            raise RejectedError("too_large")


def _three_axes(voxels: NDArray[Any], volume_of_4d: str) -> tuple[NDArray[Any], list[str]]:
    if voxels.ndim == 3:
        return voxels, []
    repeats = voxels.reshape(*voxels.shape[:3], -1, order="F")
    if volume_of_4d == "mean":
        return repeats.mean(axis=3, dtype=np.float64), [ScanFlag.MEAN_OF_REPEATS]
    return repeats[..., 0], [ScanFlag.FIRST_OF_REPEATS]
