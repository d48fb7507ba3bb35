"""Which slices make up one volume where a series takes its places several times (4D).

Only tags decide. A tag tells volumes apart when its values split the slices into whole volumes, or when its values, put
in order, run through one volume after the other. Where no tag does, nothing is put together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter

from siamese_med.ingestion.dicom.instances import SlicePlane
from siamese_med.ingestion.reasons import RejectedError

SlicesByPlace = list[list[SlicePlane]]
"""Slices by where they lie."""

(
    TEMPORAL_POSITION,
    ACQUISITION_NUMBER,
    TRIGGER_TIME,
    DIFFUSION_B_VALUE,
    FRAME_REFERENCE_TIME,
    ACQUISITION_CLOCK,
    INSTANCE_NUMBER,
) = range(7)
"""Where `Plane.time` has them."""

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
"""Tags that may have one value for all slices of a volume and another one for the next; last, a file of many slices."""

GROWING_TIME_TAGS = (TRIGGER_TIME, FRAME_REFERENCE_TIME, ACQUISITION_CLOCK, INSTANCE_NUMBER)
"""Tags that may grow from slice to slice."""


MIN_NUMBERED_REPEATS = 4
"""Repeats from which on images that are only numbered, place by place, are taken for a series in time."""


def split_into_volumes(places: SlicesByPlace, modality: str) -> SlicesByPlace:
    """The whole volumes in time order, each with one slice of every place.

    Philips' scanners number a functional series place by place and may write no other tag. A CT of that kind would
    rather be several reconstructions, in whatever order.

    Raises RejectedError: unclear_repeats where no tag tells one volume's slices from another's, missing_slice where
    every volume lacks a slice.
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
    """Parts of equal value, where at least one of them has every place of the group; else the group as it is."""
    parts: dict[Hashable, list[SlicePlane]] = defaultdict(list)
    for plane in group:
        parts[tag(plane)].append(plane)
    covered = _places_of(group, place_of)
    if len(covered) == len(group) or len(parts) == 1:
        return [group]
    if not any(_places_of(part, place_of) == covered for part in parts.values()):
        return [group]  # it changes from slice to slice
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
    """Whether the order within each place is that of the volumes; `values`: by place, in order.

    It is for the time since the heart beat, which is another one for each slice of a phase. Else one volume must end
    before the next begins; or, but not for a mere number, all that was taken at one place come before the next place.
    """
    if len({len(place) for place in values}) > 1 or any(a == b for place in values for a, b in pairwise(place)):
        return False
    by_volume = list(zip(*values, strict=True))
    one_by_one = _one_after_the_other(by_volume) or (which != INSTANCE_NUMBER and _one_after_the_other(values))
    return which == TRIGGER_TIME or one_by_one


def _numbered_by_place(values: Sequence[Sequence[float]]) -> bool:
    """Whether every place has a run of numbers of its own, all in the same steps, and long enough to be a series."""
    steps = {tuple(b - a for a, b in pairwise(place)) for place in values}
    return len(steps) == 1 and len(values[0]) >= MIN_NUMBERED_REPEATS and _one_after_the_other(values)


def _one_after_the_other(runs: Sequence[Sequence[float]]) -> bool:
    spans = sorted(((min(run), max(run)) for run in runs), key=itemgetter(0))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _places_of(planes: Sequence[SlicePlane], place_of: Mapping[tuple[str, int], int]) -> set[int]:
    return {place_of[plane.file, plane.index] for plane in planes}
