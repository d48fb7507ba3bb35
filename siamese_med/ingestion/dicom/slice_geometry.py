"""Geometry of one stack of slices: is it complete and evenly spaced, and where does it lie?

Input is LPS mm as in DICOM; the resulting affine maps voxel (column, row, slice) to RAS+ mm (DICOM PS3.3, section
C.7.6.2.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.ingestion.dicom.instances import SlicePlane
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TILT_DEGREES = 0.1
"""Largest angle between the slice normal and the direction of the stack, in degrees; more is a tilted gantry."""

SPACING_TOLERANCE_MM = 0.01
"""Deviation of a slice gap that is always allowed, in mm."""

SPACING_TOLERANCE_SHARE = 0.01
"""Deviation of a slice gap that is allowed, as a share of the usual gap."""

POSITION_ROUNDING_MM, POSITION_ROUNDING_SHARE = 0.1, 0.05
"""Largest deviation of a slice from its place in an even stack, in mm and as a share of the gap: some programs write
positions with one decimal. Source: our choice."""

UNIT_VECTOR_TOLERANCE = 1e-2
"""Largest deviation of direction cosines from unit length and from a right angle."""

POSITION_TOLERANCE_MM = 1e-3
"""Slices that are closer than this along the normal, in mm, have the same position."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Homogeneous matrix from DICOM's LPS to RAS+ coordinates."""


@dataclass(frozen=True)
class SliceStack:
    """Slices in order along their normal, and the 4x4 affine of their volume: voxel (column, row, slice) to RAS+ mm."""

    planes: tuple[SlicePlane, ...]
    affine: NDArray[np.float64]


def check_slice_geometry(planes: Sequence[SlicePlane]) -> None:
    """Check that position, direction and spacing of every slice are present and possible.

    Raises
    ------
    RejectedError
        `missing_geometry`, `bad_spacing`, or `bad_affine` where a value is no number or the directions are not
        orthonormal within `UNIT_VECTOR_TOLERANCE`.
    """
    if any(plane.position is None or plane.orientation is None for plane in planes):
        raise RejectedError("missing_geometry")
    if not all(_is_spacing(plane.spacing) for plane in planes):
        raise RejectedError("bad_spacing")
    directions = np.asarray([plane.orientation for plane in planes], dtype=np.float64)
    positions = np.asarray([plane.position for plane in planes], dtype=np.float64)
    if not (np.isfinite(directions).all() and np.isfinite(positions).all()):
        raise RejectedError("bad_affine")
    rows, columns = directions[:, :3], directions[:, 3:]
    lengths = np.linalg.norm([rows, columns], axis=2)
    off = np.maximum(np.abs(lengths - 1).max(axis=0), np.abs((rows * columns).sum(axis=1)))
    if (off > UNIT_VECTOR_TOLERANCE).any():
        raise RejectedError("bad_affine" if directions.any(axis=1).all() else "missing_geometry")


def _is_spacing(spacing: tuple[float, ...] | None) -> bool:
    return spacing is not None and all(math.isfinite(one) and one > 0 for one in spacing)


def compute_slice_depths(planes: Sequence[SlicePlane]) -> NDArray[np.float64]:
    """Compute the position of each slice along the normal of the first one.

    The normal is the cross product of row and column direction (LPS), of unit length.

    Returns
    -------
    ndarray, shape (slices,), float64
        Millimetres from the origin of the patient coordinate system.
    """
    return np.asarray([plane.position for plane in planes], dtype=np.float64) @ _normal(planes[0])


def _normal(plane: SlicePlane) -> NDArray[np.float64]:
    row, column = np.split(np.asarray(plane.orientation, dtype=np.float64), 2)
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def build_slice_stack(planes: Sequence[SlicePlane], min_slices: int) -> SliceStack:
    """Order slices of distinct positions and check that they form a volume.

    Parameters
    ----------
    planes
        Slices of one geometry, at least two.
    min_slices
        Fewest slices of a volume.

    Returns
    -------
    SliceStack
        Slices in order of the normal (cross product of row and column direction), with the affine to RAS+ mm.

    Raises
    ------
    RejectedError
        `too_few_slices`, `missing_slice` where a gap is a multiple of the others, `irregular_spacing`, or
        `gantry_tilt`.
    """
    if len(planes) < min_slices:
        raise RejectedError("too_few_slices")
    along = compute_slice_depths(planes)
    ordered = tuple(planes[index] for index in np.argsort(along, kind="stable"))
    positions = np.asarray([plane.position for plane in ordered], dtype=np.float64)
    _check_even_spacing(ordered, np.sort(along))
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    _check_straight(positions, step, _normal(ordered[0]))
    return SliceStack(ordered, _affine(ordered[0], step))


def _check_even_spacing(planes: tuple[SlicePlane, ...], along: NDArray[np.float64]) -> None:
    gaps = np.diff(along)
    rounding = min(POSITION_ROUNDING_MM, POSITION_ROUNDING_SHARE * float(gaps.mean()))
    if np.abs(along - np.linspace(along[0], along[-1], len(along))).max() <= rounding:
        return
    usual = float(np.median(gaps[gaps < 1.5 * gaps.min()]))  # where three slices are left, half of the gaps may be wide
    if usual < 0.1 * np.median(gaps):
        raise RejectedError("irregular_spacing")
    allowed = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_SHARE * usual)
    odd = np.flatnonzero(np.abs(gaps - usual) > allowed)
    if not odd.size:
        return
    times = gaps / usual
    whole = np.round(times)
    multiples = (whole[odd] >= 2) & (np.abs(times - whole)[odd] * usual <= allowed * whole[odd])
    if multiples.all() and not _numbered_through(planes, odd):
        raise RejectedError("missing_slice")
    raise RejectedError("irregular_spacing")


def _numbered_through(planes: tuple[SlicePlane, ...], odd: NDArray[np.intp]) -> bool:
    """Tell whether instance numbers step over wide gaps as over all others: then no slice is missing there."""
    numbers = [plane.instance for plane in planes]
    if any(number is None for number in numbers):
        return False
    steps = np.abs(np.diff(np.asarray(numbers, dtype=np.float64)))
    others = np.delete(steps, odd)
    return bool(others.size and others.min() == others.max() > 0 and (steps[odd] == others[0]).all())


def _check_straight(positions: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    if math.degrees(math.acos(min(1.0, cosine))) > MAX_TILT_DEGREES:
        raise RejectedError("gantry_tilt")
    line = positions[0] + np.arange(len(positions))[:, None] * step
    allowed = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_SHARE * float(np.linalg.norm(step))) * max(
        1, math.log2(len(positions))
    )
    allowed = max(allowed, min(POSITION_ROUNDING_MM, POSITION_ROUNDING_SHARE * float(np.linalg.norm(step))))
    if np.linalg.norm(positions - line, axis=1).max() > allowed:
        raise RejectedError("irregular_spacing")


def _affine(first: SlicePlane, step: NDArray[np.float64]) -> NDArray[np.float64]:
    row, column = np.split(np.asarray(first.orientation, dtype=np.float64), 2)
    between_rows, between_columns = first.spacing or (0.0, 0.0)
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = np.asarray(first.position)
    result: NDArray[np.float64] = LPS_TO_RAS @ affine
    return result
