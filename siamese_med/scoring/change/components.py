"""What changed: the connected parts of a pair's map, where they lie, and what became of whatever is there.

Arrays are (i, j, k) on the pair's grid, positions mm (RAS+). Swapping the two scans turns new into vanished, enlarging
into shrinking, and the sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Voxels = NDArray[np.float32]
    Box = tuple[slice, ...]

MIN_COMPONENT_ML = 0.02
"""Smaller parts of the map are not listed."""
MAX_COMPONENTS = 20
"""No more parts than this are listed, the strongest first."""
PART_MARGIN_MM, SURROUNDINGS_MM = 3.0, 7.5
"""What lies this near belongs to the part; what lies within the second distance, and not so near, is around it."""
OPPOSITE_KINDS = {"new": "vanished", "vanished": "new", "enlarging": "shrinking", "shrinking": "enlarging"}
"""What each kind is when time runs backwards."""
SAME_TISSUE_CONTRAST_FRACTION = 0.65
"""Tissue that differs from what is around by this share of the difference that the part shows is of the same kind."""
PRESENT_BEFORE_FRACTION = 0.1
"""So much of it beside the part, as a share of the part's volume, says that it was there on the other date too."""


@dataclass(frozen=True)
class Component:
    """One part: ml, centre in template mm and in the earlier scan's mm, +1 brighter or -1 darker in the later scan.

    kind: new, enlarging, shrinking or vanished; `mark_stable_component` makes it stable where p is not significant,
    that is where a rescan's strongest place is as strong.
    """

    volume_ml: float
    position_mm: list[float]
    earlier_mm: list[float]
    sign: int
    kind: str
    p: float

    def as_json(self) -> dict[str, Any]:
        """For the pair's record."""
        return asdict(self)


def find_components(
    pair: RegisteredPair,
    evidence: Tensor,
    changed: Tensor,
    space: PairSpace,
    p: Callable[[Tensor], float],
) -> list[Component]:
    """The parts of `changed` (bool), strongest first; `p` tells how often a rescan's whole map is as strong as one."""
    signed = evidence.numpy()
    found = [
        (p(evidence[box] * torch.from_numpy(part)), -int(part.sum()), box, part, sign)
        for sign in (1, -1)
        for box, part in _connected_parts(changed.numpy() & (signed * sign > 0), space)
    ]
    strongest = sorted(found, key=lambda one: one[:2])[:MAX_COMPONENTS]
    return [_component(pair, box, part, space, sign, strength) for strength, _, box, part, sign in strongest]


def mark_stable_component(part: dict[str, Any], significance: float) -> dict[str, Any]:
    """A part's record where only parts with p below `significance` are more than `stable`."""
    return part if part["p"] < significance else {**part, "kind": "stable"}


def swap_component(part: dict[str, Any], to_earlier: NDArray[np.float64]) -> dict[str, Any]:
    """What a part's record says with the two scans swapped; `to_earlier` 4x4, pair's mm to those of the other scan."""
    place = to_earlier @ [*part["position_mm"], 1]
    kind = OPPOSITE_KINDS.get(part["kind"], part["kind"])
    earlier = [round(float(value), 1) for value in place[:3]]
    return {**part, "kind": kind, "sign": -part["sign"], "earlier_mm": earlier}


def _connected_parts(mask: Mask, space: PairSpace) -> list[tuple[Box, Mask]]:
    """Connected parts that are large enough: a box with room around, and the part in it."""
    from scipy.ndimage import find_objects, label

    labels, count = label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * space.voxel_ml
    room = round(SURROUNDINGS_MM / space.spacing_mm) + 1
    parts = []
    for number, tight in enumerate(find_objects(labels), start=1):
        if sizes[number] >= MIN_COMPONENT_ML:
            box = tuple(
                slice(max(side.start - room, 0), min(side.stop + room, n))
                for side, n in zip(tight, mask.shape, strict=True)
            )
            parts.append((box, labels[box] == number))
    return parts


def _component(pair: RegisteredPair, box: Box, part: Mask, space: PairSpace, sign: int, p: float) -> Component:
    centre = np.argwhere(part).mean(0) + [side.start for side in box]
    position = space.affine @ [*centre, 1]
    earlier = pair.matrix_earlier @ position
    return Component(
        volume_ml=round(int(part.sum()) * space.voxel_ml, 4),
        position_mm=[round(float(value), 1) for value in position[:3]],
        earlier_mm=[round(float(value), 1) for value in earlier[:3]],
        sign=sign,
        kind=_kind(pair, box, part, space.spacing_mm),
        p=p,
    )


def _kind(pair: RegisteredPair, box: Box, part: Mask, spacing_mm: float) -> str:
    """Whether something appeared or went there, and whether some of it was there before or is there still."""
    from scipy.ndimage import distance_transform_edt

    away = distance_transform_edt(~part) * spacing_mm
    shown = pair.inside[box].numpy()
    beside = shown & ~part & (away <= PART_MARGIN_MM)
    around = shown & (away > PART_MARGIN_MM) & (away <= SURROUNDINGS_MM)
    around = around if around.any() else ~part
    dates = [scan[box].numpy() for scan in (pair.a, pair.b)]
    departures = [_departure(date, part, around) for date in dates]
    appears = abs(departures[1]) >= abs(departures[0])
    departure, other = (departures[1], dates[0]) if appears else (departures[0], dates[1])
    if _was_there_too(other, part, beside, around, departure):
        return "enlarging" if appears else "shrinking"
    return "new" if appears else "vanished"


def _departure(date: Voxels, part: Mask, around: Mask) -> float:
    """How much brighter (or darker, negative) the part is than what lies around it."""
    return float(np.median(date[part]) - np.median(date[around]))


def _was_there_too(other: Voxels, part: Mask, beside: Mask, around: Mask, departure: float) -> bool:
    """Whether the other date shows tissue of the same kind in or beside the part, more than further away."""
    alike = (other - np.median(other[around])) * np.sign(departure) > SAME_TISSUE_CONTRAST_FRACTION * abs(departure)
    usual = alike[around].mean()
    there = alike[part].sum() + alike[beside].sum() - usual * (part.sum() + beside.sum())
    return bool(there > PRESENT_BEFORE_FRACTION * part.sum())
