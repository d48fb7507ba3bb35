"""Render slices as small PNG pictures in data URLs: grey for scans, a palette for the difference and the change map.

Slices are in display orientation (radiological convention): the patient's right is at the left edge of axial and
coronal slices, anterior at the left edge of sagittal ones; superior or anterior is at the top.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import slice_labels
from siamese_med.reporting.render.picture_labels import MAX_LABEL_BYTES, PictureLabels, place_labels
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LETTER_GREY_LEVEL = 255
"""Grey level of the orientation letters in the pictures of `render_lettered_slice`."""
GREY_STEP = 4
"""Grey levels of a scan are rounded down to multiples of this: noise hides it, and pages get a third smaller."""
SHADES_PER_COLOUR = 15
"""Shades of each of the two colours of a difference, and of the change map."""

MIN_SHOWN_PROBABILITY = 0.1
"""Probability of change below which the change map is transparent."""

ZLIB_STRATEGY_RLE = 3
"""Compression strategy Z_RLE of zlib.

For filtered slices it takes a tenth to a quarter of the time of Pillow's `optimize`, for files that are between 3 %
smaller (noisy slices) and 1.5 % larger (smooth ones).
"""

_BRIGHTER = (255, 170, 66)
_DARKER = (86, 168, 255)
_CHANGE_LOW = (122, 40, 160)
_CHANGE_HIGH = (255, 214, 74)


@dataclass(frozen=True)
class Panels:
    """The four pictures of one slice as data URLs of one size, and what is drawn over them.

    Parameters
    ----------
    width, height
        Size in pixels with the margin of LABEL_MARGIN_PX that the labels need; the pictures themselves have none.
    earlier, later
        Scans in grey.
    difference
        Later minus earlier in two colours.
    change
        Probability of change; transparent where it is low, to be laid over `earlier`.
    outline
        Around what is called changed, as the path of an SVG picture; empty where nothing is.
    labels
        Orientation letters and scale bar.
    """

    width: int
    height: int
    earlier: str
    later: str
    difference: str
    change: str
    outline: str
    labels: PictureLabels

    @property
    def size(self) -> int:
        """Number of bytes that the pictures add to a page."""
        urls = (self.earlier, self.later, self.difference, self.change)
        return sum(len(url) + MAX_LABEL_BYTES for url in urls) + 2 * len(self.outline)


def render_slice_panels(
    earlier: NDArray[np.uint8],
    later: NDArray[np.uint8],
    difference: NDArray[np.uint8],
    change: NDArray[np.uint8],
    plane: str,
    spacing_mm: float,
) -> Panels:
    """Render the four pictures of one slice.

    Parameters
    ----------
    earlier, later
        Grey levels (rows, columns), uint8, in display orientation.
    difference
        Later minus earlier, uint8; 128 is no difference.
    change
        Probability of change, uint8; 255 is certain.
    plane
        `axial`, `coronal` or `sagittal`; decides the orientation letters.
    spacing_mm
        Edge of a pixel, for the scale bar.
    """
    height, width = (edge + 2 * slice_labels.LABEL_MARGIN_PX for edge in earlier.shape)
    return Panels(
        width=width,
        height=height,
        earlier=render_grey_slice(earlier),
        later=render_grey_slice(later),
        difference=_difference(difference),
        change=_change(change),
        outline=trace_outline(change >= MIN_CHANGE_PROBABILITY * 255, slice_labels.LABEL_MARGIN_PX),
        labels=place_labels(width, height, plane, spacing_mm),
    )


def render_grey_slice(pixels: NDArray[np.uint8]) -> str:
    """Render a slice (rows, columns), uint8, in display orientation, as the data URL of an 8-bit grey PNG."""
    return _url(pixels // GREY_STEP * GREY_STEP)


def render_lettered_slice(pixels: NDArray[np.uint8], plane: str) -> str:
    """Render a slice with orientation letters in its pixels, for a picture that may be copied off its page.

    Parameters
    ----------
    pixels
        Grey levels (rows, columns), uint8, in display orientation.
    plane
        `axial`, `coronal` or `sagittal`.

    Returns
    -------
    str
        Data URL of an 8-bit grey PNG with a margin of LABEL_MARGIN_PX.
    """
    picture = slice_labels.add_label_margin(pixels // GREY_STEP * GREY_STEP, 0)
    slice_labels.draw_orientation_letters(picture, plane, LETTER_GREY_LEVEL)
    return _url(picture)


def trace_outline(marked: NDArray[np.bool_], offset: int = 0) -> str:
    """Trace the edges between what is marked and what is not as the path of an SVG picture.

    Parameters
    ----------
    marked
        What is marked (rows, columns).
    offset
        Added to both coordinates, in pixels.

    Examples
    --------
    >>> trace_outline(np.array([[False, True, True]]))
    'M1 0h2M1 1h2M1 0v1M3 0v1'
    """
    padded = np.pad(marked, 1)
    across = _find_runs(padded[1:] != padded[:-1])
    down = _find_runs((padded[:, 1:] != padded[:, :-1]).T)
    lines = [f"M{start - 1 + offset} {row + offset}h{length}" for row, start, length in across]
    return "".join(lines + [f"M{column + offset} {start - 1 + offset}v{length}" for column, start, length in down])


def _find_runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Rows of neighbouring edges: the line, the first place along it, and the length."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps > 0), np.argwhere(steps < 0)
    return [(int(line), int(a), int(b - a)) for (line, a), (_, b) in zip(starts, ends, strict=True)]


def _difference(pixels: NDArray[np.uint8]) -> str:
    """Palette PNG: 0 black, 1..SHADES_PER_COLOUR brighter, then as many darker."""
    shift = (pixels.astype(np.float32) - 128) / 127
    shade = np.round(np.abs(shift).clip(0, 1) * SHADES_PER_COLOUR).astype(np.uint8)
    picture = np.where((shift < 0) & (shade > 0), shade + SHADES_PER_COLOUR, shade).astype(np.uint8)
    black = (0, 0, 0)
    return _url(picture, [black, *_ramp(black, _BRIGHTER), *_ramp(black, _DARKER)])


def _change(pixels: NDArray[np.uint8]) -> str:
    """Palette PNG, transparent where change is improbable."""
    probability = pixels.astype(np.float32) / 255
    shade = (
        np.ceil((probability - MIN_SHOWN_PROBABILITY) / (1 - MIN_SHOWN_PROBABILITY) * SHADES_PER_COLOUR)
        .clip(0, SHADES_PER_COLOUR)
        .astype(np.uint8)
    )
    opacity = [0, *(int(110 + 110 * step / SHADES_PER_COLOUR) for step in range(1, SHADES_PER_COLOUR + 1))]
    return _url(shade, [(0, 0, 0), *_ramp(_CHANGE_LOW, _CHANGE_HIGH)], bytes(opacity))


def _ramp(start: tuple[int, int, int], end: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    weights = (np.arange(1, SHADES_PER_COLOUR + 1)[:, None] / SHADES_PER_COLOUR) ** 0.7
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
    image.save(buffer, "PNG", compress_level=9, compress_type=ZLIB_STRATEGY_RLE, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
