"""One scan of a pair that is to be registered: where points are drawn in it, and its images for each level."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import correlation_ratio as correlation
from siamese_med.imaging import interpolation, resampling
from siamese_med.imaging.correlation_ratio import SamplePoints
from siamese_med.imaging.registration import COARSE_GRID_MIN_SMOOTHING_VOXELS, RegistrationLevel
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siamese_med.imaging.interpolation import PackedVolumes

    Matrix = NDArray[np.float64]
    Places = tuple[NDArray[np.int64], Matrix]

EDGES_PER_REGION_LEVER, EDGES_PER_BODY_LEVER = 25.0, 40.0
"""The working edge is the root mean square radius of the region, or of the body, divided by this: about 2 mm in a head.
A body is more than what matters of it, so it is divided more finely."""
MAX_MEASURED_VOXELS = 20_000
"""The radius is measured on about this many voxels, to save time."""
BODY_GRID_VOXELS = 64
"""Voxels along an axis of the coarse grid on which the body is found."""
REGION_THRESHOLD = 0.5
"""Voxels with at least this value belong to a region."""


class ScanSide:
    """One scan of a pair that is to be registered: where points are drawn in it, and its images, smoothed on first use.

    Parameters
    ----------
    scan
        The scan (i, j, k) with its affine to RAS+ mm.
    region
        What is to lie on the other scan, see `register_scan_pair`; None for the whole body.
    """

    def __init__(self, scan: Volume, region: Volume | None = None) -> None:
        voxels = np.ascontiguousarray(scan.voxels, dtype=np.float32)  # once, and not for each image
        self.scan, self.region = Volume(voxels, scan.affine), region
        self._images: dict[tuple[float, float], PackedVolumes] = {}
        self._points: dict[tuple[float, RegistrationLevel, int, bool], SamplePoints] = {}

    @cached_property
    def body(self) -> Places:
        """Return the voxels of the body and of its surroundings, and their affine."""
        upright = _resample_upright(self.scan)
        return np.argwhere(correlation.find_body_mask(upright.voxels, None)), upright.affine

    @cached_property
    def counted(self) -> Places:
        """Return the voxels of the region, or else of the body, and their affine."""
        if self.region is None:
            return self.body
        return np.argwhere(self.region.voxels >= REGION_THRESHOLD), self.region.affine

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Centre (3,) of what counts, in mm."""
        places, affine = self.counted
        return np.asarray(places.mean(0) @ affine[:3, :3].T + affine[:3, 3])

    @cached_property
    def lever(self) -> float:
        """Root mean square radius of what counts, in mm."""
        places, affine = self.counted
        some = places[:: max(1, len(places) // MAX_MEASURED_VOXELS)]
        apart = (some - some.mean(0)) @ affine[:3, :3].T
        return max(1.0, float(np.sqrt((apart**2).sum(1).mean())))

    @property
    def edge_mm(self) -> float:
        """The working edge."""
        return self.lever / (EDGES_PER_BODY_LEVER if self.region is None else EDGES_PER_REGION_LEVER)

    def smooth_image(self, edge_mm: float, smoothing: float) -> PackedVolumes:
        """Pool the scan to voxels of about `edge_mm` and smooth it by `smoothing` edges."""
        if (edge_mm, smoothing) not in self._images:
            edge = edge_mm * (2 if smoothing >= COARSE_GRID_MIN_SMOOTHING_VOXELS else 1)
            image = interpolation.pack_volumes([self.scan], [None], edge, smoothing * edge_mm, "cpu")
            self._images[edge_mm, smoothing] = image
        return self._images[edge_mm, smoothing]

    def draw_points(self, edge_mm: float, level: RegistrationLevel, seed: int, in_body: bool = False) -> SamplePoints:
        """Draw the points of a level in what counts, or in the body."""
        key = edge_mm, level, seed, in_body
        if key not in self._points:
            image = self.smooth_image(edge_mm, level.smoothing)
            places = self.body if in_body else self.counted
            self._points[key] = correlation.draw_sample_points(image, *places, level.points, seed)
        return self._points[key]


def find_body(scan: Volume) -> Volume:
    """Find the body in a scan: what is brighter than the mean, with holes filled.

    Returns
    -------
    Volume
        1 in the body and 0 elsewhere, float32 (i, j, k), on a coarse grid along the axes of the scan's mm; 1 everywhere
        where nothing is brighter than the mean.
    """
    from scipy.ndimage import binary_fill_holes

    upright = _resample_upright(scan)
    body = binary_fill_holes(upright.voxels > upright.voxels.mean())
    return Volume((body if body.any() else np.ones_like(body)).astype(np.float32), upright.affine)


def _resample_upright(scan: Volume) -> Volume:
    """The scan on a coarse grid along the axes of its mm, around its whole field of view."""
    ends = np.stack(np.meshgrid(*((-0.5, n - 0.5) for n in scan.voxels.shape), indexing="ij"), -1).reshape(-1, 3)
    corners = ends @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    low, high = corners.min(0), corners.max(0)
    edge = float(np.prod(high - low)) ** (1 / 3) / BODY_GRID_VOXELS
    shape = np.maximum(1, np.ceil((high - low) / edge).astype(int))
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = low + edge / 2
    voxels = resampling.resample_volume(scan, affine, shape.tolist())[0, 0]
    return Volume(voxels.numpy(), affine)
