"""The slices of a pair that a report shows. They are chosen and windowed here, so that reporting needs no scan.

Display orientation (radiological convention): in axial slices row 0 is anterior and column 0 the patient's right, in
coronal ones row 0 is superior and column 0 the patient's right, in sagittal ones row 0 is superior and column 0
anterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from siamese_med.imaging import resampling
from siamese_med.imaging.intensity import IntensityLevels, scale_intensity
from siamese_med.imaging.resampling import smooth_images
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.study.component import Component
from siamese_med.study.thresholds import MAX_CANDIDATE_P

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURE_SPACING_MM = 1.0
"""Edge of a pixel, where the pair's grid is coarser. Unit: mm. Source: our choice; finer ones make pages too large."""
MIN_SLICE_DISTANCE_MM = 9.0
"""Two axial slices of strongest change lie at least this far apart. Unit: mm. Source: our choice."""
MAX_AXIAL_SLICES = 4
"""Largest number of axial slices of strongest change, where no part is listed."""
MAX_PART_SLICES = 8
"""Largest number of axial slices through the listed parts."""
SHOWN_WITHIN_MM = 3.0
"""A slice shows a part if it passes within this distance of its centre. Unit: mm. Source: our choice."""
STRONGEST_CHANGE = "strongest change"
"""Reason for choosing a slice that passes through change; all others are at fixed places."""
PLANE_AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The grid axis (0 = i, 1 = j, 2 = k) that is normal to the slices of a plane."""
NEUTRAL_GREY = {"difference": 128}
"""Grey level (0 to 255) of the value 0, for images in which it is not black."""
DIFFERENCE_SMOOTHING_SD_MM = 2.0
"""Standard deviation of the smoothing of the difference image, which reduces noise for display."""
DIFFERENCE_RANGE = 0.5
"""Difference that is shown fully white, or negative fully black. Unit: median of bright tissue."""


@dataclass(frozen=True)
class SliceChoice:
    """One slice: its plane (`axial`, ...), its index on the pair grid, and why it was chosen, as text for the page.

    `parts` are the numbers of the listed parts that it shows, from 1.
    """

    plane: str
    index: int
    chosen: str
    parts: tuple[int, ...] = ()


def write_pair_slices(
    path: Path,
    pair: RegisteredPair,
    scans: tuple[Volume, Volume],
    evidence: Tensor,
    probability: Tensor,
    parts: Sequence[Component] = (),
) -> None:
    """Choose the slices of one pair and write them as a compressed npz file.

    It holds `earlier`, `later`, `difference` and `change` (n, rows, columns), uint8, padded to squares of one size;
    for each slice `plane`, `position_mm` (of its middle, along its normal, RAS+ mm of the earlier scan, like the
    positions of the parts), `chosen`, and `parts`, the numbers of the parts that it shows, as text; and `spacing_mm`.

    The slices are chosen by the `parts` with a p up to MAX_CANDIDATE_P, strongest first, and by `evidence` (i, j, k),
    signed; `probability` (i, j, k), 0 to 1, is the change map. The dates are drawn from the voxels of the earlier and
    the later of `scans`, and get one window. The difference and the map are those of the pair's grid, enlarged.
    """
    listed = [part for part in parts if part.p is None or part.p <= MAX_CANDIDATE_P]
    choices = choose_slices(evidence, pair.space, _find_places(listed, pair))
    spacing_mm = min(PICTURE_SPACING_MM, pair.space.spacing_mm)
    drawn = _draw_images(pair, scans, probability, choices, spacing_mm)
    side = max(max(image.shape) for image in drawn["earlier"])
    slices = {
        name: np.stack([_pad_to_square(image.clip(0, 255), side, NEUTRAL_GREY.get(name, 0)) for image in images])
        for name, images in drawn.items()
    }
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            earlier=slices["earlier"],
            later=slices["later"],
            difference=slices["difference"],
            change=slices["change"],
            plane=np.array([choice.plane for choice in choices]),
            position_mm=np.array([_position(choice, pair) for choice in choices]),
            chosen=np.array([choice.chosen for choice in choices]),
            parts=np.array([",".join(map(str, choice.parts)) for choice in choices]),
            spacing_mm=np.array(spacing_mm),
        )


def _draw_images(
    pair: RegisteredPair,
    scans: tuple[Volume, Volume],
    probability: Tensor,
    choices: Sequence[SliceChoice],
    spacing_mm: float,
) -> dict[str, list[NDArray[Any]]]:
    """The four images of each slice (rows, columns), by their names in the file, in grey levels."""
    window, drawn = _window(pair), {}
    matrices = pair.matrix_earlier, pair.matrix_later
    for name, scan, matrix, levels in zip(("earlier", "later"), scans, matrices, pair.levels, strict=True):
        drawn[name] = [_draw_scan(scan, matrix, levels, pair.space, one, spacing_mm) * window for one in choices]
    shapes = [image.shape for image in drawn["earlier"]]
    difference = 128 + _difference(pair) * 127 / DIFFERENCE_RANGE
    for name, grid in (("difference", difference), ("change", probability.numpy() * 255)):
        drawn[name] = [_enlarge(orient_slice(grid, one), shape) for one, shape in zip(choices, shapes, strict=True)]
    return drawn


def _draw_scan(
    scan: Volume,
    to_scan: NDArray[np.float64],
    levels: IntensityLevels,
    space: PairSpace,
    choice: SliceChoice,
    spacing_mm: float,
) -> NDArray[np.float32]:
    """One slice (rows, columns) of the pair's grid from the voxels of a scan, normalised; pixels have `spacing_mm`."""
    ratio = spacing_mm / space.spacing_mm
    shape = [max(1, round(n / ratio)) for n in space.inside.shape]
    to_grid = np.diag([ratio, ratio, ratio, 1.0])
    to_grid[:3, 3] = (ratio - 1) / 2  # the outer faces of both grids are the same
    axis = PLANE_AXES[choice.plane]
    shape[axis], to_grid[axis, axis], to_grid[axis, 3] = 1, 1.0, choice.index
    voxels, valid = resampling.resample_volume(scan, to_scan @ space.affine @ to_grid, shape)[0]
    image = scale_intensity(voxels, valid, levels).numpy()
    return np.asarray(orient_slice(image, SliceChoice(choice.plane, 0, choice.chosen)))


def _enlarge(image: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Enlarge a slice (rows, columns) to another shape, linearly; the outer faces of both are the same."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))[None, None]
    return np.asarray(functional.interpolate(pixels, shape, mode="bilinear", align_corners=False)[0, 0].numpy())


def choose_slices(evidence: Tensor, space: PairSpace, places: Sequence[NDArray[np.float64]] = ()) -> list[SliceChoice]:
    """Choose slices through the change (axial ones and a coronal one), then fixed ones, each slice once.

    The axial ones are those through the listed parts, whose centres are `places` (voxel indices, strongest first); if
    there are none, those of strongest evidence. The fixed ones are the middle of the body in all three planes, and
    axially also three quarters of its height.
    """
    strength = evidence.abs()
    peak = np.unravel_index(int(strength.argmax()), strength.shape)
    choices = _through_parts(places, space) or [
        SliceChoice("axial", index, STRONGEST_CHANGE) for index in _strongest(strength, space)
    ]
    choices.insert(2, SliceChoice("coronal", int(peak[1]), STRONGEST_CHANGE))
    body = np.argwhere(space.inside)
    middle = np.round(body.mean(0)).astype(int)
    choices.append(SliceChoice("axial", int(middle[2]), "fixed"))
    choices.append(SliceChoice("axial", int(np.round(body[:, 2].min() + 0.75 * np.ptp(body[:, 2]))), "fixed"))
    choices += [
        SliceChoice(plane, int(middle[axis]), "fixed") for plane, axis in PLANE_AXES.items() if plane != "axial"
    ]
    there: dict[tuple[str, int], SliceChoice] = {}
    for choice in choices:
        there.setdefault((choice.plane, choice.index), choice)
    return list(there.values())


def _find_places(parts: Sequence[Component], pair: RegisteredPair) -> list[NDArray[np.float64]]:
    """The centres of the parts, as voxel indices of the pair grid."""
    to_grid = np.linalg.inv(pair.matrix_earlier @ pair.space.affine)
    return [np.asarray((to_grid @ np.array([*part.earlier_mm, 1.0], dtype=float))[:3]) for part in parts]


def _through_parts(places: Sequence[NDArray[np.float64]], space: PairSpace) -> list[SliceChoice]:
    """Axial slices through the parts, strongest first; parts that lie close to a slice share it."""
    indices: list[int] = []
    for place in places:
        near = [index for index in indices if abs(index - place[2]) * space.spacing_mm <= SHOWN_WITHIN_MM]
        if not near and len(indices) < MAX_PART_SLICES:
            indices.append(int(np.clip(np.round(place[2]), 0, space.inside.shape[2] - 1)))
    return [
        SliceChoice(
            "axial",
            index,
            STRONGEST_CHANGE,
            tuple(
                number
                for number, place in enumerate(places, start=1)
                if abs(index - place[2]) * space.spacing_mm <= SHOWN_WITHIN_MM
            ),
        )
        for index in indices
    ]


def _strongest(strength: Tensor, space: PairSpace) -> list[int]:
    """Axial slices by their strongest evidence, none within MIN_SLICE_DISTANCE_MM of an earlier one."""
    peaks = strength.amax((0, 1))
    found: list[int] = []
    while len(found) < MAX_AXIAL_SLICES and float(peaks.max()) > 0:
        found.append(int(peaks.argmax()))
        near = (torch.arange(len(peaks)) - found[-1]).abs() * space.spacing_mm < MIN_SLICE_DISTANCE_MM
        peaks = peaks * ~near
    return found or [int(np.round(np.argwhere(space.inside).mean(0))[2])]


def orient_slice(volume: NDArray[Any], choice: SliceChoice) -> NDArray[Any]:
    """Cut one slice (rows, columns) from an RAS+ volume (i, j, k), in the orientation of the module's first lines.

    Examples
    --------
    >>> ijk = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1) @ [100, 10, 1]
    >>> orient_slice(ijk, SliceChoice("axial", 0, "fixed"))  # row 0 anterior: j = 1; column 0 right: i = 1
    array([[110,  10],
           [100,   0]])
    """
    if choice.plane == "axial":
        return volume[::-1, ::-1, choice.index].T
    if choice.plane == "coronal":
        return volume[::-1, choice.index, ::-1].T
    return volume[choice.index, ::-1, ::-1].T


def _difference(pair: RegisteredPair) -> NDArray[np.float32]:
    """Later - earlier, with contrast and bias field matched, smoothed by DIFFERENCE_SMOOTHING_SD_MM."""
    difference = smooth_images(
        ((pair.b - pair.a) * pair.inside)[None, None], DIFFERENCE_SMOOTHING_SD_MM / pair.space.spacing_mm
    )
    return np.asarray((difference[0, 0] * pair.inside).numpy())


def _window(pair: RegisteredPair) -> float:
    """Grey levels per unit of normalised intensity, the same for both dates."""
    shown = torch.cat([pair.earlier[pair.inside], pair.later[pair.inside]])
    shown = shown[:: max(1, shown.numel() // 100_000)]
    top = float(torch.quantile(shown, 0.998)) if shown.numel() else 1.0
    return 255 / max(top * 1.05, 1e-3)


def _pad_to_square(image: NDArray[Any], side: int, fill: int) -> NDArray[np.uint8]:
    rows, columns = image.shape
    top, left = (side - rows) // 2, (side - columns) // 2
    padding = ((top, side - rows - top), (left, side - columns - left))
    return np.pad(np.round(image).astype(np.uint8), padding, constant_values=fill)


def _position(choice: SliceChoice, pair: RegisteredPair) -> float:
    axis = PLANE_AXES[choice.plane]
    middle = np.argwhere(pair.space.inside).mean(0)
    middle[axis] = choice.index
    return float((pair.matrix_earlier @ pair.space.affine @ [*middle, 1])[axis])
