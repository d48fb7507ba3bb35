"""Division of slices into volumes where a series has several slices at each position (4D).

Only tags decide. A tag separates volumes when its values divide the slices into complete volumes, or when its values,
in order, run through one volume after the other. Where no tag does, the slices are not combined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter

from siamese_med.ingestion.dicom.instances import SlicePlane
from siamese_med.ingestion.reasons import RejectedError

SlicesByPlace = list[list[SlicePlane]]
"""Slices by position; within a position in any order."""

(
    TEMPORAL_POSITION,
    ACQUISITION_NUMBER,
    TRIGGER_TIME,
    DIFFUSION_B_VALUE,
    FRAME_REFERENCE_TIME,
    ACQUISITION_CLOCK,
    INSTANCE_NUMBER,
) = range(7)
"""Indices into `SlicePlane.time`."""

VOLUME_TAGS: tuple[Callable[[SlicePlane], Hashable], ...] = (
    *(
        lambda plane, which=which: plane.time[which]
        for which in (TEMPORAL_POSITION, ACQUISITION_NUMBER, TRIGGER_TIME, DIFFUSION_B_VALUE)
    ),
    lambda plane: dict(plane.content).get("gradient"),
    lambda plane: dict(plane.content).get("sequence"),
    *(lambda plane, which=which: plane.time[which] for which in (FRAME_REFERENCE_TIME, ACQUISITION_CLOCK)),
    lambda plane: plane.file,
)
"""Tags with one value for all slices of a volume and another value for the next; last, a file of many slices."""

GROWING_TIME_TAGS = (TRIGGER_TIME, FRAME_REFERENCE_TIME, ACQUISITION_CLOCK, INSTANCE_NUMBER)
"""Tags that may grow from slice to slice."""


MIN_NUMBERED_REPEATS = 4
"""Repeats from which on slices that differ in instance number only, position by position, count as a time series."""


def split_into_volumes(places: SlicesByPlace, modality: str) -> SlicesByPlace:
    """Split the slices of a 4D series into complete volumes.

    Philips scanners number a functional series position by position and may write no other tag. A CT series like that
    is more likely several reconstructions in unknown order, so for CT the instance number alone does not decide.

    Parameters
    ----------
    places
        The slices at each position.
    modality
        MR, CT or PT.

    Returns
    -------
    list of list of SlicePlane
        Volumes in time order, each with one slice per position.

    Raises
    ------
    RejectedError
        `unclear_repeats` where no tag tells the volumes' slices apart, `missing_slice` where every volume lacks a
        slice.
    """
    place_of = {(plane.file, plane.index): number for number, place in enumerate(places) for plane in place}
    groups = [[plane for place in places for plane in place]]
    for tag in VOLUME_TAGS:
        groups = [part for group in groups for part in _split_by_value(group, tag, place_of)]
    groups = [volume for group in groups for volume in _split_by_order(group, place_of, modality != "CT")]
    whole = [group for group in groups if len(group) == len(places)]
    if not whole:
        raise RejectedError("missing_slice")
    return sorted(whole, key=lambda volume: min(plane.time for plane in volume))


def _split_by_value(
    group: list[SlicePlane], tag: Callable[[SlicePlane], Hashable], place_of: Mapping[tuple[str, int], int]
) -> SlicesByPlace:
    """Split by equal value, where at least one part has every position of the group; else return the group as it is."""
    parts: dict[Hashable, list[SlicePlane]] = defaultdict(list)
    for plane in group:
        parts[tag(plane)].append(plane)
    covered = _places_of(group, place_of)
    if len(covered) == len(group) or len(parts) == 1:
        return [group]
    if not any(_places_of(part, place_of) == covered for part in parts.values()):
        return [group]  # the value changes from slice to slice
    return [parts[value] for value in sorted(parts, key=lambda value: (str(type(value)), value))]


def _split_by_order(
    group: list[SlicePlane], place_of: Mapping[tuple[str, int], int], numbers_count: bool
) -> SlicesByPlace:
    by_place: dict[int, list[SlicePlane]] = defaultdict(list)
    for plane in group:
        by_place[place_of[plane.file, plane.index]].append(plane)
    if len(by_place) == len(group):
        return [group]
    for which in GROWING_TIME_TAGS:
        ordered = [sorted(place, key=lambda plane: plane.time[which]) for _, place in sorted(by_place.items())]
        values = [[plane.time[which] for plane in place] for place in ordered]
        if _runs_through(values, which) or (which == INSTANCE_NUMBER and numbers_count and _numbered_by_place(values)):
            return [list(volume) for volume in zip(*ordered, strict=True)]
    raise RejectedError("unclear_repeats")


def _runs_through(values: Sequence[Sequence[float]], which: int) -> bool:
    """Tell whether the order within each position is that of the volumes; `values` are by position, in order.

    It is for the time since the heart beat, which differs between the slices of one phase. Otherwise one volume must
    end before the next begins; or, except for instance numbers, all slices of one position come before the next
    position.
    """
    if len({len(place) for place in values}) > 1 or any(a == b for place in values for a, b in pairwise(place)):
        return False
    by_volume = list(zip(*values, strict=True))
    one_by_one = _one_after_the_other(by_volume) or (which != INSTANCE_NUMBER and _one_after_the_other(values))
    return which == TRIGGER_TIME or one_by_one


def _numbered_by_place(values: Sequence[Sequence[float]]) -> bool:
    """Tell whether every position has its own run of numbers with equal steps, long enough to be a time series."""
    steps = {tuple(b - a for a, b in pairwise(place)) for place in values}
    return len(steps) == 1 and len(values[0]) >= MIN_NUMBERED_REPEATS and _one_after_the_other(values)


def _one_after_the_other(runs: Sequence[Sequence[float]]) -> bool:
    spans = sorted(((min(run), max(run)) for run in runs), key=itemgetter(0))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _places_of(planes: Sequence[SlicePlane], place_of: Mapping[tuple[str, int], int]) -> set[int]:
    return {place_of[plane.file, plane.index] for plane in planes}
