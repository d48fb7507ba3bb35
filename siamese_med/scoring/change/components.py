"""The connected parts of the changed tissue: place, volume, p, and what became of it.

Step 7 of `pair_scoring`. Arrays are (i, j, k) on the pair grid, positions are mm (RAS+). Swapping the two scans
exchanges new and vanished, enlarging and shrinking, brighter and darker, and flips the sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.brain.regions import name_region
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.study.component import Component
from siamese_med.study.thresholds import (
    AROUND_PART_MM,
    BESIDE_PART_MM,
    BRIGHTEST_SHARE,
    MAX_COMPONENTS,
    MIN_BRIGHTEST_VOXELS,
    MIN_COMPONENT_ML,
    MIN_SAME_TISSUE_SHARE,
    MIN_SAME_TISSUE_VOLUME,
)
from siamese_med.study.vocabulary import ComponentKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Voxels = NDArray[np.float32]
    Box = tuple[slice, ...]


def find_components(
    pair: RegisteredPair,
    evidence: Tensor,
    changed: Tensor,
    p: Callable[[Tensor], float],
    to_template: NDArray[np.float64] | None = None,
    structures: Volume | None = None,
) -> list[Component]:
    """Find the connected parts of the changed tissue, strongest first, MAX_COMPONENTS at most.

    Voxels are connected across faces, edges and corners. A part has one sign and at least MIN_COMPONENT_ML.

    Parameters
    ----------
    pair
        The registered scans, which tell what a part was before.
    evidence
        Signed evidence (i, j, k).
    changed
        Changed tissue (i, j, k), bool.
    p
        From the evidence of one part, 0 elsewhere, to the chance that the whole map of a rescan is as strong.
    to_template
        4x4, mm of the earlier scan to template mm (RAS+); None where it could not be aligned to the template, so that
        the parts have no position there.
    structures
        The brain structures of the earlier scan, see `PairScan`; None where they are not known, so that the parts have
        no region.
    """
    signed = evidence.numpy()
    found = [
        (p(evidence[box] * torch.from_numpy(part)), -int(part.sum()), box, part, sign)
        for sign in (1, -1)
        for box, part in _connected_parts(changed.numpy() & (signed * sign > 0), pair.space)
    ]
    strongest = sorted(found, key=lambda one: one[:2])[:MAX_COMPONENTS]
    bright = tuple(_bright_level(scan, pair.inside) for scan in (pair.a, pair.b))
    return [
        _component(pair, box, part, sign, strength, bright, to_template, structures)
        for strength, _, box, part, sign in strongest
    ]


def mark_chance_component(part: Component, significance: float) -> Component:
    """Return the part, with the kind `may_be_chance` unless its p is below `significance`.

    Such a part is no stronger than the strongest place of a rescan.
    """
    return part if part.p is not None and part.p < significance else replace(part, kind=ComponentKind.MAY_BE_CHANCE)


def _connected_parts(mask: Mask, space: PairSpace) -> list[tuple[Box, Mask]]:
    """The connected parts that are large enough: a box with a margin of AROUND_PART_MM, and the part in it."""
    from scipy.ndimage import find_objects, label

    labels, count = label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * space.voxel_ml
    room = round(AROUND_PART_MM / space.spacing_mm) + 1
    parts = []
    for number, tight in enumerate(find_objects(labels), start=1):
        if sizes[number] >= MIN_COMPONENT_ML:
            box = tuple(
                slice(max(side.start - room, 0), min(side.stop + room, n))
                for side, n in zip(tight, mask.shape, strict=True)
            )
            parts.append((box, labels[box] == number))
    return parts


def _component(
    pair: RegisteredPair,
    box: Box,
    part: Mask,
    sign: int,
    p: float,
    bright: tuple[float, ...],
    to_template: NDArray[np.float64] | None,
    structures: Volume | None,
) -> Component:
    voxels = np.argwhere(part) + [side.start for side in box]
    to_earlier = pair.matrix_earlier @ pair.space.affine
    earlier = to_earlier @ [*voxels.mean(0), 1]
    places = voxels @ to_earlier[:3, :3].T + to_earlier[:3, 3]
    return Component(
        volume_ml=round(int(part.sum()) * pair.space.voxel_ml, 4),
        position_mm=(None,) * 3 if to_template is None else _round_place(to_template @ earlier),
        earlier_mm=_round_place(earlier),
        sign=sign,
        kind=_kind(pair, box, part, sign, bright),
        p=p,
        region=None if structures is None else name_region(structures, places),
    )


def _round_place(place: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 1) for value in place[:3])


def _bright_level(scan: Tensor, inside: Tensor) -> float:
    """The intensity from which on a voxel counts among the brightest of a scan."""
    shown = scan[inside].numpy()
    return float(np.quantile(shown, 1 - BRIGHTEST_SHARE)) if shown.size else float("inf")


def _kind(pair: RegisteredPair, box: Box, part: Mask, sign: int, bright: tuple[float, ...]) -> ComponentKind:
    """Decide whether bright tissue came or went, and whether the other date shows some of it too.

    A part that became brighter may also be dark tissue that went, and then nobody can tell from brightness alone
    whether a lesion shrank or a brighter one took its place: such a part is called no more than brighter, or darker.
    """
    from scipy.ndimage import distance_transform_edt

    away = distance_transform_edt(~part) * pair.space.spacing_mm
    shown = pair.inside[box].numpy()
    beside = shown & ~part & (away <= BESIDE_PART_MM)
    around = shown & (away > BESIDE_PART_MM) & (away <= AROUND_PART_MM)
    around = around if around.any() else ~part
    dates = [scan[box].numpy() for scan in (pair.a, pair.b)]
    there, other = (1, 0) if sign > 0 else (0, 1)  # the date that shows the brighter tissue, and the other one
    departure = _departure(dates[there], part, around)
    among_brightest = float((dates[there][part] >= bright[there]).mean()) >= MIN_BRIGHTEST_VOXELS
    if departure <= 0 or (departure < -_departure(dates[other], part, around) and not among_brightest):
        return ComponentKind.BRIGHTER if sign > 0 else ComponentKind.DARKER
    if _was_there_too(dates[other], part, beside, around, departure):
        return ComponentKind.ENLARGING if sign > 0 else ComponentKind.SHRINKING
    return ComponentKind.NEW if sign > 0 else ComponentKind.VANISHED


def _departure(date: Voxels, part: Mask, around: Mask) -> float:
    """Contrast of the part to its surroundings: difference of the medians, positive if it is brighter."""
    return float(np.median(date[part]) - np.median(date[around]))


def _was_there_too(other: Voxels, part: Mask, beside: Mask, around: Mask, departure: float) -> bool:
    """Whether the other date shows more tissue of the same kind in and beside the part than its surroundings do."""
    alike = other - np.median(other[around]) > MIN_SAME_TISSUE_SHARE * departure
    usual = alike[around].mean()
    there = alike[part].sum() + alike[beside].sum() - usual * (part.sum() + beside.sum())
    return bool(there > MIN_SAME_TISSUE_VOLUME * part.sum())
