"""From the files of a series to its volumes: one patient, one geometry, no position twice; or the reason why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from siamese_med.ingestion.dicom import repeated_positions, scouts, series_completeness, slice_geometry
from siamese_med.ingestion.dicom.instances import DicomInstance, ScanFacts, SlicePlane
from siamese_med.ingestion.dicom.slice_geometry import SliceStack
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag

VOLUME_ATTRIBUTES = (
    "component", "image type", "echo", "echo time", "inversion", "flip", "kernel", "filter", "reconstruction", "energy",
    "correction", "unit", "agent", "coil", "thickness", "series number", "description",
)  # fmt: skip
"""Attributes that separate volumes at one position; other differences are time. The order is part of scan names."""

DIRECTION_TOLERANCE = 1e-3
"""Largest difference between components of direction cosines of one geometry."""

RELATIVE_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacing within one geometry."""

MAX_FIELD_MAP_REPEATS = 4
"""Repeats up to which a field map counts as static: its first volume is taken without `volume_of_4d`."""

MIN_CONSTANT_UIDS = 3
"""Files with one SOP instance UID from which on it is an anonymiser's: of two, one may be a version of the other."""

MAX_GEOMETRIES = 64
"""Geometries in one series, above which it is refused; a bound on work for hostile input."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class VolumeDraft:
    """One volume of a series.

    `part` names the volume within its series, equally in every run. `repeats` has one stack, unless the configuration
    takes the mean of a 4D series. `storages` has the files by content hash.
    """

    part: str  # which volume of the series, equal in every run
    repeats: tuple[SliceStack, ...]
    facts: ScanFacts
    storages: dict[str, DicomInstance]
    flags: tuple[str, ...] = ()


@dataclass
class SeriesVerdict:
    """Result for a series: its volumes, and a reason word for each file (by content hash) in none of them."""

    drafts: list[VolumeDraft] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def assess_series(
    instances: Sequence[DicomInstance], config: IngestConfig, subject_given: bool = False
) -> SeriesVerdict:
    """Decide which volumes the files of one series make up.

    Parameters
    ----------
    instances
        All files of one series, of distinct content; or of several, see `joined_series`.
    config
        Limits, and what to do with 4D series.
    subject_given
        Whether a manifest names the subject, so that no PatientID is needed.

    Returns
    -------
    SeriesVerdict
        Volumes and reasons. A series with two patients, a missing slice or equal SOP instance UIDs gives no volume at
        all.
    """
    verdict = SeriesVerdict()
    try:
        _check_one_patient(instances, subject_given)
        _check_distinct_uids(instances)
        broken = {one.content: one.flaw for one in instances if one.flaw}
        verdict.reasons.update(broken)
        sound = _without_copies([one for one in instances if not one.flaw], verdict)
        if broken and sound:
            raise RejectedError("missing_slice")
        for number, visit in enumerate(_by_day(scouts.leave_out_unplaced(sound, verdict.reasons))):
            _draft(f"day {number}, " if number else "", visit, config, verdict)
    except RejectedError as rejected:
        for one in instances:
            verdict.reasons.setdefault(one.content, rejected.reason)
        verdict.drafts.clear()
    return verdict


def _check_one_patient(instances: Sequence[DicomInstance], subject_given: bool) -> None:
    patients = {(one.issuer, one.patient) for one in instances}
    if len(patients) > 1 and len({patient for _, patient in patients} - {""}) == 0:
        raise RejectedError("missing_patient_id")
    if len(patients) > 1:
        raise RejectedError("patient_conflict")
    if not subject_given and not next(iter(patients))[1]:
        raise RejectedError("missing_patient_id")


def _check_distinct_uids(instances: Sequence[DicomInstance]) -> None:
    """Refuse equal SOP instance UIDs: the files differ in content, so one UID would stand for two objects.

    One UID in all files, each at a place of its own, is what an anonymiser wrote, and says nothing.
    """
    places = {one.planes[0].position for one in instances}
    if len({one.sop for one in instances}) == 1 and MIN_CONSTANT_UIDS <= len(places) == len(instances):
        return
    if any(uid and count > 1 for uid, count in Counter(one.sop for one in instances).items()):
        raise RejectedError("sop_uid_conflict")


def _without_copies(instances: Sequence[DicomInstance], verdict: SeriesVerdict) -> list[DicomInstance]:
    """Leave out single slices with the position and the pixels of another one."""
    kept: list[DicomInstance] = []
    for alike in _grouped(sorted(instances, key=lambda one: one.content), _place_and_kind).values():
        pixels = [one.pixel_digest() for one in alike] if len(alike) > 1 else []
        for number, one in enumerate(alike):
            if number and pixels[number] in pixels[:number]:
                verdict.reasons[one.content] = "duplicate"
            else:
                kept.append(one)
    return kept


def _place_and_kind(one: DicomInstance) -> Hashable:
    plane = one.planes[0]
    if plane.position is None:
        return one.content
    return plane.position, plane.content, plane.time[:-1], len(one.planes)


def _by_day(instances: Sequence[DicomInstance]) -> list[list[DicomInstance]]:
    """Part the slices by their dates where one place has slices of several: they are visits under one series UID."""
    days = _grouped(instances, lambda one: one.day)
    if len(days) < 2 or None in days:
        return [list(instances)] if instances else []
    places = [{plane.position for one in some for plane in one.planes} for some in days.values()]
    if sum(map(len, places)) == len(set().union(*places)):
        return [list(instances)]
    return [days[day] for day in sorted(days, key=str)]


def _draft(name: str, instances: Sequence[DicomInstance], config: IngestConfig, verdict: SeriesVerdict) -> None:
    by_content = {one.content: one for one in instances}
    planes = [plane for one in instances for plane in one.planes]
    series_completeness.check_concatenations(planes)
    slice_geometry.check_slice_geometry(planes)
    planes = _share_frame(planes)
    scouts.refuse_planning_series(_by_geometry(planes), config.min_slices)
    parts = _by_geometry(scouts.leave_out_scouts(_by_geometry(planes), config.min_slices, verdict.reasons))
    for number, part in enumerate(parts):
        try:
            _draft_part(f"{name}geometry {number}", part, by_content, config, verdict)
        except RejectedError as rejected:
            raise RejectedError("mixed_geometry" if len(parts) > 1 else rejected.reason) from rejected


def _share_frame(planes: list[SlicePlane]) -> list[SlicePlane]:
    """Give all slices one frame of reference where each place has its own, or some have none.

    Some anonymisers write it so.
    """
    places: dict[str, set[Hashable]] = defaultdict(set)
    for plane in planes:
        places[plane.frame[0]].add(plane.position)
    of_a_place = len(places) > 1 and max(map(len, places.values())) == 1
    if not of_a_place and (len(places) != 2 or "" not in places):
        return planes
    return [replace(plane, frame=("", plane.frame[1])) for plane in planes]


def _by_geometry(planes: Iterable[SlicePlane]) -> list[list[SlicePlane]]:
    """Planes of one matrix, spacing, direction, frame of reference and stack, in an order of their own."""
    parts: list[list[SlicePlane]] = []
    known: dict[Hashable, list[SlicePlane]] = {}  # exact matches, as nearly all slices of a series are
    for plane in planes:
        letter = (plane.rows, plane.columns, plane.frame, plane.orientation, plane.spacing)
        if letter not in known:
            known[letter] = next((part for part in parts if _alike(part[0], plane)), [])
        part = known[letter]
        if not part:
            parts.append(part)
        part.append(plane)
        if len(parts) > MAX_GEOMETRIES:
            raise RejectedError("mixed_geometry")
    return sorted(parts, key=lambda part: (part[0].rows, part[0].columns, part[0].orientation, part[0].frame))


def _alike(one: SlicePlane, other: SlicePlane) -> bool:
    if (one.rows, one.columns, one.frame) != (other.rows, other.columns, other.frame):
        return False
    turned = (abs(a - b) for a, b in zip(one.orientation or (), other.orientation or (), strict=True))
    scaled = (abs(a - b) / a for a, b in zip(one.spacing or (), other.spacing or (), strict=True))
    return max(turned) <= DIRECTION_TOLERANCE and max(scaled) <= RELATIVE_SPACING_TOLERANCE


def _draft_part(
    name: str,
    planes: list[SlicePlane],
    instances: dict[str, DicomInstance],
    config: IngestConfig,
    verdict: SeriesVerdict,
) -> None:
    contents = _by_content(name, planes)
    failures: dict[str, str] = {}
    for part, group in contents.items():
        try:
            verdict.drafts.append(_volume(part, group, instances, config, verdict))
        except RejectedError as rejected:
            failures[part] = rejected.reason
    if len(failures) == len(contents):
        raise RejectedError(next(iter(failures.values())))
    for part, reason in failures.items():
        for plane in contents[part]:
            verdict.reasons.setdefault(plane.file, reason)


def _by_content(name: str, planes: list[SlicePlane]) -> dict[str, list[SlicePlane]]:
    """Split by echo, component and the like, but only where one position occurs more than once."""
    groups = {name: planes}
    if len(_places(planes)) == len(planes):
        return groups
    for attribute in VOLUME_ATTRIBUTES:
        groups = {part: one for label, group in groups.items() for part, one in _split(label, group, attribute).items()}
    return groups


def _split(label: str, planes: list[SlicePlane], attribute: str) -> dict[str, list[SlicePlane]]:
    if len(_places(planes)) == len(planes):
        return {label: planes}
    parts = _grouped(planes, lambda plane: _said(plane, attribute))
    if len(parts) == 1 or min(map(len, parts.values())) == 1 or not _differs_in_place(planes, attribute):
        return {label: planes}
    return {f"{label}, {attribute} {key}": parts[key] for key in sorted(parts)}


def _said(plane: SlicePlane, attribute: str) -> str:
    return str(dict(plane.content).get(attribute))


def _differs_in_place(planes: list[SlicePlane], attribute: str) -> bool:
    """Tell whether slices of one position differ in an attribute, rather than one end of the stack from the other."""
    repeated = [place for place in _places(planes) if len(place) > 1]
    differing = sum(len({_said(plane, attribute) for plane in place}) > 1 for place in repeated)
    return 2 * differing >= len(repeated)


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _places(planes: list[SlicePlane]) -> list[list[SlicePlane]]:
    """Group planes by position along the normal, within `POSITION_TOLERANCE_MM`."""
    along = slice_geometry.compute_slice_depths(planes)
    order = np.argsort(along, kind="stable")
    places: list[list[SlicePlane]] = []
    for before, index in zip([-1, *order[:-1]], order, strict=True):
        if before < 0 or along[index] - along[before] > slice_geometry.POSITION_TOLERANCE_MM:
            places.append([])
        places[-1].append(planes[index])
    return places


def _volume(
    part: str,
    planes: list[SlicePlane],
    instances: dict[str, DicomInstance],
    config: IngestConfig,
    verdict: SeriesVerdict,
) -> VolumeDraft:
    places = _places(planes)
    storages = {plane.file: instances[plane.file] for plane in planes}
    facts = instances[min(planes, key=lambda plane: (plane.time, plane.file)).file].facts
    flags = _flags(planes, storages.values())
    if max(map(len, places)) == 1:
        stack = slice_geometry.build_slice_stack(planes, config.min_slices)
        flags = (*flags, *_flag_completeness(stack, instances))
        return VolumeDraft(part, (stack,), facts, storages, flags)
    wanted = _repeats(places, facts, config)
    built = tuple(slice_geometry.build_slice_stack(volume, config.min_slices) for volume in wanted)
    used = {plane.file for stack in built for plane in stack.planes}
    for left_out in storages.keys() - used:
        verdict.reasons[left_out] = "repeat"
    word = ScanFlag.MEAN_OF_REPEATS if len(built) > 1 else ScanFlag.FIRST_OF_REPEATS
    return VolumeDraft(part, built, facts, {file: storages[file] for file in sorted(used)}, (*flags, word))


def _flag_completeness(stack: SliceStack, instances: Mapping[str, DicomInstance]) -> tuple[str, ...]:
    """Flag a stack in which slices may be missing; raises RejectedError where they are. Mosaics place tiles by rule."""
    if any(instances[plane.file].storage.tiles for plane in stack.planes[:1]):
        return ()
    numbers = [plane.instance for one in instances.values() for plane in one.planes]
    step_mm = float(np.linalg.norm(stack.affine[:3, 2]))
    missing = series_completeness.check_completeness(stack.planes, step_mm, numbers)
    return (ScanFlag.INCOMPLETE_SERIES,) if missing else ()


def _repeats(places: list[list[SlicePlane]], facts: ScanFacts, config: IngestConfig) -> list[list[SlicePlane]]:
    """Return the volumes to take of a 4D series, in time order, or raise RejectedError."""
    counts = [len(place) for place in places]
    if len(places) == 1 or 2 * sum(count > 1 for count in counts) < len(counts):
        raise RejectedError("duplicate_position")
    volumes = repeated_positions.split_into_volumes(places, facts.modality)
    static = facts.field_map and max(counts) <= MAX_FIELD_MAP_REPEATS
    if config.volume_of_4d == "refuse" and not static:
        raise RejectedError("ndim_4")
    return volumes if config.volume_of_4d == "mean" else volumes[:1]


def _flags(planes: list[SlicePlane], instances: Iterable[DicomInstance]) -> tuple[str, ...]:
    instances = list(instances)
    flags = {flag for one in instances for flag in one.facts.flags}
    if len({one.series for one in instances}) > 1:
        flags.add(ScanFlag.JOINED_SERIES)
    if len({(plane.slope, plane.intercept) for plane in planes}) > 1:
        flags.add(ScanFlag.RESCALE_VARIES)
    if planes[0].component != "magnitude":
        flags.add(ScanFlag.PHASE)
    return tuple(sorted(flags))
