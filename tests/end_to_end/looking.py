"""What a picture shows, read off its pixels: its letters, and beside which of them the bright spots lie."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import center_of_mass, label

from siamese_med.imaging import slice_labels


def letters(picture: NDArray[np.float64]) -> dict[str, str]:
    """The letter at the top, right, bottom and left edge: the glyph that fits best anywhere in that margin."""
    margin = slice_labels.LABEL_MARGIN_PX
    bands = {
        "top": picture[:margin, margin:-margin],
        "right": picture[margin:-margin, -margin:],
        "bottom": picture[-margin:, picture.shape[1] // 3 : -margin],  # the scale bar is to the left
        "left": picture[margin:-margin, :margin],
    }
    return {edge: max("ALPRSI", key=lambda glyph: _fit(band, glyph)) for edge, band in bands.items()}


def _fit(band: NDArray[np.float64], glyph: str) -> float:
    ink = np.array([[bit == "1" for bit in line] for line in slice_labels._GLYPHS[glyph]])
    framed = np.pad(ink, 1) - 0.5
    shown = np.pad(band / band.max() - 0.5, 1, constant_values=-0.5)
    windows = np.lib.stride_tricks.sliding_window_view(shown, framed.shape)
    return float((windows * framed).sum((-1, -2)).max())


def blobs(picture: NDArray[np.float64]) -> list[tuple[int, float, float]]:
    """(pixels, to the right, downwards) of the bright spots inside the margins, from the middle, the largest first."""
    inner = picture[
        slice_labels.LABEL_MARGIN_PX : -slice_labels.LABEL_MARGIN_PX,
        slice_labels.LABEL_MARGIN_PX : -slice_labels.LABEL_MARGIN_PX,
    ]
    parts, count = label(inner > 0.75 * inner.max())
    middle = (np.array(inner.shape) - 1) / 2
    found = []
    for part in range(1, count + 1):
        down, right = np.array(center_of_mass(parts == part)) - middle
        found.append((int((parts == part).sum()), float(right), float(down)))
    largest = max(size for size, _, _ in found)
    return sorted((one for one in found if one[0] > largest / 12), reverse=True)


def marked(picture: NDArray[np.float64]) -> str:
    """The letters of the edges towards which the bright spots lie, the largest spot first."""
    read = letters(picture)
    return "".join(
        read[("left" if right < 0 else "right") if abs(right) > abs(down) else ("top" if down < 0 else "bottom")]
        for _, right, down in blobs(picture)
    )


def halves(picture: NDArray[np.float64], lettered: NDArray[np.float64]) -> set[str]:
    """The letters of the two edges that are nearest to the largest spot, as another picture of the slice has them."""
    read = letters(lettered)
    _, right, down = blobs(picture)[0]
    return {read["left" if right < 0 else "right"], read["top" if down < 0 else "bottom"]}


def grey(url: str) -> NDArray[np.float64]:
    """A data URL's picture as (rows, columns)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("L")).astype(float)
