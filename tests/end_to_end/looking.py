"""What a picture shows: its letters, and beside which of them the bright spots lie."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import center_of_mass, label

from siamese_med.imaging import slice_labels
from siamese_med.reporting.render.picture_labels import PictureLabels

MARGIN = slice_labels.LABEL_MARGIN_PX


@dataclass(frozen=True)
class Shown:
    """A slice without its margin, and the letter at its top, right, bottom and left edge."""

    slice: NDArray[np.float64]
    letters: dict[str, str]


def lettered(picture: NDArray[np.float64]) -> Shown:
    """A picture with letters in its pixels; each is the glyph that fits best anywhere in that margin."""
    bands = {
        "top": picture[:MARGIN, MARGIN:-MARGIN],
        "right": picture[MARGIN:-MARGIN, -MARGIN:],
        "bottom": picture[-MARGIN:, MARGIN:-MARGIN],
        "left": picture[MARGIN:-MARGIN, :MARGIN],
    }
    letters = {edge: max("ALPRSI", key=lambda glyph: _fit(band, glyph)) for edge, band in bands.items()}
    return Shown(picture[MARGIN:-MARGIN, MARGIN:-MARGIN], letters)


def labelled(url: str, labels: PictureLabels) -> Shown:
    """A picture with letters drawn over its margin; the edge of each is where it stands."""
    pixels = grey(url)
    height, width = (edge + 2 * MARGIN for edge in pixels.shape)
    letters = {}
    for letter, x, y in labels.letters:
        away = {"top": y, "right": width - x, "bottom": height - y, "left": x}
        letters[min(away, key=lambda edge: away[edge])] = letter
    return Shown(pixels, letters)


def _fit(band: NDArray[np.float64], glyph: str) -> float:
    ink = np.array([[bit == "1" for bit in line] for line in slice_labels._GLYPHS[glyph]])
    framed = np.pad(ink, 1) - 0.5
    shown = np.pad(band / band.max() - 0.5, 1, constant_values=-0.5)
    windows = np.lib.stride_tricks.sliding_window_view(shown, framed.shape)
    return float((windows * framed).sum((-1, -2)).max())


def blobs(inner: NDArray[np.float64]) -> list[tuple[int, float, float]]:
    """(pixels, to the right, downwards) of the bright spots of a slice, from the middle, the largest first."""
    parts, count = label(inner > 0.75 * inner.max())
    middle = (np.array(inner.shape) - 1) / 2
    found = []
    for part in range(1, count + 1):
        down, right = np.array(center_of_mass(parts == part)) - middle
        found.append((int((parts == part).sum()), float(right), float(down)))
    largest = max(size for size, _, _ in found)
    return sorted((one for one in found if one[0] > largest / 12), reverse=True)


def marked(shown: Shown) -> str:
    """The letters of the edges towards which the bright spots lie, the largest spot first."""
    return "".join(
        shown.letters[
            ("left" if right < 0 else "right") if abs(right) > abs(down) else ("top" if down < 0 else "bottom")
        ]
        for _, right, down in blobs(shown.slice)
    )


def halves(shown: Shown) -> set[str]:
    """The letters of the two edges that are nearest to the largest spot."""
    _, right, down = blobs(shown.slice)[0]
    return {shown.letters["left" if right < 0 else "right"], shown.letters["top" if down < 0 else "bottom"]}


def grey(url: str) -> NDArray[np.float64]:
    """A data URL's picture as (rows, columns)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("L")).astype(float)
