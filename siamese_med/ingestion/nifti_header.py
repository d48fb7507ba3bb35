"""The header of NIfTI-1 and -2 files from outside: parsed as it stands, with its affine, before a voxel is read.

nibabel repairs what it reads, so the raw header is read with its layout and not through its image classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

NIFTI2_HEADER_BYTES = 540
"""Size of a NIfTI-2 header."""

NIFTI1_HEADER_BYTES = 348
"""Size of a NIfTI-1 or Analyze header."""

BYTE_ORDERS: tuple[tuple[Literal["<", ">"], Literal["little", "big"]], ...] = (("<", "little"), (">", "big"))
KIND_BY_MAGIC: dict[bytes, Literal["single", "pair"]] = {
    b"n+1\0": "single",
    b"ni1\0": "pair",
    b"n+2\0": "single",
    b"ni2\0": "pair",
}
"""Header and voxels in a single file, or in a pair of files, by the field `magic`."""

MAX_AFFINE_CONFLICT_MM = 0.1
"""Distance in mm by which corners of a volume may differ between sform and qform, or between a mask and its scan."""

MM_BY_UNIT_CODE = {1: 1000.0, 3: 0.001}
"""Millimetres per unit for the codes of metre and micrometre; all other units are taken as millimetres."""


@dataclass(frozen=True)
class NiftiHeader:
    """The raw header of one file.

    `kind` tells where its voxels are: in a `single` file with the header, in the other file of a `pair`, or in that of
    an `analyze` pair, which has no orientation. `order` is `<` or `>`, `version` is 1 or 2.
    """

    raw: Any  # numpy record
    kind: Literal["single", "pair", "analyze"]
    order: str
    version: int

    @property
    def dims(self) -> tuple[int, ...]:
        """Numbers of voxels by axis (i, j, k, ...), without trailing axes of one voxel beyond the third."""
        count = int(self.raw["dim"][0])
        dims = [int(one) for one in self.raw["dim"][1 : 1 + count]]
        while len(dims) > 3 and dims[-1] == 1:
            dims.pop()
        return tuple(dims)


def parse_nifti_header(head: bytes) -> NiftiHeader | None:
    """Parse the first (uncompressed) bytes of a file.

    Returns
    -------
    NiftiHeader or None
        None where they are no NIfTI-1, NIfTI-2 or Analyze header. Values are not checked.

    Examples
    --------
    >>> parse_nifti_header(bytes(540)) is None
    True
    """
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


def compute_nifti_affine(found: NiftiHeader) -> tuple[NDArray[np.float64], list[str]]:
    """Compute the affine of a header.

    The sform ("method 3" in nifti1.h of the NIfTI-1 standard) is taken where it is set, else the qform ("method 2"). If
    both are set they have to agree within `MAX_AFFINE_CONFLICT_MM` plus the rounding of float32.

    Returns
    -------
    affine : ndarray, shape (4, 4), float64
        Voxel (i, j, k) to RAS+ mm.
    flags : list of str
        `units_converted` where the header is in metres or micrometres.

    Raises
    ------
    RejectedError
        `bad_spacing`, `no_orientation`, `bad_affine` or `affine_conflict`.
    """
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
    """Bound how far rounding to float32 moves the far corner.

    Near a half turn, the first part of the quaternion is the square root of a rounding error.
    """
    stored = [float(found.raw[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    squared = max(0.0, 1.0 - sum(part * part for part in stored))
    turn = 2 * (np.sqrt(squared + 2.0**-22) - np.sqrt(squared))
    return float(turn * np.linalg.norm(np.asarray(found.dims[:3]) * np.abs(spacing)))


def _qform(found: NiftiHeader, spacing: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Compute the affine of the quaternion; its squared length may exceed 1 by 1e-5, as with float32."""
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
    """Compute the largest distance in mm between corners of one volume under two affines.

    Parameters
    ----------
    one, other
        Affines (4, 4), voxel to mm.
    dims
        Numbers of voxels along i, j and k.

    Examples
    --------
    >>> moved = np.eye(4)
    >>> moved[0, 3] = 2.0
    >>> compute_corner_distance_mm(np.eye(4), moved, (10, 10, 10))
    2.0
    """
    corners = np.stack(np.meshgrid(*([0, count - 1] for count in dims), indexing="ij"), -1).reshape(-1, 3)
    moved = np.c_[corners, np.ones(len(corners))] @ (one - other).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
