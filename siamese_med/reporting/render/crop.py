"""Crop slices to the body: windows of one size for all slices, so that the pictures are large and have one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_AIR_GREY_LEVEL = 24
"""Grey level, 0 to 255, up to which a pixel counts as air."""

AIR_MARGIN_PX = 4
"""Pixels of air that are kept around the body."""

CropWindow = tuple[slice, slice]
"""Rows and columns of a slice."""


def find_crop_windows(slices: NDArray[np.uint8]) -> list[CropWindow]:
    """Find one window for each slice that leaves out the empty border.

    Parameters
    ----------
    slices
        Grey levels (n, rows, columns).

    Returns
    -------
    list of CropWindow
        Rows and columns of each slice; all windows have one size, and each is centred on the body in its slice.

    Examples
    --------
    >>> pixels = np.zeros((1, 20, 20), np.uint8)
    >>> pixels[0, 8:12, 8:12] = 200
    >>> find_crop_windows(pixels)
    [(slice(4, 16, None), slice(4, 16, None))]
    """
    if not len(slices):
        return []
    boxes = np.array([_box(pixels) for pixels in slices])
    shape = np.array(slices.shape[1:])
    size = np.minimum((boxes[:, 1] - boxes[:, 0]).max(axis=0) + 2 * AIR_MARGIN_PX, shape)
    starts = ((boxes[:, 0] + boxes[:, 1] - size) // 2).clip(0, shape - size)
    return [_window(start, size) for start in starts]


def _window(start: NDArray[np.int_], size: NDArray[np.int_]) -> CropWindow:
    end = start + size
    return slice(int(start[0]), int(end[0])), slice(int(start[1]), int(end[1]))


def _box(pixels: NDArray[np.uint8]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First (row, column) with anything in it, and the first behind it; a middle point where there is nothing."""
    filled = pixels > MAX_AIR_GREY_LEVEL
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    if not rows.size:
        middle = (pixels.shape[0] // 2, pixels.shape[1] // 2)
        return middle, middle
    return (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)
