"""NIfTI-1 and -2 from outside: the header checked before a voxel is read, the voxels streamed with a cap.

nibabel repairs what it reads, so the raw header is looked at with its layout and not through its image classes.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import decompression_limits
from siamese_med.ingestion.inputs import open_files
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
NIFTI2_HEADER_BYTES = 540
NIFTI1_HEADER_BYTES = 348
BYTE_ORDERS: tuple[tuple[Literal["<", ">"], Literal["little", "big"]], ...] = (("<", "little"), (">", "big"))
KIND_BY_MAGIC: dict[bytes, Literal["single", "pair"]] = {
    b"n+1\0": "single",
    b"ni1\0": "pair",
    b"n+2\0": "single",
    b"ni2\0": "pair",
}
MAX_TRAILING_BYTES = 64 * 2**20
READ_CHUNK_BYTES = 2**20
MAX_AFFINE_CONFLICT_MM = 0.1
COMPLEX_DATATYPES = (32, 1792, 2048)
RGB_DATATYPES = (128, 2304)
DTYPE_BY_DATATYPE = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
MM_BY_UNIT_CODE = {1: 1000.0, 3: 0.001}
"""Factor of the unit codes metre and micrometre; all others are taken as millimetres."""


@dataclass(frozen=True)
class NiftiHeader:
    """The raw header of one file, and where its voxels are."""

    raw: Any  # numpy record
    kind: Literal["single", "pair", "analyze"]
    order: str
    version: int

    @property
    def dims(self) -> tuple[int, ...]:
        """Voxel counts, trailing axes of one voxel left out."""
        count = int(self.raw["dim"][0])
        dims = [int(one) for one in self.raw["dim"][1 : 1 + count]]
        while len(dims) > 3 and dims[-1] == 1:
            dims.pop()
        return tuple(dims)


def parse_nifti_header(head: bytes) -> NiftiHeader | None:
    """The header that the first (uncompressed) bytes hold, or None where they are no NIfTI."""
    from nibabel import nifti1, nifti2

    for size, layout, version in (
        (NIFTI1_HEADER_BYTES, nifti1.header_dtype, 1),
        (NIFTI2_HEADER_BYTES, nifti2.header_dtype, 2),
    ):
        for order, name in BYTE_ORDERS:
            if int.from_bytes(head[:4], name) != size or len(head) < size:
                continue
            raw = np.frombuffer(head, dtype=layout.newbyteorder(order), count=1)[0]
            kind = KIND_BY_MAGIC.get(bytes(raw["magic"]).ljust(4, b"\0")[:4])
            if kind is None and (version == 2 or not 1 <= int(raw["dim"][0]) <= 7):
                return None
            return NiftiHeader(raw, kind or "analyze", order, version)
    return None


def inflate_first_bytes(start: bytes) -> bytes:
    """The first bytes without gzip, `start` being those on disk; raises RejectedError: corrupt_gzip."""
    if not start.startswith(GZIP_MAGIC):
        return start
    try:
        return zlib.decompressobj(31).decompress(start, NIFTI2_HEADER_BYTES)
    except zlib.error as error:
        raise RejectedError("corrupt_gzip") from error


def find_voxel_file(path: Path) -> Path | None:
    """The voxel file beside a `.hdr`, whatever the case of its suffix, compressed or not."""
    stem = path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem
    wanted = {f"{stem}.img".lower(), f"{stem}.img.gz".lower()}
    return next((other for other in sorted(path.parent.iterdir()) if other.name.lower() in wanted), None)


def decode_nifti(
    path: Path, voxel_path: Path, volume_of_4d: str, max_gigabytes: float, min_slices: int
) -> tuple[Volume, list[str], int]:
    """Canonical volume, flags, and how many voxels were no number; raises RejectedError with what is wrong."""
    with _opened(path) as (file, _):
        found = parse_nifti_header(_read(file, NIFTI2_HEADER_BYTES))
    if found is None:
        raise RejectedError("unreadable_header")
    _check_shape(found, volume_of_4d, min_slices)
    affine, flags = compute_nifti_affine(found)
    voxels = _voxels(found, voxel_path, max_gigabytes)
    voxels, more = _three_axes(voxels, volume_of_4d)
    finite = np.isfinite(voxels)
    if not finite.any():
        raise RejectedError("no_finite_voxel")
    missing = int(voxels.size - np.count_nonzero(finite))
    if missing:
        voxels, flags = np.where(finite, voxels, 0), [*flags, ScanFlag.NAN_COUNT]
    if voxels[finite].min() == voxels[finite].max():
        raise RejectedError("constant_image")
    return volume.reorient_to_ras(Volume(volume.narrow_voxel_dtype(voxels), affine)), [*flags, *more], missing


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


def compute_nifti_affine(found: NiftiHeader) -> tuple[NDArray[np.float64], list[str]]:
    """Affine to RAS+ mm and flags; raises RejectedError: bad_spacing, no_orientation, bad_affine, affine_conflict."""
    spacing = np.asarray(found.raw["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(spacing).all() or (spacing == 0).any():
        raise RejectedError("bad_spacing")
    if found.kind == "analyze":
        raise RejectedError("no_orientation")
    forms = [form for form in (_sform(found), _qform(found, spacing)) if form is not None]
    if not forms:
        raise RejectedError("no_orientation")
    for form in forms:
        _invertible(form)
    factor = MM_BY_UNIT_CODE.get(int(found.raw["xyzt_units"]) & 7, 1.0)
    forms = [np.diag([factor, factor, factor, 1.0]) @ form for form in forms]
    allowed = MAX_AFFINE_CONFLICT_MM + _rounding_mm(found, spacing)
    if len(forms) == 2 and compute_corner_distance_mm(forms[0], forms[1], found.dims[:3]) > allowed:
        raise RejectedError("affine_conflict")
    return forms[0], [ScanFlag.UNITS_CONVERTED] if factor != 1.0 else []


def _sform(found: NiftiHeader) -> NDArray[np.float64] | None:
    if int(found.raw["sform_code"]) <= 0:
        return None
    rows = [found.raw[name] for name in ("srow_x", "srow_y", "srow_z")]
    return np.asarray([*rows, [0, 0, 0, 1]], dtype=np.float64)


def _rounding_mm(found: NiftiHeader, spacing: NDArray[np.float64]) -> float:
    """How far float32 may turn the far corner: near a half turn the quaternion's first part is a root of rounding."""
    stored = [float(found.raw[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    squared = max(0.0, 1.0 - sum(part * part for part in stored))
    turn = 2 * (np.sqrt(squared + 2.0**-22) - np.sqrt(squared))
    return float(turn * np.linalg.norm(np.asarray(found.dims[:3]) * np.abs(spacing)))


def _qform(found: NiftiHeader, spacing: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Quaternion form; DICOM-like precision of float32 is allowed for in the length of the quaternion."""
    if int(found.raw["qform_code"]) <= 0:
        return None
    b, c, d = (float(found.raw[name]) for name in ("quatern_b", "quatern_c", "quatern_d"))
    squared = 1.0 - (b * b + c * c + d * d)
    if not np.isfinite(squared) or squared < -1e-5:
        raise RejectedError("bad_affine")
    if (spacing < 0).any():
        raise RejectedError("bad_spacing")
    from nibabel.quaternions import quat2mat

    handed = -1.0 if float(found.raw["pixdim"][0]) < 0 else 1.0
    form = np.eye(4)
    form[:3, :3] = quat2mat([np.sqrt(max(squared, 0.0)), b, c, d]) * (spacing * [1.0, 1.0, handed])
    form[:3, 3] = [float(found.raw[name]) for name in ("qoffset_x", "qoffset_y", "qoffset_z")]
    return form


def _invertible(form: NDArray[np.float64]) -> None:
    if not np.isfinite(form).all():
        raise RejectedError("bad_affine")
    edges = np.linalg.norm(form[:3, :3], axis=0)
    if (edges == 0).any() or abs(np.linalg.det(form[:3, :3] / edges)) < 1e-3:
        raise RejectedError("bad_affine")


def compute_corner_distance_mm(one: NDArray[np.float64], other: NDArray[np.float64], dims: tuple[int, ...]) -> float:
    """Largest distance that a corner of the volume moves between two affines."""
    corners = np.stack(np.meshgrid(*([0, count - 1] for count in dims), indexing="ij"), -1).reshape(-1, 3)
    moved = np.c_[corners, np.ones(len(corners))] @ (one - other).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def _voxels(found: NiftiHeader, path: Path, max_gigabytes: float) -> NDArray[Any]:
    """Scaled voxels (i, j, k, ...)."""
    kind = np.dtype(f"{found.order}{DTYPE_BY_DATATYPE[int(found.raw['datatype'])]}")
    count = int(np.prod([float(one) for one in found.dims]))
    if count * max(kind.itemsize, 4) > max_gigabytes * 1e9:
        raise RejectedError("too_large")
    start = float(found.raw["vox_offset"])
    if not np.isfinite(start) or not 0 <= start < 2**40:
        raise RejectedError("unreadable_header")
    decompression_limits.check_inflated_size(path.stat().st_size, start + count * kind.itemsize)
    least = 0 if found.kind != "single" else (352 if found.version == 1 else 544)
    content = _content(path, max(int(start), least), count * kind.itemsize)
    stored = np.frombuffer(content, dtype=kind).reshape(found.dims, order="F")
    stored = stored.astype(kind.newbyteorder("="), copy=False)
    slope, intercept = float(found.raw["scl_slope"]), float(found.raw["scl_inter"])
    if not np.isfinite(slope) or slope == 0 or (slope == 1 and intercept == 0):
        return stored
    return stored.astype(np.float64) * slope + (intercept if np.isfinite(intercept) else 0.0)


def _content(path: Path, start: int, length: int) -> bytes:
    """Exactly `length` bytes from `start`; the rest of a compressed file is read too, so that its checksum counts."""
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
    """Up to `length` bytes, grown piece by piece, so that a lie in the header costs no memory."""
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
