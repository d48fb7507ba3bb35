"""Left stays left: what the pixels of the pictures say."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from siamese_med.imaging import slice_labels
from siamese_med.reporting.render import picture_labels, pictures
from siamese_med.reporting.render.crop import find_crop_windows

MARGIN = slice_labels.LABEL_MARGIN_PX


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def marked(row: int, column: int, value: int = 200, background: int = 0) -> NDArray[np.uint8]:
    pixels = np.full((120, 100), background, np.uint8)
    pixels[row, column] = value
    return pixels


def glyph_at(pixels: NDArray[np.uint8], letter: str, row: int, column: int) -> bool:
    patch = pixels[row : row + 7, column : column + 5] > 0
    return bool((patch == [[bit == "1" for bit in line] for line in slice_labels._GLYPHS[letter]]).all())


@pytest.mark.parametrize(("plane", "letters"), [("axial", "ALPR"), ("coronal", "SLIR"), ("sagittal", "SPIA")])
def test_letters_stand_at_their_edges(plane: str, letters: str) -> None:
    pixels = np.asarray(opened(pictures.render_lettered_slice(marked(5, 5), plane)))
    height, width = pixels.shape
    places = [(2, width // 2 - 2), (height // 2 - 3, width - 8), (height - 9, width // 2 - 2), (height // 2 - 3, 3)]
    for letter, (row, column) in zip(letters, places, strict=True):
        assert glyph_at(pixels, letter, row, column)


def test_a_marker_on_the_patients_right_stays_beside_the_r_in_every_panel() -> None:
    there = marked(60, 2)
    panels = pictures.render_slice_panels(there, there, marked(60, 2, 250, 128), marked(60, 2, 255), "axial", 1.5)
    for name in ("earlier", "later", "difference", "change"):
        assert np.argwhere(np.asarray(opened(getattr(panels, name)))).tolist() == [[60, 2]]
    letters = {letter: x for letter, x, _ in panels.labels.letters}
    assert letters["R"] < MARGIN < panels.width - MARGIN < letters["L"]


def test_scans_are_eight_bit_grey_and_keep_their_values_but_for_a_step() -> None:
    pixels = np.arange(12000, dtype=np.uint32).reshape(120, 100).astype(np.uint8)
    picture = opened(pictures.render_grey_slice(pixels))
    assert picture.mode == "L"
    shown = np.asarray(picture)
    assert (pixels - shown < pictures.GREY_STEP).all()
    assert len(np.unique(shown)) == 256 // pictures.GREY_STEP


def test_brighter_is_orange_darker_is_blue_and_none_is_black() -> None:
    pixels = np.full((120, 100), 128, np.uint8)
    pixels[10, 10], pixels[20, 20] = 255, 0
    panels = pictures.render_slice_panels(pixels, pixels, pixels, pixels, "axial", 1.5)
    colours = np.asarray(opened(panels.difference).convert("RGB"))
    brighter, darker, none = colours[10, 10], colours[20, 20], colours[30, 30]
    assert brighter[0] > brighter[2] + 100
    assert darker[2] > darker[0] + 100
    assert none.tolist() == [0, 0, 0]


def test_the_map_is_clear_where_change_is_improbable_and_opaque_where_it_is_not() -> None:
    change = np.zeros((120, 100), np.uint8)
    change[10, 10], change[20, 20], change[30, 30] = 255, 100, round(255 * pictures.MIN_SHOWN_PROBABILITY) - 1
    panels = pictures.render_slice_panels(change, change, change, change, "axial", 1.5)
    opacity = np.asarray(opened(panels.change).convert("RGBA"))[..., 3]
    assert opacity[10, 10] > opacity[20, 20] > 100
    assert opacity[30, 30] == opacity[40, 40] == 0


@pytest.mark.parametrize(
    ("spacing_mm", "length", "words"), [(1.0, 20, "2 cm"), (1.5, 20 / 1.5, "2 cm"), (0.4, 25, "1 cm")]
)
def test_the_scale_bar_has_its_length(spacing_mm: float, length: float, words: str) -> None:
    labels = picture_labels.place_labels(122, 142, "axial", spacing_mm)
    drawn = re.search(r"h([\d.]+)", labels.bar)
    assert drawn is not None
    assert float(drawn[1]) == pytest.approx(length, abs=0.01)
    assert labels.length == words


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("width", [30, 60, 90, 122, 160, 262])
@pytest.mark.parametrize("spacing_mm", [0.5, 1.0, 1.5, 4.0])
def test_no_label_lies_over_the_slice_or_over_another_label(plane: str, width: int, spacing_mm: float) -> None:
    height = width + 10
    labels = picture_labels.place_labels(width, height, plane, spacing_mm)
    size = labels.font_size
    letters = [(x - size * 0.42, y - size * 0.75, x + size * 0.42, y + 0.5) for _, x, y in labels.letters]
    for left, top, right, bottom in letters:
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
        assert bottom <= MARGIN or top >= height - MARGIN or right <= MARGIN or left >= width - MARGIN
    if labels.bar:
        start, baseline = labels.length_at
        assert baseline - size * 0.75 >= height - MARGIN
        assert start + 2 * size < letters[2][0]


def test_windows_are_of_one_size_and_hold_the_body() -> None:
    slices = np.zeros((2, 60, 80), np.uint8)
    slices[0, 10:30, 20:70] = 100
    slices[1, 40:44, 5:9] = 100
    first, second = find_crop_windows(slices)
    assert slices[0][first].sum() == slices[0].sum()
    assert slices[1][second].sum() == slices[1].sum()
    assert slices[0][first].shape == slices[1][second].shape == (28, 58)


def test_windows_of_black_slices_are_the_middle() -> None:
    assert find_crop_windows(np.zeros((0, 4, 4), np.uint8)) == []
    (window,) = find_crop_windows(np.zeros((1, 60, 80), np.uint8))
    assert window == (slice(26, 34), slice(36, 44))
