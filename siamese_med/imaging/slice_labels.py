"""Orientation letters, drawn into the pixels of a slice so that a copied picture keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL_MARGIN_PX = 11
"""Width of the margin around a slice in pixels. The letters are drawn there and do not cover anatomy."""

EDGE_LETTERS = {"axial": "ALPR", "coronal": "SLIR", "sagittal": "SPIA"}
"""Letters of the top, right, bottom and left edge of a slice in radiological display orientation."""

_GLYPHS = {
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "I": ("01110", "00100", "00100", "00100", "00100", "00100", "01110"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "P": ("11110", "10001", "10001", "11110", "10000", "10000", "10000"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "S": ("01111", "10000", "10000", "01110", "00001", "00001", "11110"),
}


def add_label_margin(pixels: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """Add a margin of LABEL_MARGIN_PX pixels with the grey value `background` around a slice (rows, columns).

    Examples
    --------
    >>> add_label_margin(np.zeros((40, 50), dtype=np.uint8), 0).shape
    (62, 72)
    """
    return np.pad(pixels, LABEL_MARGIN_PX, constant_values=background)


def draw_orientation_letters(pixels: NDArray[np.uint8], plane: str, ink: int) -> None:
    """Write the four orientation letters into the margins of a slice, in place.

    Parameters
    ----------
    pixels
        8-bit slice (rows, columns) with the margin of `add_label_margin`.
    plane
        `axial`, `coronal` or `sagittal`; any other plane gets no letters.
    ink
        Grey value of the letters, 0 to 255.
    """
    height, width = pixels.shape
    places = ((2, width // 2 - 2), (height // 2 - 3, width - 8), (height - 9, width // 2 - 2), (height // 2 - 3, 3))
    for letter, (row, column) in zip(EDGE_LETTERS.get(plane, ""), places, strict=False):
        drawn = np.array([[bit == "1" for bit in line] for line in _GLYPHS[letter]])
        pixels[row : row + drawn.shape[0], column : column + drawn.shape[1]][drawn] = ink
