"""Whether the slices of several series are one volume that an export has split.

Two series are put together only where their tags leave no other reading. Everything that describes an acquisition is
equal, the slices lie evenly spaced with none at one place, and instance numbers or the time of the acquisition tell
that the scanner made them as one stack. Enhanced files and mosaics state their own number of slices, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.ingestion.dicom import slice_geometry
from siamese_med.ingestion.dicom.instances import DicomInstance, SlicePlane
from siamese_med.ingestion.dicom.repeated_positions import ACQUISITION_CLOCK, ACQUISITION_NUMBER
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PAUSE_RATIO = 2.0
"""Maximum ratio of the longest pause between slices to the longest within a part. Source: our choice."""


def describe_acquisition(one: DicomInstance) -> Hashable | None:
    """Return all that slices of one acquisition share besides place and time of day; equal values, perhaps one volume.

    Returns
    -------
    Hashable or None
        Patient, study, frame of reference, series and acquisition number, direction, spacing and matrix, contrast,
        echo, component, kernel and the like. None where the header says too little to tell.
    """
    plane = one.planes[0]
    stated = one.study and one.series and plane.frame[0] and one.facts.number and plane.position
    if not stated or one.flaw or len(one.planes) > 1 or one.storage.tiles:
        return None
    timeless = replace(one.facts, clock="", acquired="")
    grid = (plane.rows, plane.columns, plane.orientation, plane.spacing, plane.frame)
    return one.issuer, one.patient, one.study, timeless, plane.content, grid, plane.time[:ACQUISITION_CLOCK]


def are_parts_of_one_volume(parts: Sequence[Sequence[DicomInstance]], min_slices: int) -> bool:
    """Tell whether series are parts of one volume, see the head of this module.

    Parameters
    ----------
    parts
        The files of each series, none empty.
    min_slices
        Fewest slices of a volume.
    """
    slices = [one for part in parts for one in part]
    described = {describe_acquisition(one) for one in slices}
    if len(described) > 1 or None in described or len({one.sop for one in slices}) < len(slices):
        return False
    if not (_agree(parts, lambda one: one.facts.clock) and _agree(parts, lambda one: one.facts.acquired)):
        return False
    planes = [one.planes[0] for one in slices]
    try:
        slice_geometry.check_slice_geometry(planes)
        stack = slice_geometry.build_slice_stack(planes, min_slices)
    except RejectedError:
        return False
    if not _lie_evenly([len(part) for part in parts], slice_geometry.compute_slice_depths(planes)):
        return False
    return (_numbered_through(stack.planes) and _without_pause(parts)) or _acquired_at_once(slices)


def _lie_evenly(sizes: Sequence[int], depths: NDArray[np.float64]) -> bool:
    """Tell whether the gaps between parts are as even as those within; rounded positions are uneven everywhere.

    `sizes`: number of slices of each part; `depths`: places of all slices along the normal, part by part, in mm.
    """
    gaps = np.diff(np.sort(depths))
    usual = float(np.median(gaps))
    within = [np.diff(np.sort(part)) for part in np.split(depths, np.cumsum(sizes)[:-1])]
    most = max((float(np.abs(some - usual).max()) for some in within if len(some)), default=0.0)
    tolerance = max(slice_geometry.SPACING_TOLERANCE_MM, slice_geometry.SPACING_TOLERANCE_SHARE * usual)
    return bool(np.abs(gaps - usual).max() <= max(tolerance, most))


def _agree(parts: Sequence[Sequence[DicomInstance]], read: Callable[[DicomInstance], str]) -> bool:
    """Tell whether a time is equal in all slices, or differs from slice to slice in every part."""
    times = [{read(one) for one in part} for part in parts]
    return len(set().union(*times)) == 1 or all(len(some) > 1 for some in times)


def _numbered_through(ordered: Sequence[SlicePlane]) -> bool:
    """Tell whether instance numbers run through the stack, by one from slice to slice."""
    numbers = [plane.instance for plane in ordered if plane.instance is not None]
    return len(numbers) == len(ordered) and {b - a for a, b in pairwise(numbers)} in ({1}, {-1})


def _without_pause(parts: Sequence[Sequence[DicomInstance]]) -> bool:
    """Tell whether slices with times of their own were acquired in one go: parts with a pause between are two scans."""
    times = [[_seconds(one.facts.acquired) for one in part if one.facts.acquired] for part in parts]
    within = max((_longest_pause(some) for some in times), default=0.0)
    return _longest_pause([one for some in times for one in some]) <= MAX_PAUSE_RATIO * within


def _longest_pause(seconds: Sequence[float]) -> float:
    return max((b - a for a, b in pairwise(sorted(seconds))), default=0.0)


def _seconds(acquired: str) -> float:
    clock = acquired.partition(" ")[2].ljust(6, "0")  # `ScanFacts.acquired` ends without zeros
    return 3600 * int(clock[:2]) + 60 * int(clock[2:4]) + float(clock[4:])


def _acquired_at_once(slices: Sequence[DicomInstance]) -> bool:
    """Tell whether all slices have one known time and number of acquisition."""
    acquired = {(one.facts.acquired, one.planes[0].time[ACQUISITION_NUMBER]) for one in slices}
    (moment, number), *others = acquired
    return bool(moment and number and not others)
