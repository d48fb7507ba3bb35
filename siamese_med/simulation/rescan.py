"""Simulated rescans of a real or simulated scan, with another scanner, pose, field of view, contrast and noise.

Two rescans of one source must share its anatomy only. Therefore:
- the noise of the source is smoothed away before the noise of the new scanner is added, and its air is set to 0;
- the body outside the source is unknown. Where a face of the source cuts through the body, the new field of view ends
  inside the source. Beyond a face that shows only air, there is air.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.simulation import scanner
from siamese_med.simulation.scanner import WORLD_AXES_BY_PLANE, Acquisition, Scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Voxels = NDArray[np.float32]

POSE_SD_DEGREES = 3.0
POSE_SD_SHARE = 0.02
"""Standard deviations of the pose: rotation about each axis, and translation as a share of the smallest extent."""
MAX_POSE_SD = 2.0
"""Poses are clipped at this many standard deviations."""
MAX_AIR_SIGNAL = 0.1
"""Signal, as a share of full scale, below which a voxel may be air."""
MAX_BODY_SHARE_ON_AIR_FACE = 0.02
"""A face of the source cuts through the body if more than this share of it shows body."""
THICK_SLICE_RATIO = 1.5
"""A source whose slices are more than this many times thicker than its pixels is rescanned in its own plane."""
SMOOTHING_STEPS, SMOOTHING_STEP_SIZE = 5, 0.14
"""Number and size of the diffusion steps; a size below 1/6 is stable in three dimensions."""
EDGE_NOISE_SDS = 1.5
"""Differences between neighbours above this many standard deviations of the noise are kept as edges."""


@dataclass(frozen=True)
class ScannedBody:
    """The body that a source shows, on the source's canonical (RAS+) grid.

    Attributes
    ----------
    signal
        float32 (i, j, k): 0 in air, 1 at full scale.
    noise
        Standard deviation of the source's noise in this unit; up to twice too high, since fine anatomy counts too.
    spacing_mm
        Edge lengths (3,) of a voxel.
    to_source
        4x4, from mm along i, j, k about the centre of the box to the source's RAS+ mm.
    cut
        (2, 3): whether the lower and the upper face along each axis cut through the body.
    """

    signal: Voxels
    noise: float
    spacing_mm: NDArray[np.float64]
    to_source: Matrix
    cut: NDArray[np.bool_]

    @property
    def half_mm(self) -> NDArray[np.float64]:
        """Half the extent (3,) along each axis in mm."""
        return np.asarray(self.spacing_mm * self.signal.shape / 2)

    def extent_mm(self) -> NDArray[np.float64]:
        """Compute the field of view (3,) in mm that stays inside the source in a typical pose.

        Only faces that cut the body limit it.
        """
        room = (
            np.radians(POSE_SD_DEGREES) * (self.half_mm.sum() - self.half_mm) + POSE_SD_SHARE * self.half_mm.min() * 2
        )
        return np.asarray(2 * self.half_mm - self.cut.sum(0) * room)


def extract_body(source: Volume) -> ScannedBody:
    """Extract the body from a scan: remove its noise by anisotropic diffusion, and set air to 0.

    Intensities are scaled so that the 1st percentile becomes 0 and the 99th becomes 1. NaN becomes 0.
    """
    upright = volume.reorient_to_ras(source)
    voxels = np.nan_to_num(np.asarray(upright.voxels, dtype=np.float32))
    low, high = np.percentile(voxels, [1, 99])
    unit = ((voxels - low) / max(float(high - low), 1e-6)).astype(np.float32)
    noise = _estimate_noise(unit)
    signal = _without_noise(unit, EDGE_NOISE_SDS * noise).clip(min=0)
    cut = _cut_faces(signal)
    signal[_find_air(signal, ~cut)] = 0
    spacing = upright.spacing_mm
    to_source = np.eye(4)
    to_source[:3, :3] = upright.affine[:3, :3] / spacing
    to_source[:3, 3] = (upright.affine @ [*(np.asarray(voxels.shape) - 1) / 2, 1])[:3]
    return ScannedBody(signal, noise, spacing, to_source, cut)


def draw_rescan_scanners(
    spacing_mm: NDArray[np.float64], rng: np.random.Generator, contrast: str = "T1w"
) -> list[Scanner]:
    """Draw scanners like those of `scanner.draw_scanners`, at a resolution that the source supports.

    Parameters
    ----------
    spacing_mm
        Edge lengths (3,) of the source's voxels. If its slices are thick, all scanners get the source's plane and
        slices that are as thick or up to 1.3 times as thick.
    contrast
        Contrast of all scanners.
    """
    machines = scanner.draw_scanners(rng, scanner.SCANNER_COUNT, (contrast,))
    finest = min(machine.pixel_mm for machine in machines), min(machine.slice_mm for machine in machines)
    through = int(np.argmax(spacing_mm))
    edge, pixel = float(spacing_mm[through]), float(np.delete(spacing_mm, through).max())
    if edge <= THICK_SLICE_RATIO * pixel:
        return [
            replace(machine, pixel_mm=edge * machine.pixel_mm / finest[0], slice_mm=edge * machine.slice_mm / finest[1])
            for machine in machines
        ]
    own = next(name for name, axes in WORLD_AXES_BY_PLANE.items() if axes[2] == through)
    return [
        replace(machine, plane=own, pixel_mm=pixel * machine.pixel_mm / finest[0], slice_mm=edge * rng.uniform(1, 1.3))
        for machine in machines
    ]


def acquire_rescan(
    source: ScannedBody,
    machine: Scanner,
    rng: np.random.Generator,
    extent_mm: NDArray[np.float64] | None = None,
    contrast: NDArray[np.float64] | None = None,
) -> Acquisition:
    """Scan the body again in a random pose.

    Parameters
    ----------
    extent_mm
        Field of view (3,) of the protocol in mm; the extent of the source if None.
    contrast
        Contrast curve (5,) of the protocol (`draw_contrast_levels`); drawn if None.

    Returns
    -------
    The scan, and the matrix from its RAS+ mm to the source's.
    """
    import torch

    pose = _pose(source, rng)
    affine, shape = _grid(machine, *_field_of_view(source, pose, rng, extent_mm))
    clean = np.zeros(shape, dtype=np.float32)
    parts = _subvoxel_offsets(machine, source)
    for part in parts:  # a voxel is the mean over its extent
        shifted = affine.copy()
        shifted[:3, 3] += affine[:3, :3] @ part
        clean += _sampled(source, pose @ shifted, shape) / len(parts)
    voxels = scanner.degrade_image(
        torch.from_numpy(_with_contrast(clean, draw_contrast_levels(rng) if contrast is None else contrast)),
        machine,
        rng,
    )
    back = np.linalg.inv(source.to_source)
    return Acquisition(Volume(voxels, source.to_source @ affine), source.to_source @ pose @ back)


def _estimate_noise(unit: Voxels) -> float:
    """Standard deviation of the noise inside the body, from the difference of a voxel to its six neighbours' mean."""
    inner = (slice(1, -1),) * 3
    around = sum(np.roll(unit, step, axis)[inner] for step in (-1, 1) for axis in range(3)) / 6
    differs = (unit[inner] - around)[unit[inner] > MAX_AIR_SIGNAL]
    return 1.4826 * float(np.median(np.abs(differs))) / (7 / 6) ** 0.5 if differs.size else 0.0


def _without_noise(unit: Voxels, edge: float) -> Voxels:
    """Smooth by diffusion that stops at differences above `edge` (Perona and Malik, 1990)."""
    image = unit.copy()
    for _ in range(SMOOTHING_STEPS):
        change = np.zeros_like(image)
        for axis in range(3):
            slope = np.diff(image, axis=axis)
            ends = [(1, 1) if other == axis else (0, 0) for other in range(3)]
            flow = np.pad(slope * np.exp(-((slope / max(edge, 1e-6)) ** 2)), ends)
            change += np.diff(flow, axis=axis)
        image += SMOOTHING_STEP_SIZE * change
    return image


def _cut_faces(signal: Voxels) -> NDArray[np.bool_]:
    faces = [[np.take(signal, end, axis) for axis in range(3)] for end in (0, -1)]
    return np.array([[(face > MAX_AIR_SIGNAL).mean() > MAX_BODY_SHARE_ON_AIR_FACE for face in side] for side in faces])


def _find_air(signal: Voxels, shows_air: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark dark voxels that are connected to a face that shows only air."""
    from scipy.ndimage import label

    parts, _ = label(signal < MAX_AIR_SIGNAL)
    ends = [np.unique(np.take(parts, -end, axis)) for end in (0, 1) for axis in range(3) if shows_air[end, axis]]
    return np.isin(parts, np.setdiff1d(np.concatenate(ends), [0])) if ends else np.zeros(signal.shape, dtype=bool)


def _pose(source: ScannedBody, rng: np.random.Generator) -> Matrix:
    """Draw a pose: 4x4 from the new position to the body's box, in mm about its centre."""
    pose = np.eye(4)
    pose[:3, :3] = scanner.make_rotation_matrix(
        np.radians(POSE_SD_DEGREES) * rng.standard_normal(3).clip(-MAX_POSE_SD, MAX_POSE_SD)
    )
    pose[:3, 3] = POSE_SD_SHARE * 2 * source.half_mm.min() * rng.standard_normal(3).clip(-MAX_POSE_SD, MAX_POSE_SD)
    return pose


def _field_of_view(
    source: ScannedBody, pose: Matrix, rng: np.random.Generator, extent_mm: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (3,) in the new position, moved inwards until no cut face of the source is crossed.

    Along an axis that is cut at both ends, a smaller field of view is placed at random: the centre of a crop could
    identify the patient.
    """
    half = (2 * source.half_mm if extent_mm is None else extent_mm) / 2
    room = np.maximum(source.extent_mm() / 2 - half, 0) * source.cut.all(0)
    shift = POSE_SD_SHARE * half.min() * rng.standard_normal(3) + room * rng.uniform(-1, 1, 3)
    low, high = shift - half, shift + half
    for _ in range(10):  # each round leaves about a tenth of what the one before had to move
        corners = np.array(list(product(*zip(low, high, strict=True)))) @ pose[:3, :3].T + pose[:3, 3]
        low += source.cut[0] * np.maximum(-source.half_mm - corners.min(0), 0)
        high -= source.cut[1] * np.maximum(corners.max(0) - source.half_mm, 0)
    return low, high


def _grid(machine: Scanner, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Matrix, tuple[int, int, int]]:
    """Affine and shape of the largest grid of the scanner that fits between two corners."""
    directions = scanner.get_plane_directions(machine.plane)
    spacing = np.array([machine.pixel_mm, machine.pixel_mm, machine.slice_mm])
    shape = np.maximum((np.abs(directions.T) @ (high - low) / spacing).astype(int), 1)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = (low + high) / 2 - affine[:3, :3] @ ((shape - 1) / 2)
    return affine, (int(shape[0]), int(shape[1]), int(shape[2]))


def _subvoxel_offsets(machine: Scanner, source: ScannedBody) -> list[tuple[float, ...]]:
    """Offsets in a voxel, -0.5 to 0.5 along columns, rows and slices, about as far apart as the source's voxels."""
    edges = np.array([machine.pixel_mm, machine.pixel_mm, machine.slice_mm])
    counts = np.maximum(np.round(edges / source.spacing_mm.min()).astype(int), 1)
    return list(product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts]))


def _sampled(source: ScannedBody, to_box: Matrix, shape: tuple[int, int, int]) -> Voxels:
    """Sample the body's signal on a grid linearly. Outside the source, its edge is repeated, which is always air."""
    from scipy.ndimage import affine_transform

    to_voxel = to_box[:3] / source.spacing_mm[:, None]
    to_voxel[:, 3] += (np.asarray(source.signal.shape) - 1) / 2
    return np.asarray(
        affine_transform(source.signal, to_voxel[:, :3], to_voxel[:, 3], shape, order=1, mode="nearest"),
        dtype=np.float32,
    )


def draw_contrast_levels(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a random contrast curve: the new values of the signals 0, 0.25, 0.5, 0.75 and 1.

    The curve is increasing; 0 and 1 are kept.

    Examples
    --------
    >>> levels = draw_contrast_levels(np.random.default_rng(0))
    >>> bool((np.diff(levels) > 0).all()), float(levels[0]), round(float(levels[-1]), 6)
    (True, 0.0, 1.0)
    """
    steps = np.exp(0.25 * rng.standard_normal(4))
    return np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])


def _with_contrast(clean: Voxels, levels: NDArray[np.float64]) -> Voxels:
    """Apply a contrast curve (5,) to the signal by monotone cubic interpolation; values above 1 are kept."""
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(np.linspace(0, 1, 5), levels)
    return np.where(clean > 1, clean, curve(clean.clip(0, 1))).astype(np.float32)
