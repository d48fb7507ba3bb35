"""Synthetic follow-ups from scans without change: known changes plus the effects of two acquisitions.

A source is one scan, or two scans of a patient between which nothing changed, on the pair's grid. Known changes are
put into a patch first, then each date passes through an acquisition of its own. Everything is drawn from a seed.
Where somebody marked what changed between two scans, the marks are the known change, and none is put in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siamese_med.imaging import intensity
from siamese_med.runtime import files
from siamese_med.training import synthetic_lesions
from siamese_med.training.patch_acquisition import (
    MARGIN_VOXELS,
    PADDED_PATCH_VOXELS,
    blur_and_slice,
    draw_displacement,
    draw_mass_effect,
    simulate_acquisition,
    warp_patch,
)

Stack = NDArray[np.float16]
"""The images of a source (3 or 4, i, j, k), memory-mapped."""

CHANGED_MIN_DIFFERENCE = 0.1
"""Smallest difference of a changed voxel between the dates, as a share of bright tissue. From half of it on, a voxel is
unclear and has no weight.
"""
LESION_FREE_FRACTION = 0.25
"""Share of patches without a lesion."""
MAX_LESIONS = 4
"""Largest number of lesions in a patch."""

MASS_EFFECT_FRACTION = 0.3
"""Share of patches with a smooth local change of volume, which moves borders but is no focal change."""
LESION_CONTRAST_LOG_SD = 0.25
"""Standard deviation of the logarithm of an unchanged lesion's contrast from one acquisition to another."""
TISSUE_RANGE_LOG_SD = 0.25
"""Standard deviation of the logarithm of the intensity range of bright tissue, from study to study."""
REAL_PAIR_STRENGTH = 0.35
"""Strength of simulated acquisition effects on real pairs, which already have those of two acquisitions."""
CENTRED_ON_MARK_FRACTION = 0.5
"""Share of the patches of a marked pair that are centred on a marked voxel: few others would have any."""
MARKED_MIN_SHARE, UNMARKED_MAX_SHARE = 0.5, 0.1
"""Shares of a voxel that are marked, from which it counts as changed, and up to which as unchanged."""


@dataclass(frozen=True)
class ChangeSource:
    """A pair of scans without change, or a single scan, that synthetic follow-ups are made of.

    Parameters
    ----------
    path
        .npy file, float16 (3, i, j, k): scan a, scan b (a again where there is no other), body mask 0 or 1. Of a marked
        pair (4, i, j, k): the last is the share of each voxel that is marked as changed, negative where b is darker.
    middle
        Median intensity inside the body, see `intensity.measure_median_brightness`.
    spacing_mm
        Edge of the cubic voxels.
    paired
        Whether a and b are different scans.
    marked
        Whether it is known what changed between a and b.
    """

    path: Path
    middle: float
    spacing_mm: float
    paired: bool
    marked: bool = False


@dataclass(frozen=True)
class ChangeBatch:
    """Patches (b, 1, i, j, k): both dates as the network sees them, body mask, true sign of change, and weight of each
    voxel.
    """

    earlier: Tensor
    later: Tensor
    inside: Tensor
    truth: Tensor
    weight: Tensor


def write_change_source(
    path: Path, a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float, marks: Tensor | None = None
) -> ChangeSource:
    """Save two scans and their body mask as a source; patches are later read from the file.

    `a`, `b` and `inside` are (i, j, k) on one grid with cubic voxels of `spacing_mm`, in normalised intensity. Nothing
    changed between the scans but for what `marks` say, see `ChangeSource`. Pass the same scan twice where there is only
    one.
    """
    parts = [a, b, inside.to(a.dtype), *([] if marks is None else [marks])]
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.save(file, torch.stack(parts).half().numpy())
    return read_change_source(path, spacing_mm)


def read_change_source(path: Path, spacing_mm: float) -> ChangeSource:
    """Read a source that `write_change_source` saved."""
    a, b, inside, *marks = torch.from_numpy(np.load(path).astype(np.float32))
    middle = intensity.measure_median_brightness(a, b, inside)
    return ChangeSource(path, middle, spacing_mm, not torch.equal(a, b), bool(marks))


def draw_change_batch(
    sources: Sequence[ChangeSource], size: int, rng: np.random.Generator, marked_share: float = 0.0
) -> ChangeBatch:
    """Draw `size` patches, each from a random source; equal states of `rng` give equal patches.

    Where `sources` have marked pairs, `marked_share` of the patches come from these, however few they are.
    """
    made = []
    for _ in range(size):
        source = _choose_source(sources, rng, marked_share)
        made.append((_draw_marked_example if source.marked else _draw_example)(source, rng))
    return ChangeBatch(*(torch.stack(part)[:, None] for part in zip(*made, strict=True)))


def _choose_source(sources: Sequence[ChangeSource], rng: np.random.Generator, marked_share: float) -> ChangeSource:
    """A random source. Without marked pairs nothing is drawn but the source, so that training is as it was."""
    marked = [source for source in sources if source.marked]
    from_marks = bool(marked) and rng.random() < marked_share
    chosen = marked if from_marks else [source for source in sources if not source.marked]
    return chosen[int(rng.integers(len(chosen)))]


def _draw_example(source: ChangeSource, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """One patch: earlier, later, inside, truth and weight, each (PATCH_VOXELS,) * 3."""
    first, second, inside = _crop_source(source, rng, _draw_tissue_voxel)
    paired = source.paired and rng.random() < 0.7
    if rng.random() < 0.5:
        first, second = second, first
    second = second if paired else first
    added = _lesion_signals(first, inside, source.spacing_mm, rng)
    changes = added[1] - added[0]
    if paired:  # the scans have been through a scanner each, what was added has not
        added = [blur_and_slice(part, source.spacing_mm, rng) for part in added]
    stands_out = np.exp(LESION_CONTRAST_LOG_SD * rng.standard_normal(2))
    states = [scan + float(out) * part for scan, out, part in zip((first, second), stands_out, added, strict=True)]
    mass = draw_mass_effect(source.spacing_mm, rng) if rng.random() < MASS_EFFECT_FRACTION else None
    strength = REAL_PAIR_STRENGTH if paired else 1.0
    seen = []
    for date, state in enumerate(states):
        field = draw_displacement(source.spacing_mm, strength, rng)
        field = field if mass is None or date == 0 else field + mass
        seen.append(simulate_acquisition(warp_patch(state, field), source.spacing_mm, strength, rng))
    if mass is not None:
        changes = warp_patch(changes, mass)
    weight = inside * ((changes.abs() >= CHANGED_MIN_DIFFERENCE) | (changes.abs() < CHANGED_MIN_DIFFERENCE / 2))
    truth = torch.sign(changes) * (changes.abs() >= CHANGED_MIN_DIFFERENCE)
    return _show_patch(source, seen, (inside, truth, weight), rng)


def _draw_marked_example(source: ChangeSource, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """As `_draw_example`, of a pair whose changes are marked; either date may be the earlier one."""
    centre = _draw_marked_voxel if rng.random() < CENTRED_ON_MARK_FRACTION else _draw_tissue_voxel
    first, second, inside, marks = _crop_source(source, rng, centre)
    if rng.random() < 0.5:
        first, second, marks = second, first, -marks
    seen = []
    for state in (first, second):
        field = draw_displacement(source.spacing_mm, REAL_PAIR_STRENGTH, rng)
        seen.append(simulate_acquisition(warp_patch(state, field), source.spacing_mm, REAL_PAIR_STRENGTH, rng))
    changed, still = marks.abs() >= MARKED_MIN_SHARE, marks.abs() <= UNMARKED_MAX_SHARE
    return _show_patch(source, seen, (inside, torch.sign(marks) * changed, inside * (changed | still)), rng)


def _show_patch(
    source: ChangeSource, seen: Sequence[Tensor], known: Sequence[Tensor], rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """Both dates as the network sees them, and what is known: body mask, truth and weight."""
    span = math.exp(TISSUE_RANGE_LOG_SD * rng.standard_normal())
    dates = [intensity.compress_intensity((scan - source.middle) * span, 0.0) * known[0] for scan in seen]
    return _flipped([_crop_margin(part) for part in (*dates, *known)], rng)


def _draw_tissue_voxel(stack: Stack, rng: np.random.Generator) -> NDArray[np.int64]:
    """A voxel in tissue inside the body, unless none is found in 50 draws."""
    shape = np.array(stack.shape[1:])
    for _ in range(50):
        centre = (shape * rng.uniform(0, 1, 3)).astype(int)
        if stack[(2, *centre)] > 0 and stack[(0, *centre)] > synthetic_lesions.TISSUE_SIGNAL_RANGE[1]:
            break
    return centre


def _draw_marked_voxel(stack: Stack, rng: np.random.Generator) -> NDArray[np.int64]:
    """A voxel that is marked as changed; one in tissue where there is none."""
    places = np.argwhere(np.abs(stack[3]) >= MARKED_MIN_SHARE)
    return places[int(rng.integers(len(places)))] if len(places) else _draw_tissue_voxel(stack, rng)


def _crop_source(
    source: ChangeSource,
    rng: np.random.Generator,
    draw_centre: Callable[[Stack, np.random.Generator], NDArray[np.int64]],
) -> tuple[Tensor, ...]:
    """A cube of each image of a source, with an edge of PADDED_PATCH_VOXELS."""
    stack = np.load(source.path, mmap_mode="r")
    shape = np.array(stack.shape[1:])
    centre = draw_centre(stack, rng)
    low = centre - PADDED_PATCH_VOXELS // 2
    high = low + PADDED_PATCH_VOXELS
    inner = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, shape, strict=True))
    cut = torch.from_numpy(np.asarray(stack[(slice(None), *inner)], dtype=np.float32))
    padding: list[int] = []
    for a, b, n in reversed(list(zip(low, high, shape, strict=True))):
        padding += [max(0, -a), max(0, b - n)]
    cut = functional.pad(cut, padding)
    return tuple(cut)


def _lesion_signals(patch: Tensor, inside: Tensor, spacing_mm: float, rng: np.random.Generator) -> list[Tensor]:
    """Simulate what lesions add to a patch at each date; zero where there is no tissue."""
    earlier, later = torch.zeros_like(patch), torch.zeros_like(patch)
    room = (
        torch.nonzero(_crop_margin(inside * (patch > synthetic_lesions.TISSUE_SIGNAL_RANGE[1]))).numpy() + MARGIN_VOXELS
    )
    if rng.random() < LESION_FREE_FRACTION or len(room) == 0:
        return [earlier, later]
    for _ in range(int(rng.integers(1, MAX_LESIONS + 1))):
        centre = room[rng.integers(len(room))] + rng.uniform(-0.5, 0.5, 3)
        before, after = synthetic_lesions.plant_lesion(patch, centre, spacing_mm, rng)
        earlier, later = _stronger(earlier, before - patch), _stronger(later, after - patch)
    return [earlier * inside, later * inside]


def _stronger(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(one.abs() >= other.abs(), one, other)


def _crop_margin(patch: Tensor) -> Tensor:
    return patch[
        MARGIN_VOXELS:-MARGIN_VOXELS,
        MARGIN_VOXELS:-MARGIN_VOXELS,
        MARGIN_VOXELS:-MARGIN_VOXELS,
    ].float()


def _flipped(parts: list[Tensor], rng: np.random.Generator) -> tuple[Tensor, ...]:
    axes = [axis for axis in range(3) if rng.random() < 0.5]
    return tuple(part.flip(axes) for part in parts)
