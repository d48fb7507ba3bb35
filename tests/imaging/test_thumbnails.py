"""Three slices in one small picture, the right way round."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from siamese_med.imaging import slice_labels, thumbnails
from siamese_med.imaging.volume import Volume

TILE = thumbnails.TILE_EDGE_PX + 2 * slice_labels.LABEL_MARGIN_PX
MIDDLE = TILE // 2


def shown(bright: tuple[slice, slice, slice], spacing: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """The strip (rows, columns) of a canonical volume that is dark but for one part."""
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[bright] = 1000
    picture = Image.open(io.BytesIO(thumbnails.make_thumbnail_strip(Volume(voxels, np.diag([*spacing, 1.0])))))
    return np.asarray(picture.convert("L")).astype(int)


HALF, FAR, ALL = slice(0, 20), slice(20, 40), slice(None)


@pytest.mark.parametrize(
    ("bright", "tile", "brighter"),
    [
        ((FAR, ALL, ALL), 0, "left"),  # the patient's right
        ((FAR, ALL, ALL), 1, "left"),
        ((ALL, FAR, ALL), 0, "top"),  # the front
        ((ALL, FAR, ALL), 2, "left"),
        ((ALL, ALL, FAR), 1, "top"),  # the head
        ((ALL, ALL, FAR), 2, "top"),
    ],
)
def test_each_side_is_where_its_letter_says(bright: tuple[slice, slice, slice], tile: int, brighter: str) -> None:
    inner = slice(slice_labels.LABEL_MARGIN_PX + 2, TILE - slice_labels.LABEL_MARGIN_PX - 2)
    pixels = shown(bright)[:, tile * TILE : (tile + 1) * TILE][inner, inner]
    half = len(pixels) // 2
    near, far = (pixels[:, :half], pixels[:, half:]) if brighter == "left" else (pixels[:half], pixels[half:])
    assert near.mean() > far.mean() + 150


def test_slices_keep_their_proportions() -> None:
    strip = shown((HALF, ALL, ALL), spacing=(1, 1, 0.25))
    coronal = strip[:, TILE : 2 * TILE]
    lit = np.flatnonzero(
        coronal[:, TILE - slice_labels.LABEL_MARGIN_PX - 14 : TILE - slice_labels.LABEL_MARGIN_PX].mean(axis=1) > 100
    )
    assert lit[-1] - lit[0] + 1 == pytest.approx(thumbnails.TILE_EDGE_PX / 4, abs=2)


def test_a_strip_is_small_and_always_the_same() -> None:
    voxels = np.random.default_rng(0).normal(0, 1, (64, 64, 30)).astype(np.float32)
    volume = Volume(voxels, np.diag([1.0, 1, 5, 1]))
    assert thumbnails.make_thumbnail_strip(volume) == thumbnails.make_thumbnail_strip(volume)
    assert len(thumbnails.make_thumbnail_strip(volume)) < 6000


@pytest.mark.parametrize("value", [0, -1024, 7])
def test_an_even_volume_is_no_trouble(value: int) -> None:
    assert thumbnails.make_thumbnail_strip(Volume(np.full((3, 3, 3), value, np.int16), np.eye(4)))
