"""A template of real heads, the mean anatomy of 20 people, and the affine registration of scans to it.

Made by `python -m benchmarks.make_head_template`; sources and licences are in `siamese_med/brain/data/README.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.segmentation import BRAIN_THRESHOLD, BrainSegmentation
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.imaging import registration, resampling, symmetric_registration
from siamese_med.imaging.registration import Alignment, RegistrationLevel
from siamese_med.imaging.registration_side import ScanSide
from siamese_med.imaging.symmetric_registration import ScanPairPose
from siamese_med.imaging.volume import Volume, make_centred_affine, read_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

TEMPLATE_CONTRASTS = ("T1w", "T2w", "FLAIR", "T1wCE")
"""Contrasts that there is a template in."""
UNKNOWN_CONTRAST_STANDIN = "T1w"
"""Scans of an unknown contrast are registered to this one: the correlation ratio asks for no equal contrast."""
MAP_LEVEL = RegistrationLevel(1.5, 5_000, 10, 4.0)
"""Level for registering the segmentations as images, where the centroids alone do not lead to a good pose."""
DOUBTFUL_QUALITY, DOUBTFUL_OVERLAP = 0.1, 0.88
"""A pose that is less distinct, or under which the brains overlap less, is sought once more, from another start."""
STRUCTURE_LEVELS = (0.0, 1.0, 1.0, 0.6, 0.6, 0.75, 0.75, 0.1, 0.1, 0.5, 0.5, 0.85, 0.3)
"""Brightness of each structure where a segmentation is registered as an image."""
MIN_AFFINE_STRUCTURES, MIN_SIMILARITY_STRUCTURES, MIN_RIGID_STRUCTURES = 8, 4, 3
"""Centroids that the first guess needs for twelve, seven and six degrees of freedom."""
MAX_EXTRACTED_RATIO = 1.25
"""A scan whose bright part is at most this many times as large as its brain was brain-extracted."""
INTENSITY_STEPS = 100.0
"""The files hold intensities in hundredths, uint8."""
HEAD_GRID_MM = 3.0
"""Voxel edge of the template of heads where none is configured."""
HEAD_TEMPLATE_CONTRAST = "T1w"
"""The contrast in which the template of heads is written to a study; every scan is aligned to that of its own."""


@dataclass(frozen=True)
class HeadAlignment(Alignment):
    """The affine alignment of a scan with the head template; `matrix` maps template mm to scan mm.

    Attributes
    ----------
    brain_overlap
        Dice of the two brain masks after alignment, inside the field of view of the scan, 0 to 1.
    contrast
        Contrast of the template that was used.
    """

    brain_overlap: float
    contrast: str


def load_head_template(contrast: str, brain_only: bool = False) -> Volume:
    """Load the template in one of TEMPLATE_CONTRASTS.

    Returns
    -------
    float32 on a grid of 2 mm, RAS+, the brain's centre near the origin; air 0, bright tissue 1. With `brain_only`,
    everything outside the brain is 0.

    Raises
    ------
    KeyError
        There is no template in this contrast.

    Examples
    --------
    >>> load_head_template("FLAIR").spacing_mm
    array([2., 2., 2.])
    """
    if contrast not in TEMPLATE_CONTRASTS:
        raise KeyError(contrast)
    stored = _read(f"head_template_{contrast}.nii.gz")
    voxels = stored.voxels.astype(np.float32) / INTENSITY_STEPS
    if brain_only:
        voxels = voxels * (load_template_segmentation().brain / np.float32(255))
    return Volume(voxels, stored.affine)


def make_head_template(shape: tuple[int, int, int], spacing_mm: float | None = None) -> Volume:
    """Make the template of heads on the grid of a study.

    Parameters
    ----------
    shape
        Voxels (i, j, k) of the grid.
    spacing_mm
        Edge of a voxel; None stands for HEAD_GRID_MM.

    Returns
    -------
    Volume
        float32, RAS+, centred.
    """
    affine = make_centred_affine(shape, spacing_mm or HEAD_GRID_MM)
    return Volume(resample_head_template(affine, shape), affine)


def resample_head_template(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float32]:
    """Resample the template of heads to a grid: `affine` (4x4, voxels to RAS+ mm) and `shape` (i, j, k)."""
    whole = load_head_template(HEAD_TEMPLATE_CONTRAST)
    return np.asarray(resampling.resample_volume(whole, affine, shape)[0, 0].numpy())


@lru_cache(maxsize=1)
def load_template_segmentation() -> BrainSegmentation:
    """Load the brain mask and the structures of the template, on the grid of `load_head_template`."""
    structures, brain = _read("head_template_structures.nii.gz"), _read("head_template_brain.nii.gz")
    return BrainSegmentation(structures.voxels.astype(np.uint8), brain.voxels.astype(np.uint8), structures.affine)


@lru_cache(maxsize=8)
def _read(name: str) -> Volume:
    with resources.as_file(resources.files("siamese_med.brain") / "data" / name) as path:
        return read_volume(path)


def register_to_head_template(
    scans: Sequence[Volume], segmentations: Sequence[BrainSegmentation], contrasts: Sequence[str]
) -> list[HeadAlignment]:
    """Register scans of heads to the template, affinely.

    A first guess comes from the centroids of the structures; then the segmentations are registered to each other,
    then the scan to the template of its contrast, inside the brain.

    Parameters
    ----------
    segmentations
        What `segment_brain` found in each scan.
    contrasts
        Contrast of each scan; other words than TEMPLATE_CONTRASTS stand for an unknown one.
    """
    return [
        _register_head(scan, found, contrast if contrast in TEMPLATE_CONTRASTS else UNKNOWN_CONTRAST_STANDIN)
        for scan, found, contrast in zip(scans, segmentations, contrasts, strict=True)
    ]


def _register_head(scan: Volume, found: BrainSegmentation, contrast: str) -> HeadAlignment:
    template = load_template_segmentation()
    fixed = _make_template_side(contrast, is_brain_extracted(scan, found))
    best, overlap = register_to_image(scan, found, fixed, template)
    return HeadAlignment(best.matrix, best.correlation_ratio, best.quality, overlap, contrast)


@lru_cache(maxsize=8)
def _make_template_side(contrast: str, brain_only: bool) -> ScanSide:
    region = make_probability_volume(load_template_segmentation())
    return ScanSide(load_head_template(contrast, brain_only), region)


def register_to_image(
    scan: Volume, found: BrainSegmentation, fixed: ScanSide, template: BrainSegmentation
) -> tuple[ScanPairPose, float]:
    """Register a scan affinely to an image of a head whose segmentation is known.

    Parameters
    ----------
    fixed, template
        The image with its brain as the region, and its segmentation.

    Returns
    -------
    The pose, as a matrix from the image's mm to the scan's, and the Dice of the two brain masks.
    """
    guess = guess_from_centroids(template, found)
    side = ScanSide(scan, make_probability_volume(found))
    pose = symmetric_registration.refine_scan_pair(fixed, side, [guess], "affine")
    overlap = measure_brain_overlap(template, found, pose.matrix)
    if pose.quality < DOUBTFUL_QUALITY or overlap < DOUBTFUL_OVERLAP:
        (laid,) = registration.register_scans(
            [_as_image(found)], _as_image(template), (MAP_LEVEL,), [guess], transform="affine", masks=[found.inside]
        )
        pose = symmetric_registration.refine_scan_pair(fixed, side, [pose.matrix, laid.matrix], "affine")
        overlap = measure_brain_overlap(template, found, pose.matrix)
    return pose, overlap


def guess_from_centroids(template: BrainSegmentation, found: BrainSegmentation) -> Matrix:
    """Guess the matrix (4x4) from template mm to scan mm from the centroids of the structures that both show whole.

    Affine with at least eight structures, a similarity with four, rigid with three; with fewer, the brains' centres are
    registered to each other.
    """
    theirs, ours = template.centroids, found.centroids
    shared = [structure for structure in theirs if structure in ours]
    matrix = np.eye(4)
    if len(shared) < MIN_RIGID_STRUCTURES:
        matrix[:3, 3] = _find_brain_centre(found) - _find_brain_centre(template)
        return matrix
    source = np.array([theirs[structure] for structure in shared])
    target = np.array([ours[structure] for structure in shared])
    if len(shared) >= MIN_AFFINE_STRUCTURES:
        fit = np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0]
        matrix[:3] = fit.T
        return matrix
    a, b = source - source.mean(0), target - target.mean(0)
    left, values, right = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    turn = left @ sign @ right
    scale = float((values * np.diag(sign)).sum() / (a**2).sum()) if len(shared) >= MIN_SIMILARITY_STRUCTURES else 1.0
    matrix[:3, :3] = float(np.clip(scale, 0.8, 1.25)) * turn
    matrix[:3, 3] = target.mean(0) - matrix[:3, :3] @ source.mean(0)
    return matrix


def _find_brain_centre(found: BrainSegmentation) -> NDArray[np.float64]:
    places = np.argwhere(found.mask)
    middle = places.mean(0) if len(places) else (np.asarray(found.brain.shape) - 1) / 2
    return np.asarray(found.affine[:3, :3] @ middle + found.affine[:3, 3])


def _as_image(found: BrainSegmentation) -> Volume:
    levels = np.asarray(STRUCTURE_LEVELS, dtype=np.float32)
    return Volume(levels[found.structures], found.affine)


def is_brain_extracted(scan: Volume, found: BrainSegmentation) -> bool:
    """Tell whether nearly nothing of the scan lies outside the brain that was found in it."""
    step = tuple(slice(None, None, max(1, n // 64)) for n in scan.voxels.shape)
    part = scan.voxels[step]
    floor = float(part.min()) + 0.05 * float(np.quantile(part, 0.999) - part.min())
    bright = float((part > floor).mean()) * scan.voxels.size * abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
    return bright < MAX_EXTRACTED_RATIO * max(1.0, found.volume_ml())


def measure_brain_overlap(template: BrainSegmentation, found: BrainSegmentation, matrix: Matrix) -> float:
    """Measure the Dice of two brain masks under a matrix from template mm to scan mm, where the scan has data."""
    shape = found.brain.shape
    there = np.linalg.inv(matrix) @ found.affine
    laid = resampling.resample_volume(Volume(template.brain.astype(np.float32), template.affine), there, shape)[0, 0]
    inside = np.ones(shape, dtype=bool) if found.inside is None else found.inside
    other = (laid.numpy() >= BRAIN_THRESHOLD) & inside
    return float(2 * (other & found.mask).sum() / max(1, other.sum() + found.mask.sum()))
