"""Slices as small PNG pictures in data URLs: grey for the scans, palettes for the difference and the change map.

Slices arrive in display orientation: the patient's right at the left edge of axial and coronal slices, the front at the
left edge of sagittal ones; head or front at the top.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med import lettering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

INK = 255
SHADES = 15
"""Shades of each of the two difference colours, and of the change map."""

FAINTEST = 0.1
"""Probability of change below which the map shows the anatomy alone."""

RUNS = 3
"""zlib's strategy Z_RLE: filtered slices become as small as by Pillow's `optimize`, which searches for repeats (3 %
smaller where noisy, 1.5 % larger where smooth), in a tenth to a quarter of the time."""

_BRIGHTER = (255, 170, 66)
_DARKER = (86, 168, 255)
_CHANGE_LOW = (122, 40, 160)
_CHANGE_HIGH = (255, 214, 74)
_LETTERS = (220, 224, 230)


@dataclass(frozen=True)
class Panels:
    """The four pictures of one slice as data URLs of one size; `change` is transparent, to lie on `earlier`."""

    width: int
    height: int
    earlier: str
    later: str
    difference: str
    change: str

    @property
    def size(self) -> int:
        """Bytes that the pictures add to a page."""
        return sum(len(url) for url in (self.earlier, self.later, self.difference, self.change))


def panels(
    earlier: NDArray[np.uint8],
    later: NDArray[np.uint8],
    difference: NDArray[np.uint8],
    change: NDArray[np.uint8],
    plane: str,
    spacing_mm: float,
) -> Panels:
    """The pictures of one slice; all inputs (rows, columns) uint8, difference 128 = none, change 255 = certain."""
    height, width = (edge + 2 * lettering.MARGIN for edge in earlier.shape)
    return Panels(
        width=width,
        height=height,
        earlier=scan(earlier, plane, spacing_mm),
        later=scan(later, plane, spacing_mm),
        difference=_difference(difference, plane, spacing_mm),
        change=_change(change),
    )


def scan(pixels: NDArray[np.uint8], plane: str, spacing_mm: float | None = None) -> str:
    """Data URL of an 8-bit grey PNG with letters, and a scale bar where the spacing is known."""
    picture = lettering.framed(pixels, 0)
    lettering.letter(picture, plane, INK)
    if spacing_mm:
        lettering.scale_bar(picture, spacing_mm, INK)
    return _url(picture)


def _difference(pixels: NDArray[np.uint8], plane: str, spacing_mm: float) -> str:
    """Palette PNG: 0 black, 1..SHADES brighter, then as many darker, last the letters."""
    shift = (pixels.astype(np.float32) - 128) / 127
    shade = np.round(np.abs(shift).clip(0, 1) * SHADES).astype(np.uint8)
    letters = 2 * SHADES + 1
    picture = lettering.framed(np.where((shift < 0) & (shade > 0), shade + SHADES, shade).astype(np.uint8), 0)
    lettering.letter(picture, plane, letters)
    lettering.scale_bar(picture, spacing_mm, letters)
    black = (0, 0, 0)
    return _url(picture, [black, *_ramp(black, _BRIGHTER), *_ramp(black, _DARKER), _LETTERS])


def _change(pixels: NDArray[np.uint8]) -> str:
    """Palette PNG, transparent where change is improbable."""
    probability = pixels.astype(np.float32) / 255
    shade = np.ceil((probability - FAINTEST) / (1 - FAINTEST) * SHADES).clip(0, SHADES).astype(np.uint8)
    opacity = [0, *(int(110 + 110 * step / SHADES) for step in range(1, SHADES + 1))]
    return _url(lettering.framed(shade, 0), [(0, 0, 0), *_ramp(_CHANGE_LOW, _CHANGE_HIGH)], bytes(opacity))


def _ramp(start: tuple[int, int, int], end: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    weights = (np.arange(1, SHADES + 1)[:, None] / SHADES) ** 0.7
    shades = np.round((1 - weights) * np.array(start) + weights * np.array(end)).astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in shades]


def _url(
    pixels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]] | None = None, opacity: bytes | None = None
) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if palette:
        image = image.convert("L")
        image.putpalette([level for colour in palette for level in colour])
    buffer = io.BytesIO()
    options = {"transparency": opacity} if opacity is not None else {}
    image.save(buffer, "PNG", compress_level=9, compress_type=RUNS, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
