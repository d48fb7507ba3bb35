"""Whether slices are missing that leave no gap: every second one, or one end of a series.

Positions alone cannot tell, since gaps between slices are common. Three things in headers can. Each may have another
reason, so only the first two together are a proof:

- Instance numbers that go on by two. Scanners number echoes in turn, and archives split them.
- Spacing Between Slices that fits several times between two slices. Reformatted images may keep that of their source.
- A stated number of slices that is larger than that of the slices there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from siamese_med.ingestion.dicom.instances import SlicePlane
from siamese_med.ingestion.reasons import RejectedError

GAP_TOLERANCE = 0.02
"""Largest deviation of the ratio of two spacings from a whole number. Source: our choice."""


def check_completeness(planes: Sequence[SlicePlane], step_mm: float, numbers: Sequence[int | None]) -> bool:
    """Tell whether slices may be missing in a stack that has no gap.

    Parameters
    ----------
    planes
        The slices in order.
    step_mm
        From one slice to the next.
    numbers
        Instance numbers of all slices of the series, which may have other volumes too.

    Returns
    -------
    bool
        Whether one of the three says so.

    Raises
    ------
    RejectedError
        `missing_slice`, where numbers and spacing agree that slices between the others are missing.
    """
    stride = find_number_stride(planes, numbers)
    skipped = count_steps_in_gap(planes, step_mm)
    if stride == skipped > 1:
        raise RejectedError("missing_slice")
    original = "DERIVED" not in _image_type(planes[0])
    numbered = stride > 1 and not _stated(planes[0], "spacing") and _leaves_room(planes[0], step_mm, stride)
    return numbered or (skipped > 1 and original) or (original and _states_more(planes, len(numbers)))


def check_concatenations(planes: Sequence[SlicePlane]) -> None:
    """Check that all parts of an enhanced file that was divided into several (a concatenation) are there.

    Raises
    ------
    RejectedError
        `missing_slice`.
    """
    parts: dict[str, set[int]] = defaultdict(set)
    totals: dict[str, int] = defaultdict(int)
    for said in {dict(plane.content).get("concatenation") for plane in planes}:
        if isinstance(said, tuple):
            parts[said[0]].add(said[1])
            totals[said[0]] = max(totals[said[0]], said[1], said[2])
    if any(len(parts[whole]) < total for whole, total in totals.items()):
        raise RejectedError("missing_slice")


def find_number_stride(planes: Sequence[SlicePlane], numbers: Sequence[int | None]) -> int:
    """Return by how much instance numbers go on from slice to slice, in a stack and in all of its series; else 1."""
    own = [plane.instance for plane in planes]
    strides = {abs(b - a) if a is not None and b is not None else 1 for a, b in pairwise(own)}
    if len(strides) > 1 or (stride := strides.pop()) < 2:
        return 1
    every = sorted({number for number in numbers if number is not None})
    return stride if all(b - a == stride for a, b in pairwise(every)) else 1


def count_steps_in_gap(planes: Sequence[SlicePlane], step_mm: float) -> int:
    """Return how often the stated spacing fits between two slices; 1 where it does not fit a whole number of times."""
    stated = {_stated(plane, "spacing") for plane in planes}
    spacing = stated.pop()
    if stated or not spacing or spacing <= 0:
        return 1
    times = step_mm / spacing
    return round(times) if round(times) > 1 and abs(times - round(times)) <= GAP_TOLERANCE * times else 1


def _leaves_room(plane: SlicePlane, step_mm: float, stride: int) -> bool:
    """Whether as many slices as are not there fit between two, by their thickness."""
    thickness = _stated(plane, "thickness")
    return not thickness or step_mm >= (1 - GAP_TOLERANCE) * stride * thickness


def _states_more(planes: Sequence[SlicePlane], count: int) -> bool:
    stated = _stated(planes[0], "stated slices")
    return bool(stated and count < stated)


def _stated(plane: SlicePlane, name: str) -> float | None:
    found = dict(plane.content).get(name)
    return found if isinstance(found, (int, float)) else None


def _image_type(plane: SlicePlane) -> Sequence[str]:
    found = dict(plane.content).get("image type")
    return found if isinstance(found, tuple) else ()
