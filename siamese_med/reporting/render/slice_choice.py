"""Which slices of which pairs go on a page that has to stay small."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.data.report_content import ReportPair, Slice
from siamese_med.reporting.render import pictures
from siamese_med.reporting.render.crop import find_crop_windows
from siamese_med.study.vocabulary import PairRole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_PICTURE_BYTES_PER_PAGE = 400_000
"""Bytes of pictures on one patient's page; with its text the page stays under 500 KB."""

STRONGEST_CHANGE = "strongest change"

SLICE_ARRAYS = ("earlier", "later", "difference", "change")


class PairSliceStack:
    """The slices that scoring left for one pair, in the order in which they are worth showing."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self._pixels: dict[str, NDArray[np.uint8]] = {name: file[name] for name in SLICE_ARRAYS}
            self._planes = [str(plane) for plane in file["plane"]]
            self._positions = [float(position) for position in file["position_mm"]]
            self._chosen = [str(word) for word in file["chosen"]]
            self._spacing_mm = float(file["spacing_mm"])
        self._windows = find_crop_windows(np.maximum(self._pixels["earlier"], self._pixels["later"]))

    def __len__(self) -> int:
        return len(self._planes)

    def order(self) -> list[int]:
        """Indices, in the order of `order_slices`."""
        return order_slices(self._chosen)

    def slice(self, index: int) -> Slice:
        """One slice with its pictures."""
        plane = self._planes[index]
        earlier, later, difference, change = (self._pixels[name][index][self._windows[index]] for name in SLICE_ARRAYS)
        panels = pictures.render_slice_panels(earlier, later, difference, change, plane, self._spacing_mm)
        return Slice(plane, round(self._positions[index], 1), self._chosen[index], panels)


def order_slices(chosen: Sequence[str]) -> list[int]:
    """Indices of slices by why they were chosen: two of strongest change to one fixed one."""
    strongest = [index for index, word in enumerate(chosen) if word == STRONGEST_CHANGE]
    fixed = [index for index, word in enumerate(chosen) if word != STRONGEST_CHANGE]
    turns = zip_longest(strongest[::2], strongest[1::2], fixed)
    return [index for index in chain.from_iterable(turns) if index is not None]


def add_slices_to_pairs(
    pairs: Sequence[ReportPair], data: Path, per_pair: int, budget: int = MAX_PICTURE_BYTES_PER_PAGE
) -> tuple[ReportPair, ...]:
    """The pairs with their slices: first of the newest visit, then of the others in turn, up to `budget` bytes."""
    stacks = {pair.number: PairSliceStack(path) for pair in pairs if (path := _pictures(pair, data))}
    slices: dict[int, list[Slice]] = {number: [] for number in stacks}
    for number, index in _turns(pairs, stacks, per_pair):
        made = stacks[number].slice(index)
        if made.panels.size > budget:
            break
        budget -= made.panels.size
        slices[number].append(made)
    return tuple(
        replace(pair, slices=tuple(slices[pair.number]), slices_available=len(stacks[pair.number]))
        if pair.number in stacks
        else pair
        for pair in pairs
    )


def _pictures(pair: ReportPair, data: Path) -> Path | None:
    path = data / pair.score.pictures if pair.score.pictures and pair.role != PairRole.OTHER else None
    return path if path and path.is_file() else None


def _turns(pairs: Sequence[ReportPair], stacks: dict[int, PairSliceStack], per_pair: int) -> Iterator[tuple[int, int]]:
    newest = [pair.number for pair in pairs if pair.number in stacks and pair.role == PairRole.NEWEST]
    rest = [pair.number for pair in pairs if pair.number in stacks and pair.role != PairRole.NEWEST]
    for group in (newest, rest):
        orders = [stacks[number].order()[:per_pair] for number in group]
        for turn in zip_longest(*orders):
            yield from ((number, index) for number, index in zip(group, turn, strict=True) if index is not None)
