"""Planning slices that were stored in the series of a volume: a few slices that lie across it, or beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, MutableMapping, Sequence

import numpy as np

from siamese_med.ingestion.dicom import slice_geometry
from siamese_med.ingestion.dicom.instances import DicomInstance, SlicePlane
from siamese_med.ingestion.reasons import RejectedError

SCOUT_REASON = "localizer"

MAX_SCOUT_SHARE = 0.25
"""Scouts are at most this share of the volume's slices. Source: our choice."""

SCOUT_GAP_MM = 15.0
"""Parallel planning slices lie at least so far apart; slices of a volume lie closer. Source: our choice."""

PLANNING_DIRECTIONS, PLANNING_GAP_MM = 3, 8.0
"""A series of at least so many directions, whose slices all lie at least so far apart, is for planning. Source: our
choice: slices of examinations of the head are 6 mm apart at most."""

LINE_TOLERANCE_MM = 1.0
"""Slices of one volume lie on one line along their normal, to this much."""


def leave_out_unplaced(instances: Sequence[DicomInstance], reasons: MutableMapping[str, str]) -> list[DicomInstance]:
    """Leave out a few pictures without a place, such as collages, whose matrix is none of the placed slices.

    Parameters
    ----------
    instances
        The files of a series.
    reasons
        Gets `missing_geometry` for every file that is left out.
    """
    placed = [one for one in instances if _is_placed(one)]
    matrices = {(one.storage.rows, one.storage.columns) for one in placed}
    others = [one for one in instances if not _is_placed(one)]
    if len(others) > MAX_SCOUT_SHARE * len(placed) or any(
        (one.storage.rows, one.storage.columns) in matrices for one in others
    ):
        return list(instances)
    reasons.update({one.content: "missing_geometry" for one in others})
    return placed


def _is_placed(one: DicomInstance) -> bool:
    return all(plane.position and plane.orientation for plane in one.planes)


def refuse_planning_series(parts: Sequence[list[SlicePlane]], min_slices: int) -> None:
    """Refuse a series of a few, widely spaced slices in three directions: a localizer that nothing calls one.

    Parameters
    ----------
    parts
        The planes of a series, by matrix, spacing and direction.
    min_slices
        Fewer slices than this are no volume.

    Raises
    ------
    RejectedError
        SCOUT_REASON.
    """
    normals = {_find_axis(part[0]) for part in parts}
    few = (len(part) < min_slices or _find_least_gap_mm(part) >= PLANNING_GAP_MM for part in parts)
    if len(normals) >= PLANNING_DIRECTIONS and all(few):
        raise RejectedError(SCOUT_REASON)


def _find_axis(plane: SlicePlane) -> int:
    """Return which axis of the patient the normal of a slice is nearest to."""
    row, column = np.reshape(plane.orientation or (), (2, 3))
    return int(np.abs(np.cross(row, column)).argmax())


def _find_least_gap_mm(line: Sequence[SlicePlane]) -> float:
    return float(np.diff(np.sort(slice_geometry.compute_slice_depths(line))).min())


def leave_out_scouts(
    parts: Sequence[list[SlicePlane]], min_slices: int, reasons: MutableMapping[str, str]
) -> list[SlicePlane]:
    """Leave out slices that belong to no volume where all others make up a whole one.

    Parameters
    ----------
    parts
        The planes of a series, by matrix, spacing and direction.
    min_slices
        Fewer slices than this are no volume.
    reasons
        Gets SCOUT_REASON for every file that is left out.

    Returns
    -------
    list of SlicePlane
        The planes of the volume; all planes where it is not clear which ones are scouts.
    """
    planes = [plane for part in parts for plane in part]
    lines = [line for part in parts for line in _group_by_line(part)]
    volume = max(lines, key=len)
    others = [line for line in lines if line is not volume]
    number = sum(map(len, others))
    if not 0 < number <= MAX_SCOUT_SHARE * len(volume):
        return planes
    if any(len(line) >= min_slices and not _stand_apart(line) for line in others):
        return planes
    if {plane.file for line in others for plane in line} & {plane.file for plane in volume}:
        return planes  # frames of one file
    try:
        slice_geometry.build_slice_stack(volume, min_slices)
    except RejectedError:
        return planes
    if any(_continues(volume, plane) for line in others for plane in line):
        return planes
    reasons.update({plane.file: SCOUT_REASON for line in others for plane in line})
    return volume


def _stand_apart(line: Sequence[SlicePlane]) -> bool:
    """Whether slices lie farther apart than those of any volume, as planning slices through a head do."""
    return _find_least_gap_mm(line) >= SCOUT_GAP_MM


def _continues(volume: Sequence[SlicePlane], plane: SlicePlane) -> bool:
    """Whether a slice begins where the volume's next one would: then it is one of its own with a broken direction."""
    depths = slice_geometry.compute_slice_depths(volume)
    first, second, *_, last_but_one, last = (
        np.asarray(volume[place].position, dtype=float) for place in np.argsort(depths)
    )
    places = np.stack([2 * first - second, 2 * last - last_but_one])
    step = float(np.linalg.norm(second - first))
    return bool(np.linalg.norm(places - np.asarray(plane.position, dtype=float), axis=1).min() < step)


def _group_by_line(planes: Iterable[SlicePlane]) -> list[list[SlicePlane]]:
    """Group planes of one direction by where their first voxel lies across the normal."""
    lines: dict[tuple[int, ...], list[SlicePlane]] = defaultdict(list)
    for plane in planes:
        axes = np.reshape(plane.orientation or (), (2, 3))
        across = axes @ np.asarray(plane.position, dtype=float)
        lines[tuple(round(float(one) / LINE_TOLERANCE_MM) for one in across)].append(plane)
    return list(lines.values())
