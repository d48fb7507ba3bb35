"""Orientation letters and a scale bar, drawn as vectors in the margin around a slice.

They stay sharp at every size, and none of them lies over anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.imaging.slice_labels import EDGE_LETTERS, LABEL_MARGIN_PX

SCALE_BAR_LENGTHS_CM = (5, 2, 1)
"""Lengths that a scale bar may have; the longest that fits is taken."""
MAX_FONT_SIZE = 10.0
"""Largest size of the letters in pixels of the slice, so that they fit into the margin."""
FONT_SIZE_SHARE = 0.055
"""Size of the letters as a share of the picture's width: pictures of any size look alike beside each other."""
MAX_LABEL_BYTES = 340
"""Number of bytes that the labels of one picture add to a page, at most."""
_CAPITAL_HEIGHT = 0.72
_LENGTH_WIDTH = 3.0
_TICK = 2.0


@dataclass(frozen=True)
class PictureLabels:
    """The letters and the scale bar of a slice's picture, in pixels of the slice with its margin.

    Parameters
    ----------
    letters
        Letter of the top, right, bottom and left edge, and the middle of its baseline (x, y).
    font_size
        Size of the letters.
    bar
        The scale bar as the path of an SVG picture; empty where none fits.
    length
        The length of the bar in words, such as `5 cm`.
    length_at
        Left end of the baseline of these words (x, y).
    """

    letters: tuple[tuple[str, float, float], ...]
    font_size: float
    bar: str = ""
    length: str = ""
    length_at: tuple[float, float] = (0.0, 0.0)


def place_labels(width: int, height: int, plane: str, spacing_mm: float) -> PictureLabels:
    """Place the four letters, and the longest scale bar that fits to the left of the lower one.

    Parameters
    ----------
    width, height
        Size of the picture in pixels, with a margin of LABEL_MARGIN_PX.
    plane
        `axial`, `coronal` or `sagittal`; any other plane gets no letters.
    spacing_mm
        Edge of a pixel.

    Examples
    --------
    >>> labels = place_labels(122, 142, "axial", 1.0)
    >>> labels.letters[2][0], labels.length, labels.bar
    ('P', '2 cm', 'M3 134.5v4m0 -2h20m0 -2v4')
    """
    middle, end = LABEL_MARGIN_PX / 2, (width - LABEL_MARGIN_PX / 2, height - LABEL_MARGIN_PX / 2)
    size = min(FONT_SIZE_SHARE * width, MAX_FONT_SIZE)
    drop = size * _CAPITAL_HEIGHT / 2
    centres = ((width / 2, middle), (end[0], height / 2), (width / 2, end[1]), (middle, height / 2))
    letters = tuple((letter, x, y + drop) for letter, (x, y) in zip(EDGE_LETTERS.get(plane, ""), centres, strict=False))
    start, row = 3, end[1]
    room = width / 2 - size - start - _LENGTH_WIDTH * size
    for centimetres in SCALE_BAR_LENGTHS_CM:
        long = 10 * centimetres / spacing_mm
        if long <= room:
            tick = f"v{2 * _TICK:g}"
            bar = f"M{start} {row - _TICK:g}{tick}m0 {-_TICK:g}h{long:g}m0 {-_TICK:g}{tick}"
            return PictureLabels(letters, size, bar, f"{centimetres} cm", (start + long + 3, row + drop))
    return PictureLabels(letters, size)
