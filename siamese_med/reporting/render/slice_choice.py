"""Choose the slices of a patient's page, which has to stay small."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.data.report_content import ReportPair, Slice
from siamese_med.reporting.render import pictures
from siamese_med.reporting.render.crop import find_crop_windows
from siamese_med.study.vocabulary import ComponentKind, PairRole, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_PICTURE_BYTES_PER_PAGE = 380_000
"""Limit of the pictures on one patient's page, in bytes; with its text the page stays below 500 KB."""

STRONGEST_CHANGE = "strongest change"
"""Word in the file of slices for a slice that was chosen for its change; all others are at fixed positions."""

SLICE_ARRAYS = ("earlier", "later", "difference", "change")
"""Arrays (n, rows, columns), uint8, in the file of slices."""


class PairSliceStack:
    """Slices that scoring saved for one pair.

    Parameters
    ----------
    path
        .npz file with SLICE_ARRAYS, the plane, position, reason and parts of each slice, and the spacing in mm.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self._pixels: dict[str, NDArray[np.uint8]] = {name: file[name] for name in SLICE_ARRAYS}
            self._planes = [str(plane) for plane in file["plane"]]
            self._positions = [float(position) for position in file["position_mm"]]
            self._chosen = [str(word) for word in file["chosen"]]
            self._parts = [str(text) for text in file["parts"]] if "parts" in file.files else [""] * len(self._chosen)
            self._spacing_mm = float(file["spacing_mm"])
        self._windows = find_crop_windows(np.maximum(self._pixels["earlier"], self._pixels["later"]))

    def __len__(self) -> int:
        return len(self._planes)

    def order(self, sure: Collection[int] = ()) -> list[int]:
        """Return the indices of the slices in the order of `order_slices`; `sure` are numbers of parts."""
        return order_slices(self._chosen, [_read_numbers(text) for text in self._parts], sure)

    def slice(self, index: int) -> Slice:
        """Render the slice at an index; its position is in mm, rounded to 0.1 mm."""
        plane = self._planes[index]
        earlier, later, difference, change = (self._pixels[name][index][self._windows[index]] for name in SLICE_ARRAYS)
        panels = pictures.render_slice_panels(earlier, later, difference, change, plane, self._spacing_mm)
        parts = _read_numbers(self._parts[index])
        return Slice(plane, round(self._positions[index], 1), self._chosen[index], panels, parts)


def _read_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number.isdigit())


def order_slices(chosen: Sequence[str], parts: Sequence[Collection[int]] = (), sure: Collection[int] = ()) -> list[int]:
    """Order slices by importance: one through each sure part, then two of strongest change, one fixed one, and so on.

    Parameters
    ----------
    chosen
        Why each slice was chosen.
    parts
        Numbers of the parts that each slice shows.
    sure
        Numbers of the parts that are called changed, strongest first.

    Returns
    -------
    list of int
        Indices into `chosen`.

    Examples
    --------
    >>> order_slices(["middle", STRONGEST_CHANGE, "middle", STRONGEST_CHANGE])
    [1, 3, 0, 2]
    >>> order_slices([STRONGEST_CHANGE] * 3, [(1,), (1, 2), (3,)], sure=[1, 3])
    [0, 2, 1]
    """
    through = [next((index for index, shown in enumerate(parts) if number in shown), None) for number in sure]
    first = list(dict.fromkeys(index for index in through if index is not None))
    strongest = [index for index, word in enumerate(chosen) if word == STRONGEST_CHANGE]
    fixed = [index for index, word in enumerate(chosen) if word != STRONGEST_CHANGE]
    turns = chain.from_iterable(zip_longest(strongest[::2], strongest[1::2], fixed))
    return list(dict.fromkeys([*first, *(index for index in turns if index is not None)]))


def add_slices_to_pairs(
    pairs: Sequence[ReportPair], data: Path, per_pair: int, budget: int = MAX_PICTURE_BYTES_PER_PAGE
) -> tuple[ReportPair, ...]:
    """Add slices to the pairs of a patient: first for the newest visit, then for the others in turn.

    Parameters
    ----------
    pairs
        Pairs of one patient.
    data
        Data folder, in which scoring saved the slices.
    per_pair
        Largest number of slices for each pair.
    budget
        Limit of all pictures together, in bytes.

    Returns
    -------
    tuple of ReportPair
        The same pairs in the same order; `slices_available` counts what scoring saved.
    """
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
    sure = {pair.number: _list_sure_parts(pair) for pair in pairs}
    for group in (newest, rest):
        orders = [stacks[number].order(sure[number])[:per_pair] for number in group]
        for turn in zip_longest(*orders):
            yield from ((number, index) for number, index in zip(group, turn, strict=True) if index is not None)


def _list_sure_parts(pair: ReportPair) -> list[int]:
    """Numbers of the parts that are called changed, strongest first."""
    if pair.status != Verdict.CHANGED:
        return []
    return [n for n, part in enumerate(pair.score.components, 1) if part.kind != ComponentKind.MAY_BE_CHANCE]
