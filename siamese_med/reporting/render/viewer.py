"""Both scans of a pair and its change map on one grid, small enough to be embedded in a page for the NiiVue viewer.

The axes of the grid are those of the earlier scan's RAS+ millimetres, so the crosshair shows the coordinates that the
report gives.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.intensity import normalise_intensity, undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.reporting.data.report_content import ReportPair
from siamese_med.study.table_cells import parse_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

NIIVUE = Path(__file__).parent / "vendor" / "niivue.umd.js"
"""The npm package @niivue/niivue 0.69.0, unchanged; its licence is in the same folder."""
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Digest of that file, checked by a test."""

VOXEL_EDGES_MM = (1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 6.0)
"""Voxel edges that a viewer may have; the finest with which the page stays within its size is used."""
MAX_VOXEL_CHARACTERS = 1_600_000
"""Limit of the embedded volumes, in characters; with NiiVue's 2.3 million the page stays below 4 MB."""
BODY_MARGIN_MM = 6.0
"""Margin of air that is kept around the body."""
MAX_AIR_BRIGHTNESS = 0.15
"""Normalised intensity up to which the border is cropped; 1 is the median of bright tissue."""
BODY_SEARCH_SPACING_MM = 4.0
"""Voxel edge of the grid on which the body is searched."""
MIN_CHARACTERS_PER_GRID_POINT = 0.5
"""Lower bound of the characters for the three voxels of a grid point; grids too large even so are skipped."""


@dataclass(frozen=True)
class ViewerLayers:
    """The three volumes of a viewer on one grid, each as base64 of a `.nii.gz` with 8 bits per voxel.

    Parameters
    ----------
    earlier, later
        Scans with one intensity window.
    change
        Probability of change.
    spacing_mm
        Edge of the cubic voxels.
    """

    earlier: str
    later: str
    change: str
    spacing_mm: float

    @property
    def size(self) -> int:
        """Number of characters that the volumes add to a page."""
        return len(self.earlier) + len(self.later) + len(self.change)


@cache
def read_niivue_source() -> str:
    """Read the JavaScript source of NiiVue, once for each process."""
    return NIIVUE.read_text(encoding="utf-8")


def build_viewer_layers(pair: ReportPair, rows: Mapping[str, Mapping[str, Any]], data: Path) -> ViewerLayers | None:
    """Build the volumes that the viewer shows for one pair.

    Parameters
    ----------
    pair
        Pair with its change map and transform.
    rows
        Rows of the scan table by scan id.
    data
        Data folder, from which paths in the table count.

    Returns
    -------
    ViewerLayers or None
        None where scoring saved no change map.
    """
    if not (pair.score.map and pair.score.transform and (data / pair.score.map).is_file()):
        return None
    earlier, later = (_scan(rows[name], data) for name in (pair.earlier, pair.later))
    return fit_viewer_layers(
        earlier, later, volume.read_volume(data / pair.score.map), np.array(pair.score.transform, dtype=float)
    )


def _scan(row: Mapping[str, Any], data: Path) -> Volume:
    scan = volume.read_volume(data / str(row["path"]))
    return Volume(undo_monochrome1(scan.voxels, parse_words(row["flags"])), scan.affine)


def fit_viewer_layers(
    earlier: Volume, later: Volume, change: Volume, transform: NDArray[np.float64], budget: int = MAX_VOXEL_CHARACTERS
) -> ViewerLayers:
    """Resample the volumes of a viewer to the finest of VOXEL_EDGES_MM that fits into `budget`.

    Parameters
    ----------
    earlier, later
        Scans as ingested, each in its own RAS+ space.
    change
        Probability of change in the earlier scan's space.
    transform
        4x4 matrix from the earlier scan's mm to the later scan's mm (RAS+).
    budget
        Limit of the three volumes together, in characters; the coarsest edge is used even if it exceeds it.
    """
    low, high = _body(earlier)
    finest = min(float(scan.spacing_mm.min()) for scan in (earlier, later))
    density = MIN_CHARACTERS_PER_GRID_POINT
    for edge in VOXEL_EDGES_MM:
        shape = np.ceil((high - low) / edge).astype(int) + 1
        if edge < VOXEL_EDGES_MM[-1] and (edge < finest - 0.1 or shape.prod() * density > budget):
            continue
        grid = np.diag([edge, edge, edge, 1.0])
        grid[:3, 3] = low
        made = _layers(earlier, later, change, transform, (grid, [int(n) for n in shape]))
        if made.size <= budget:
            break
        density = 0.95 * made.size / shape.prod()
    return made


def _body(scan: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners in mm of the box, along the axes of the scan's mm, that holds what is not air."""
    corners = np.array(np.meshgrid(*([-0.5, n - 0.5] for n in scan.voxels.shape), indexing="ij")).reshape(3, -1)
    ends = scan.affine[:3, :3] @ corners + scan.affine[:3, 3:]
    low, high = ends.min(1), ends.max(1)
    grid = np.diag([BODY_SEARCH_SPACING_MM, BODY_SEARCH_SPACING_MM, BODY_SEARCH_SPACING_MM, 1.0])
    grid[:3, 3] = low
    shape = [int(n) for n in np.ceil((high - low) / BODY_SEARCH_SPACING_MM).astype(int) + 1]
    shown = normalise_intensity(*resampling.resample_volume(scan, grid, shape)[0]).numpy() > MAX_AIR_BRIGHTNESS
    filled = np.argwhere(shown) if shown.any() else np.array([[0, 0, 0], shape])
    inner = (
        low + BODY_SEARCH_SPACING_MM * filled.min(0) - BODY_MARGIN_MM,
        low + BODY_SEARCH_SPACING_MM * filled.max(0) + BODY_MARGIN_MM,
    )
    return np.maximum(inner[0], low), np.minimum(inner[1], high)


def _layers(
    earlier: Volume,
    later: Volume,
    change: Volume,
    transform: NDArray[np.float64],
    grid: tuple[NDArray[np.float64], list[int]],
) -> ViewerLayers:
    affine, shape = grid
    scans = [
        np.asarray(normalise_intensity(*resampling.resample_volume(scan, matrix @ affine, shape)[0]), dtype=np.float32)
        for scan, matrix in ((earlier, np.eye(4)), (later, transform))
    ]
    top = max(1e-3, float(np.quantile(np.stack(scans)[:, ::2, ::2, ::2], 0.999)))  # one window for both dates
    probability = resampling.resample_volume(change, affine, shape)[0, 0].numpy()
    first, second, third = (_encoded(one, affine) for one in (scans[0] / top, scans[1] / top, probability))
    return ViewerLayers(first, second, third, float(affine[0, 0]))


def _encoded(shares: NDArray[Any], affine: NDArray[np.float64]) -> str:
    pixels = np.round(shares.clip(0, 1) * 255).astype(np.uint8)
    return base64.b64encode(volume.encode_nifti_gz(Volume(pixels, affine))).decode("ascii")
