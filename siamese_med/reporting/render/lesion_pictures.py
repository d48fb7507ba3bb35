"""Pictures of marked lesions for a patient's page: each lesion on several dates, with the outline of what is marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.slice_labels import LABEL_MARGIN_PX
from siamese_med.reporting.render.picture_labels import MAX_LABEL_BYTES, PictureLabels, place_labels
from siamese_med.reporting.render.pictures import render_grey_slice, trace_outline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MAX_LESION_PICTURE_BYTES = 150_000
"""Limit of the pictures of lesions on one page, in bytes; the slices of the pairs get what is left of the page's."""


@dataclass(frozen=True)
class LesionPicture:
    """One lesion on one scan: its slice as data URL, the outline as an SVG path, and the labels.

    `width` and `height` are in pixels, with a margin of LABEL_MARGIN_PX for the labels; the slice has none.
    """

    scan: str
    width: int
    height: int
    url: str
    outline: str
    labels: PictureLabels

    @property
    def size(self) -> int:
        """Number of bytes that the picture adds to a page."""
        return len(self.url) + len(self.outline) + MAX_LABEL_BYTES


LesionPictures = dict[int, tuple[LesionPicture, ...]]
"""The pictures of each lesion by its number, in the order of time."""


def read_lesion_pictures(path: Path, budget: int = MAX_LESION_PICTURE_BYTES) -> LesionPictures:
    """Render the slices that scoring saved of a patient's lesions, lesion by lesion, as many as the budget allows.

    Parameters
    ----------
    path
        The npz file, see `scoring.lesions.lesion_slices`; without it there are no pictures.
    budget
        Limit of all pictures together, in bytes.
    """
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as file:
        kept: dict[str, NDArray[np.generic]] = {name: file[name] for name in file.files}
    found: LesionPictures = {}
    for number in dict.fromkeys(kept["lesion"].tolist()):
        pictures = tuple(_render(kept, row) for row in np.flatnonzero(kept["lesion"] == number).tolist())
        budget -= sum(one.size for one in pictures)
        if budget < 0:
            break
        found[int(number)] = pictures
    return found


def measure_pictures(pictures: Mapping[int, tuple[LesionPicture, ...]]) -> int:
    """Return the number of bytes that pictures add to a page."""
    return sum(one.size for row in pictures.values() for one in row)


def _render(kept: Mapping[str, NDArray[np.generic]], row: int) -> LesionPicture:
    grey = np.asarray(kept["slices"][row], dtype=np.uint8)
    height, width = (edge + 2 * LABEL_MARGIN_PX for edge in grey.shape)
    outline = trace_outline(np.asarray(kept["marked"][row], dtype=bool), LABEL_MARGIN_PX)
    labels = place_labels(width, height, "axial", float(kept["spacing_mm"][row]))
    return LesionPicture(str(kept["scan"][row]), width, height, render_grey_slice(grey), outline, labels)
