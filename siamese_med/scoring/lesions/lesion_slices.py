"""Slices through marked lesions: the same place on several dates, with the outline of what is marked there.

They are cut here, so that reporting needs no scan. A slice lies in the axial plane of the scan that shows the lesion
largest, along its voxels, in radiological orientation: row 0 is anterior, column 0 the patient's right.

Arrays of the file, n slices: `slices` (n, rows, columns), uint8 grey levels; `marked` (n, rows, columns), bool; and for
each slice `lesion`, its number, `scan`, an id, and `spacing_mm`, the edge of its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.scoring.lesions.marked_scan import MarkedScan
from siamese_med.scoring.lesions.tracking import LesionTrack
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

MAX_LESIONS = 8
"""Largest number of lesions of a time line that get slices."""
MAX_DATES = 5
"""Largest number of dates of a lesion that get a slice: the first and the newest ones."""
SLICE_PIXELS = 96
"""Rows and columns of a slice."""
MIN_EDGE_MM, MAX_EDGE_MM = 60.0, 144.0
"""Least and largest edge of a slice; in between it is as large as EDGE_FACTOR times the lesion. Source: our choice."""
EDGE_FACTOR = 2.0
BLACK_QUANTILE, WHITE_QUANTILE = 0.01, 0.998
"""Quantile of the scan's brightness that is drawn black, and of the brightness in its region that is drawn white."""
MIN_UNIT = 1e-3
"""Least difference of black and the median, for a scan of one value."""
MAX_WINDOW_VOXELS = 200_000
"""Number of voxels that the quantiles are taken from."""


@dataclass(frozen=True)
class SliceSource:
    """The scan that slices are cut from. `region` is where its brightness counts; None for all of it."""

    id: str
    path: Path
    flags: tuple[str, ...] = ()
    region: Volume | None = None


@dataclass(frozen=True)
class LesionPlane:
    """Position of the slices of a lesion: 4x4, (column, row, 0) of a slice to the patient's mm, and a pixel's edge."""

    to_patient: Matrix
    spacing_mm: float


@dataclass(frozen=True)
class LesionSlice:
    """One slice: the number of the lesion, the id of the scan, and (rows, columns) grey levels and what is marked."""

    lesion: int
    scan: str
    grey: NDArray[np.uint8]
    marked: NDArray[np.bool_]
    spacing_mm: float


def cut_lesion_slices(
    scans: Sequence[MarkedScan],
    sources: Sequence[SliceSource],
    tracks: Sequence[LesionTrack],
    numbers: Sequence[int],
) -> list[LesionSlice]:
    """Cut the slices of one time line, lesion by lesion, each in the order of time; one scan is in memory at a time.

    All dates have one window: the same grey is the same share of the median of each date's brain.

    Parameters
    ----------
    scans, sources
        The marks of each scan, in the order of time, and what the scan's pixels are read from.
    tracks, numbers
        The lesions, see `tracking.track_lesions`, and the number of each.
    """
    chosen = choose_tracks(scans, tracks)
    planes = [find_lesion_plane(scans, tracks[place]) for place in chosen]
    cuts: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    white = 0.0
    dates = choose_dates(len(scans)) if chosen else []
    for date in dates:
        scan, brightest = _read_normalised(sources[date])
        white = max(white, brightest)
        for row, plane in enumerate(planes):
            cuts[row, date] = _cut(scan, scans[date], plane)
    found = []
    for row, place in enumerate(chosen):
        for date in dates:
            image, marked = cuts[row, date]
            grey = np.round(image * (255 / white)).clip(0, 255).astype(np.uint8)
            found.append(LesionSlice(numbers[place], sources[date].id, grey, marked, planes[row].spacing_mm))
    return found


def write_lesion_slices(path: Path, slices: Sequence[LesionSlice]) -> None:
    """Write the slices of a patient as one npz file, which is replaced as a whole; without slices it is removed."""
    if not slices:
        path.unlink(missing_ok=True)
        return
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            slices=np.stack([one.grey for one in slices]),
            marked=np.stack([one.marked for one in slices]),
            lesion=np.array([one.lesion for one in slices]),
            scan=np.array([one.scan for one in slices]),
            spacing_mm=np.array([one.spacing_mm for one in slices]),
        )


def choose_tracks(scans: Sequence[MarkedScan], tracks: Sequence[LesionTrack]) -> list[int]:
    """Choose the lesions that get slices, as indices: those whose volume changed most since the first date come first.

    What is new or gone has changed by its whole volume.
    """

    def measure_change(place: int) -> float:
        marks = tracks[place].marks
        volumes = {
            mark.place: 0.0 if mark.part is None else float(scans[mark.place].volumes_ml[mark.part]) for mark in marks
        }
        before = volumes[marks[0].place] if marks[0].fate == LesionFate.FIRST else 0.0
        return abs(volumes[marks[-1].place] - before)

    return sorted(range(len(tracks)), key=lambda place: (-measure_change(place), place))[:MAX_LESIONS]


def choose_dates(count: int) -> list[int]:
    """Choose the dates that get a slice: all, or the first and the newest ones.

    Examples
    --------
    >>> choose_dates(3), choose_dates(9)
    ([0, 1, 2], [0, 5, 6, 7, 8])
    """
    return list(range(count)) if count <= MAX_DATES else [0, *range(count - MAX_DATES + 1, count)]


def find_lesion_plane(scans: Sequence[MarkedScan], track: LesionTrack) -> LesionPlane:
    """Find where the slices of a lesion lie: axially through the centre of its largest mark."""
    place, part, _ = _find_largest_mark(scans, track)
    scan = scans[place]
    axes = _find_axes(scan.affine)
    extent = float(np.ptp(scan.locate_part(part) @ axes[:, :2], axis=0).max())
    edge = float(np.clip(EDGE_FACTOR * extent, MIN_EDGE_MM, MAX_EDGE_MM))
    spacing = edge / SLICE_PIXELS
    to_scan = np.eye(4)
    to_scan[:3, 0], to_scan[:3, 1], to_scan[:3, 2] = -spacing * axes[:, 0], -spacing * axes[:, 1], spacing * axes[:, 2]
    middle = (SLICE_PIXELS - 1) / 2
    centre = scan.centres_mm[part]
    to_scan[:3, 3] = centre - middle * (to_scan[:3, 0] + to_scan[:3, 1])
    return LesionPlane(np.asarray(scan.to_patient @ to_scan), spacing)


def _find_axes(affine: Matrix) -> Matrix:
    """Unit vectors along the voxels (3, 3), one a column: those nearest to the right, the front and the head."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(
        ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
        key=lambda order: sum(abs(axes[row, column]) for row, column in enumerate(order)),
    )
    ordered = axes[:, list(best)]
    return np.asarray(ordered * np.where(np.diag(ordered) < 0, -1.0, 1.0))


def _find_largest_mark(scans: Sequence[MarkedScan], track: LesionTrack) -> tuple[int, int, float]:
    """The date and the part of the largest mark of a lesion, and its volume in ml."""
    marks = [(mark.place, mark.part) for mark in track.marks if mark.part is not None]
    sizes = [float(scans[place].volumes_ml[part]) for place, part in marks]
    largest = int(np.argmax(sizes))
    return (*marks[largest], sizes[largest])


def _read_normalised(source: SliceSource) -> tuple[Volume, float]:
    """A scan with bright tissue high, in which black is 0 and the median of its region 1; and what is drawn white."""
    scan = volume.read_volume(source.path)
    bright = undo_monochrome1(scan.voxels, source.flags)
    everything = _thin_out(np.asarray(bright).ravel())
    inside = everything if source.region is None else _read_inside(Volume(bright, scan.affine), source.region)
    low = float(np.quantile(everything, BLACK_QUANTILE))
    median, high = np.quantile(inside if len(inside) else everything, (0.5, WHITE_QUANTILE))
    unit = max(float(median) - low, MIN_UNIT)
    return Volume(np.asarray((bright - low) / unit, dtype=np.float32), scan.affine), max(
        (float(high) - low) / unit, 1.0
    )


def _read_inside(scan: Volume, region: Volume) -> NDArray[np.float32]:
    """Brightness of the scan at voxels of a region, which has a grid of its own."""
    places = _thin_out(np.argwhere(region.voxels > 0.5))
    matrix = np.linalg.inv(scan.affine) @ region.affine
    voxels = np.rint(places @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < scan.voxels.shape)).all(1)]
    return np.asarray(scan.voxels[tuple(voxels.T)], dtype=np.float32)


def _thin_out(rows: NDArray[Any]) -> NDArray[Any]:
    """At most MAX_WINDOW_VOXELS of the rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // MAX_WINDOW_VOXELS))]


def _cut(scan: Volume, marked: MarkedScan, plane: LesionPlane) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One slice: normalised brightness, 0 outside the scan, and what is marked, (rows, columns) each."""
    to_scan = np.linalg.inv(marked.to_patient) @ plane.to_patient
    shape = (SLICE_PIXELS, SLICE_PIXELS, 1)
    image = resampling.resample_volume(scan, to_scan, shape)[0, 0].numpy()[..., 0]
    mask = Volume(marked.mask.astype(np.float32), marked.affine)
    mark = resampling.resample_volume(mask, to_scan, shape)[0, 0].numpy()[..., 0] > 0.5
    return np.asarray(image.T), np.asarray(mark.T)
