"""Thumbnails: the middle axial, coronal and sagittal slice of a scan in one small picture.

They are in radiological orientation: the patient's right is at the left edge of axial and coronal slices, the front is
at the left edge of sagittal slices; head or front is at the top. Letters at the edges say so.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import slice_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siamese_med.imaging.volume import Volume

TILE_EDGE_PX = 56
"""Edge of a square tile in pixels without the margin; the longest edge of the volume fills it."""

LETTER_LEVEL, SEAM_LEVEL = 255, 60
"""Grey values of the letters and of the line between tiles."""
DARKEST_PERCENTILE, BRIGHTEST_PERCENTILE = 1.0, 99.5
"""Percentiles of the three slices that become black and white."""
WEBP_QUALITY = 40
"""Quality of the WebP encoder, 0 to 100; a thumbnail takes about 2 KB with it."""
THUMBNAIL_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
"""Planes of the tiles from left to right, and the voxel axis that is perpendicular to each."""


def make_thumbnail_strip(scan: Volume) -> bytes:
    """Make a thumbnail of three tiles side by side: axial, coronal and sagittal.

    Parameters
    ----------
    scan
        A volume in canonical orientation (RAS+, see `reorient_to_ras`); its voxels need not be isotropic.

    Returns
    -------
    A WebP file, 8-bit grey, about 2 KB. Equal scans give equal bytes.
    """
    from PIL import Image

    slices = [_middle(scan.voxels, axis) for _, axis in THUMBNAIL_PLANES]
    low, high = np.percentile(
        np.concatenate([one.ravel() for one in slices]), [DARKEST_PERCENTILE, BRIGHTEST_PERCENTILE]
    )
    extents = scan.spacing_mm * scan.voxels.shape
    scale = TILE_EDGE_PX / float(extents.max())
    tiles = []
    for (plane, axis), pixels in zip(THUMBNAIL_PLANES, slices, strict=True):
        across, down = (max(1, round(float(extents[one]) * scale)) for one in range(3) if one != axis)
        grey = Image.fromarray(_windowed(pixels, float(low), float(high)))
        tiles.append(_tile(np.asarray(grey.resize((across, down), Image.Resampling.BOX)), plane))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=1)).save(buffer, "WEBP", quality=WEBP_QUALITY)
    return buffer.getvalue()


def _middle(voxels: NDArray[np.generic], axis: int) -> NDArray[np.float32]:
    """The middle slice as rows and columns of a picture: both axes reversed, the later axis running down."""
    middle = np.moveaxis(voxels, axis, 0)[voxels.shape[axis] // 2]
    return np.asarray(middle[::-1, ::-1].T, dtype=np.float32)


def _windowed(pixels: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    return np.round(255 * ((pixels - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)


def _tile(pixels: NDArray[np.uint8], plane: str) -> NDArray[np.uint8]:
    """Centre the slice in a black square and add its letters."""
    spare = [TILE_EDGE_PX - length for length in pixels.shape]
    square = np.pad(pixels, [(one // 2, one - one // 2) for one in spare])
    picture = slice_labels.add_label_margin(square, 0)
    slice_labels.draw_orientation_letters(picture, plane, LETTER_LEVEL)
    picture[:, -1] = SEAM_LEVEL
    return picture
