"""Text that is burned into the voxels of a scan, seen from the voxels: bright, thin letters in a line on dark ground.

Two signs are looked for, since measured values have noise. Voxels that are bright and alike in slices throughout the
stack, where an export wrote a name into every slice; and voxels that all have the largest value of the scan, where it
wrote into one. Text that is dark, large, slanted or over bright tissue is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    MarkedSlice = tuple[NDArray[np.bool_], NDArray[np.float64]]
    """Pixels of a slice that may be letters, and the brightness of the slice from 0 to 1."""

SLICES_COMPARED, MIN_SLICES = 8, 5
"""So many slices of the stack are compared with each other; of fewer slices than the second, none."""

MIN_BRIGHTNESS, MAX_DIFFERENCE = 0.3, 0.05
"""Text is brighter than the first share of the range of values, and equal in all slices to the second."""

MIN_INK, MAX_INK_SHARE = 20, 0.05
"""Fewest voxels of a text, and the largest share of a slice that letters take."""

LETTERS_IN_LINE, MAX_PARTS = 4, 400
"""So many letters make a text; more separate parts than the second are noise."""

LETTER_VOXELS, LETTER_SHARE = (3, 24), 0.2
"""Least and greatest height of a letter, in voxels, and its greatest share of the slice's height."""

MAX_LETTER_ASPECT, MAX_LETTER_GAP, MAX_OFF_LINE, HEIGHT_RATIO = 2.0, 1.5, 0.35, 0.7
"""A letter is no wider than so many heights, nor farther from the next one; all stand on a line, to a share of the
height, and none is lower than the last share of the highest."""

MAX_GROUND = 0.25
"""Greatest brightness about the letters, as a share of theirs."""


def shows_text(voxels: NDArray[Any]) -> bool:
    """Tell whether text seems to be burned into a volume.

    Parameters
    ----------
    voxels
        Shape (i, j, k), any real type. The slices may lie along any axis.

    Examples
    --------
    >>> measured = np.random.default_rng(0).normal(20, 5, (64, 64, 12))
    >>> letters = np.kron([[1, 0, 1, 0, 1, 0, 1, 0, 1]], np.ones((5, 2)))
    >>> burned = measured.copy()
    >>> burned[40:45, 6:24] = np.where(letters[..., None] > 0, 255, burned[40:45, 6:24])
    >>> shows_text(measured), shows_text(burned)
    (False, True)
    """
    voxels = voxels.transpose(np.argsort([-abs(step) for step in voxels.strides]))  # fast to read, in any order of axes
    lowest, highest = voxels.min(), voxels.max()
    reach = float(highest) - float(lowest)
    if not reach or not np.isfinite(reach):
        return False
    bounds = float(lowest), reach
    return any(_is_text(*marked) for marked in (*_find_equal(voxels, *bounds), *_find_ink(voxels, highest, *bounds)))


def _find_equal(voxels: NDArray[Any], lowest: float, reach: float) -> Iterator[MarkedSlice]:
    """Mark what is bright and alike in slices throughout the stack, for a stack along each axis."""
    for stack in (np.moveaxis(voxels, axis, 0) for axis in range(3)):
        if len(stack) < MIN_SLICES:
            continue
        low = high = stack[0]
        for number in np.linspace(0, len(stack) - 1, SLICES_COMPARED).astype(int)[1:]:
            low, high = np.minimum(low, stack[number]), np.maximum(high, stack[number])
        marked = low >= lowest + MIN_BRIGHTNESS * reach
        marked &= high <= low + MAX_DIFFERENCE * reach
        if _may_be_ink(int(np.count_nonzero(marked)), marked.size):
            yield marked, (low.astype(np.float64) - lowest) / reach


def _find_ink(voxels: NDArray[Any], highest: Any, lowest: float, reach: float) -> Iterator[MarkedSlice]:
    """Mark the voxels of the largest value in the slice that has most of them, along each axis."""
    ink = voxels == highest
    if not _may_be_ink(int(np.count_nonzero(ink)), ink.size):
        return
    for axis, places in enumerate(np.nonzero(ink)):
        number = int(np.bincount(places).argmax())
        marked = np.take(ink, number, axis)
        if _may_be_ink(int(np.count_nonzero(marked)), marked.size):
            yield marked, (np.take(voxels, number, axis).astype(np.float64) - lowest) / reach


def _may_be_ink(count: int, size: int) -> bool:
    return MIN_INK <= count <= MAX_INK_SHARE * size


def _is_text(marked: NDArray[np.bool_], brightness: NDArray[np.float64]) -> bool:
    """Tell whether marked pixels form letters in a line, along either axis, on dark ground."""
    from scipy import ndimage

    labels, count = ndimage.label(marked, np.ones((3, 3)))
    if not LETTERS_IN_LINE <= count <= MAX_PARTS:
        return False
    about = ndimage.binary_dilation(marked, np.ones((3, 3)), iterations=2)
    boxes = ndimage.find_objects(labels)
    for along in (0, 1):
        letters = [box for box in boxes if _may_be_letter(box, 1 - along, marked.shape)]
        letters.sort(key=lambda box: box[along].start)
        for line in _list_lines(letters, along):
            rows, columns = (
                slice(max(0, min(box[n].start for box in line) - 2), max(box[n].stop for box in line) + 2)
                for n in (0, 1)
            )
            ground = (about & ~marked)[rows, columns]
            dark = float(np.median(brightness[rows, columns][ground]))
            if dark <= MAX_GROUND * float(brightness[rows, columns][marked[rows, columns]].mean()):
                return True
    return False


def _may_be_letter(box: tuple[slice, ...], up: int, shape: tuple[int, ...]) -> bool:
    height, width = (box[n].stop - box[n].start for n in (up, 1 - up))
    tallest = min(LETTER_VOXELS[1], LETTER_SHARE * shape[up])
    return bool(LETTER_VOXELS[0] <= height <= tallest and width <= MAX_LETTER_ASPECT * height)


def _list_lines(letters: list[tuple[slice, ...]], along: int) -> list[list[tuple[slice, ...]]]:
    """List rows of letters of like height that stand beside one another; long ones only."""
    lines: list[list[tuple[slice, ...]]] = []
    for letter in letters:
        line = next((one for one in lines if _follows(one, letter, along)), None)
        if line is None:
            lines.append([letter])
        else:
            line.append(letter)
    return [line for line in lines if len(line) >= LETTERS_IN_LINE]


def _follows(line: list[tuple[slice, ...]], letter: tuple[slice, ...], along: int) -> bool:
    last, up = line[-1], 1 - along
    heights = [box[up].stop - box[up].start for box in (last, letter)]
    off = min(abs(letter[up].start - last[up].start), abs(letter[up].stop - last[up].stop))
    gap = letter[along].start - last[along].stop
    alike = min(heights) >= HEIGHT_RATIO * max(heights)
    beside = -1 <= gap <= MAX_LETTER_GAP * max(heights)
    return bool(alike and beside and off <= max(1.0, MAX_OFF_LINE * max(heights)))
