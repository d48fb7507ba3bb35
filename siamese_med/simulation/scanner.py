"""Simulated scanners: plane, resolution, contrast, bias field, noise, field of view and pose of an acquisition.

All of these are drawn independently of the patient, so that two visits share the anatomy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import Volume
from siamese_med.simulation.anatomy import Anatomy, sample_channels
from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

#                 grey  white csf   bone  skin  lesion
TISSUE_SIGNALS_BY_CONTRAST = {
    "FLAIR": (0.70, 0.55, 0.12, 0.06, 0.50, 1.00),
    "T1w": (0.55, 0.80, 0.18, 0.06, 0.90, 0.45),
    "T2w": (0.60, 0.45, 1.00, 0.06, 0.55, 0.85),
}
"""Signal of each tissue as a share of full scale. Lesions are bright in FLAIR and T2w, and dark in T1w."""
TIMINGS_MS: dict[str, tuple[str, float, float, float | None]] = {
    "FLAIR": ("SE", 9000, 110, 2500),
    "T1w": ("GR", 1900, 3, 900),
    "T2w": ("SE", 5000, 100, None),
}
"""Header values of each contrast: scanning sequence (DICOM 0018,0020), repetition, echo and inversion time in ms."""
SCANNER_COUNT = 6
"""Number of scanners in a simulated study."""
WORLD_AXES_BY_PLANE = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""World axes (0 x, 1 y, 2 z; RAS) that the columns, rows and slices of each plane run along."""


@dataclass(frozen=True)
class Scanner:
    """One scanner with its protocol; signals are shares of full scale.

    Attributes
    ----------
    plane
        `axial`, `coronal` or `sagittal`.
    pixel_mm, slice_mm
        Edge of a pixel, and distance of slices (without gap).
    signal_shift
        This scanner's deviation (6,) from TISSUE_SIGNALS_BY_CONTRAST.
    bias
        Knots (4, 4, 4) of the logarithm of the bias field.
    noise
        Standard deviation of the noise in each of the two channels (Rician noise).
    gamma
        Exponent of the contrast curve.
    rescale
        DICOM rescale slope and intercept.
    """

    name: str
    maker: str
    plane: str
    pixel_mm: float
    slice_mm: float
    contrast: str
    signal_shift: tuple[float, ...]
    bias: NDArray[np.float32]
    noise: float
    gamma: float
    rescale: tuple[float, float]


@dataclass(frozen=True)
class Acquisition:
    """A simulated scan, and the matrix (4x4) from its RAS+ mm to the mm of the anatomy (or of the source scan)."""

    volume: Volume
    to_anatomy: NDArray[np.float64]


def draw_scanners(rng: np.random.Generator, count: int, contrasts: Sequence[str] = ("FLAIR",)) -> list[Scanner]:
    """Draw scanners that differ in plane, slice thickness (2D and 3D), manufacturer, bias, noise and gamma.

    `contrasts` are assigned in turn, each to two scanners. The first scanners are the same for any `count`.

    Examples
    --------
    >>> [one.contrast for one in draw_scanners(np.random.default_rng(0), 6, ("FLAIR", "T1w"))]
    ['FLAIR', 'FLAIR', 'T1w', 'T1w', 'FLAIR', 'FLAIR']
    """
    makers = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems")
    planes = ("axial", "sagittal", "axial", "coronal", "axial", "sagittal")
    slices = (3.0, 1.8, 2.0, 2.0, 4.0, 1.8)
    rescales = ((1.0, 0.0), (1.0, 0.0), (0.4884, 0.0), (1.0, -1024.0), (2.0, 0.0), (1.0, 0.0))
    return [
        Scanner(
            name=f"Simulated-{n + 1}",
            maker=makers[n % 3],
            plane=planes[n % 6],
            pixel_mm=float(rng.choice([1.5, 1.6, 1.8])),
            slice_mm=slices[n % 6],
            contrast=contrasts[n // 2 % len(contrasts)],
            signal_shift=tuple(0.05 * rng.standard_normal(6)),
            bias=(0.12 * rng.standard_normal((4, 4, 4))).astype(np.float32),
            noise=float(rng.uniform(0.015, 0.035)),
            gamma=math.exp(0.1 * rng.standard_normal()),
            rescale=rescales[n % 6],
        )
        for n in range(count)
    ]


def acquire_scan(anatomy: Anatomy, scanner: Scanner, rng: np.random.Generator) -> Acquisition:
    """Scan a patient with random pose, field of view, contrast drift, bias and noise.

    The pose has standard deviations of 6 degrees and 5 mm, clipped at two standard deviations. A thick slice is the
    mean of thin ones (partial volume effect).
    """
    import torch

    affine, shape, parts = _field_of_view(scanner, rng)
    to_anatomy = _pose(rng)
    image = _signal(anatomy, scanner, rng)
    clean = torch.zeros(shape)
    for offset in parts:  # a thick slice is the mean of thin ones
        shifted = affine.copy()
        shifted[:3, 3] += affine[:3, 2] * offset
        clean += sample_channels(image[None], compute_grid_points(to_anatomy @ shifted, shape))[0] / len(parts)
    voxels = degrade_image(clean, scanner, rng)
    return Acquisition(Volume(voxels, affine), to_anatomy)


def compute_grid_points(voxel_to_anatomy: NDArray[np.float64], shape: tuple[int, int, int]) -> torch.Tensor:
    """Compute the position of each voxel of a scan on the head grid, for `anatomy.sample_channels`.

    Parameters
    ----------
    voxel_to_anatomy
        4x4, from voxel of the scan to mm of the anatomy.
    shape
        Shape (i, j, k) of the scan.

    Returns
    -------
    float32 (i, j, k, 3), from -1 to 1 between the outer edges of the head grid.
    """
    import torch

    scale = 2 / (HEAD_GRID_MM * np.asarray(HEAD_GRID_SHAPE))
    matrix = torch.from_numpy((scale[:, None] * voxel_to_anatomy[:3]).astype(np.float32))
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    return torch.stack(axes, -1) @ matrix[:, :3].T + matrix[:, 3]


def get_plane_directions(plane: str) -> NDArray[np.float64]:
    """Return the world directions (RAS+) of a plane's columns, rows and slices, as the columns of a 3x3 matrix.

    Columns and rows run as in DICOM: to the left or to the back, and to the back or downwards.

    Examples
    --------
    >>> get_plane_directions("axial")
    array([[-1.,  0.,  0.],
           [ 0., -1.,  0.],
           [ 0.,  0.,  1.]])
    """
    column, row, through = WORLD_AXES_BY_PLANE[plane]
    directions = np.zeros((3, 3))
    directions[column, 0] = -1
    directions[row, 1] = -1
    directions[through, 2] = 1
    return directions


def _field_of_view(
    scanner: Scanner, rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[int, int, int], list[float]]:
    """Affine (columns to the left, rows to the back or down, as DICOM runs), shape, and sub-slice offsets in slices."""
    extent = np.array([190.0, 220.0, 180.0])
    column, row, through = WORLD_AXES_BY_PLANE[scanner.plane]
    spacing = np.array([scanner.pixel_mm, scanner.pixel_mm, scanner.slice_mm])
    lengths = np.array([extent[column] + 10, extent[row] + 10, extent[through] - rng.uniform(0, 20)])
    shape = np.ceil(lengths / spacing).astype(int)
    tilt = make_rotation_matrix(np.radians(rng.normal(0, 4)) * np.eye(3)[0])
    directions = tilt @ get_plane_directions(scanner.plane)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = rng.normal(0, 3, 3) - affine[:3, :3] @ ((shape - 1) / 2)
    thin = max(1, round(scanner.slice_mm / HEAD_GRID_MM))
    parts = [(n + 0.5) / thin - 0.5 for n in range(thin)]
    return affine, (int(shape[0]), int(shape[1]), int(shape[2])), parts


def _pose(rng: np.random.Generator) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = make_rotation_matrix(np.radians(6 * np.clip(rng.standard_normal(3), -2, 2)))
    matrix[:3, 3] = 5 * np.clip(rng.standard_normal(3), -2, 2)
    return matrix


def make_rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the rotation matrix (3x3) of a rotation vector: its direction is the axis, its length the angle in radians.

    Examples
    --------
    >>> make_rotation_matrix(np.array([0.0, 0.0, np.pi / 2])).round(6) + 0.0
    array([[ 0., -1.,  0.],
           [ 1.,  0.,  0.],
           [ 0.,  0.,  1.]])
    """
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(angles).as_matrix())


def _signal(anatomy: Anatomy, scanner: Scanner, rng: np.random.Generator) -> torch.Tensor:
    drift = 0.015 * rng.standard_normal(6)
    levels = np.asarray(TISSUE_SIGNALS_BY_CONTRAST[scanner.contrast]) + np.asarray(scanner.signal_shift) + drift
    grey, white, csf, _, bone, skin, texture = anatomy.tissue
    image = levels[0] * grey + levels[1] * white + levels[2] * csf + levels[3] * bone + levels[4] * skin
    image = image + 0.15 * texture
    mixed: torch.Tensor = image * (1 - anatomy.lesion) + levels[5] * anatomy.lesion
    return mixed


def degrade_image(clean: torch.Tensor, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.float32]:
    """Apply the scanner's bias field, contrast curve, Rician noise (Gudbjartsson and Patz, 1995) and random gain.

    Parameters
    ----------
    clean
        Signal (i, j, k) as a share of full scale.

    Returns
    -------
    float32 (i, j, k) in arbitrary scanner units, not negative; full scale is between 600 and 1500.
    """
    import torch
    import torch.nn.functional as functional

    knots = scanner.bias + 0.06 * rng.standard_normal((4, 4, 4)).astype(np.float32)
    field = functional.interpolate(
        torch.from_numpy(knots)[None, None], size=tuple(clean.shape), mode="trilinear", align_corners=True
    )[0, 0]
    curve = scanner.gamma * math.exp(0.06 * rng.standard_normal())
    image = (clean * torch.exp(field)).clamp(min=0).numpy() ** curve
    real = image + scanner.noise * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = scanner.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.hypot(real, imaginary) * rng.uniform(600, 1500), dtype=np.float32)
