"""Orientation letters and a scale bar, drawn into the pixels of a slice so that a copied picture keeps them."""

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
    "1": ("00100", "01100", "00100", "00100", "00100", "00100", "01110"),
    "2": ("01110", "10001", "00001", "00110", "01000", "10000", "11111"),
    "5": ("11111", "10000", "11110", "00001", "00001", "10001", "01110"),
    "c": ("00000", "00000", "01110", "10000", "10000", "10000", "01110"),
    "m": ("00000", "00000", "11010", "10101", "10101", "10101", "10101"),
    " ": ("00", "00", "00", "00", "00", "00", "00"),
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
    for glyph, (row, column) in zip(EDGE_LETTERS.get(plane, ""), places, strict=False):
        _write(pixels, glyph, row, column, ink)


def draw_scale_bar(pixels: NDArray[np.uint8], spacing_mm: float, ink: int) -> None:
    """Draw a bar of 5, 2 or 1 cm, the longest that fits, with its length into the lower left margin, in place.

    `spacing_mm` is the edge length of a pixel, `ink` the grey value. A slice too small for 1 cm gets no bar.
    """
    room = pixels.shape[1] // 2 - 34
    for centimetres in (5, 2, 1):
        length = round(10 * centimetres / spacing_mm)
        if length <= room:
            row = pixels.shape[0] - 5
            pixels[row, 3 : 3 + length] = ink
            pixels[row - 2 : row + 3, [3, 2 + length]] = ink
            _write(pixels, f"{centimetres} cm", row - 4, 6 + length, ink)
            return


def _write(pixels: NDArray[np.uint8], text: str, row: int, column: int, ink: int) -> None:
    for character in text:
        glyph = np.array([[bit == "1" for bit in line] for line in _GLYPHS[character]])
        pixels[row : row + 7, column : column + glyph.shape[1]][glyph] = ink
        column += glyph.shape[1] + 1
