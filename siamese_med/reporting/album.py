"""Which slices of which pairs go on a page that has to stay small."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting import pictures
from siamese_med.reporting.content import Pair, Slice
from siamese_med.reporting.windows import windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PAGE_BUDGET = 400_000
"""Bytes of pictures on one patient's page; with its text the page stays under 500 KB."""

STRONGEST = "strongest change"

ARRAYS = ("earlier", "later", "difference", "change")


class Stack:
    """The slices that scoring left for one pair, in the order in which they are worth showing."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self._pixels: dict[str, NDArray[np.uint8]] = {name: file[name] for name in ARRAYS}
            self._planes = [str(plane) for plane in file["plane"]]
            self._positions = [float(position) for position in file["position_mm"]]
            self._chosen = [str(word) for word in file["chosen"]]
            self._spacing_mm = float(file["spacing_mm"])
        self._windows = windows(np.maximum(self._pixels["earlier"], self._pixels["later"]))

    def __len__(self) -> int:
        return len(self._planes)

    def order(self) -> list[int]:
        """Indices, in the order of `in_turn`."""
        return in_turn(self._chosen)

    def slice(self, index: int) -> Slice:
        """One slice with its pictures."""
        plane = self._planes[index]
        earlier, later, difference, change = (self._pixels[name][index][self._windows[index]] for name in ARRAYS)
        panels = pictures.panels(earlier, later, difference, change, plane, self._spacing_mm)
        return Slice(plane, round(self._positions[index], 1), self._chosen[index], panels)


def in_turn(chosen: Sequence[str]) -> list[int]:
    """Indices of slices by why they were chosen: two of strongest change to one fixed one."""
    strongest = [index for index, word in enumerate(chosen) if word == STRONGEST]
    fixed = [index for index, word in enumerate(chosen) if word != STRONGEST]
    turns = zip_longest(strongest[::2], strongest[1::2], fixed)
    return [index for index in chain.from_iterable(turns) if index is not None]


def illustrated(pairs: Sequence[Pair], data: Path, per_pair: int, budget: int = PAGE_BUDGET) -> tuple[Pair, ...]:
    """The pairs with their slices: first of the newest visit, then of the others in turn, up to `budget` bytes."""
    stacks = {pair.number: Stack(path) for pair in pairs if (path := _pictures(pair, data))}
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


def _pictures(pair: Pair, data: Path) -> Path | None:
    path = data / pair.pictures if pair.pictures and pair.role != "other" else None
    return path if path and path.is_file() else None


def _turns(pairs: Sequence[Pair], stacks: dict[int, Stack], per_pair: int) -> Iterator[tuple[int, int]]:
    newest = [pair.number for pair in pairs if pair.number in stacks and pair.role == "newest"]
    rest = [pair.number for pair in pairs if pair.number in stacks and pair.role != "newest"]
    for group in (newest, rest):
        orders = [stacks[number].order()[:per_pair] for number in group]
        for turn in zip_longest(*orders):
            yield from ((number, index) for number, index in zip(group, turn, strict=True) if index is not None)
