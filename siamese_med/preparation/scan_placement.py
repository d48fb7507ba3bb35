"""Placement of one scan on the template: its brain, its alignment, and its voxels on the template's grid.

A study of heads is aligned to the template of real heads that comes with the package, affinely and in the contrast of
each scan. Every other study is aligned to its own template. Both are for identity alone: two scans of one patient are
registered to each other (`scoring.change.pair_registration`). On the template of heads, what lies farther than
BRAIN_MARGIN_VOXELS from its brain is set to 0: neck, jaw and face move, are cut off or removed, and identify people by
other things than their brain. The mask is the template's, so its outline tells nothing of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from siamese_med.brain import head_template
from siamese_med.brain.head_template import HeadAlignment
from siamese_med.brain.segmentation import BrainSegmentation, segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.imaging import resampling
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.registration import Alignment, Transform
from siamese_med.imaging.volume import Volume
from siamese_med.plugins import Plugin
from siamese_med.preparation.registrations import register_to_template
from siamese_med.study.thresholds import (
    DOUBTFUL_HEAD_OVERLAP,
    DOUBTFUL_HEAD_QUALITY,
    MIN_BRAIN_OVERLAP,
    MIN_COVERAGE_FRACTION,
    MIN_HEAD_QUALITY,
)
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

MATRIX_DECIMALS = 7
"""Decimals kept of a matrix, which is 1e-4 mm at the skull; further ones depend on the batch."""
BRAIN_MARGIN_VOXELS = 2
"""Margin, in voxels, by which the region for identity extends beyond the brain of the template of heads."""
SAME_TEMPLATE_TOLERANCE = 0.02
"""Largest difference of a voxel, in units of bright tissue, between a template and the template of heads."""


class AlignmentRecord(TypedDict):
    """Alignment of one scan to the template; see prepared_scans.ALIGNMENT_COLUMNS.

    `brain_overlap` is the Dice of the scan's brain and the template's; None where the template is not that of heads.
    """

    matrix: list[list[float]]
    quality: float
    coverage: float
    brain_overlap: float | None


@dataclass(frozen=True)
class PlacedScan:
    """A scan on the template.

    Attributes
    ----------
    voxels
        float16 (i, j, k) on the template's grid, normalised.
    record
        Its alignment.
    brain
        Its brain; None where none was found.
    """

    voxels: NDArray[np.float16]
    record: AlignmentRecord
    brain: BrainSegmentation | None


class Placement(NamedTuple):
    """Method of placement: the registration, the degrees of freedom (None: what suits the template), and the device.

    `batch_size`: so many scans are registered together, and fewer are filled up with the last one. The constant size
    keeps a scan's matrix independent of the other scans of its batch, down to the last digit.
    """

    registration: Plugin
    transform: Transform | None
    device: str
    batch_size: int


class ScanToPlace(NamedTuple):
    """A scan, its contrast, and the mask (i, j, k) outside which it is not to be looked at."""

    scan: Volume
    contrast: str = UNKNOWN
    mask: NDArray[np.bool_] | None = None


def place_scans(scans: Sequence[ScanToPlace], template: Volume, method: Placement) -> list[PlacedScan]:
    """Find the brains of scans, align them to a template, and resample them to its grid.

    Parameters
    ----------
    scans
        At most `method.batch_size` of them.
    template
        Volume in RAS+ orientation. If it is that of heads, scans with a brain are aligned to it in their own contrast.
    """
    from scipy.ndimage import binary_dilation

    brains = [find_brain(one.scan, one.contrast) for one in scans]
    found: Sequence[Alignment]
    overlaps: Sequence[float | None]
    if method.registration.built_in and is_head_template(template):
        body, found = make_brain_mask(template), _register_heads(scans, brains, template, method)
        shown = binary_dilation(body, iterations=BRAIN_MARGIN_VOXELS)
        overlaps = [brain.alignment.brain_overlap if brain else 0.0 for brain in brains]
    else:
        body, found = template.voxels > template.voxels.mean(), _register(scans, template, method)
        shown = np.ones_like(body)
        overlaps = [None] * len(found)
    placed = []
    for one, result, brain, overlap in zip(scans, found, brains, overlaps, strict=True):
        voxels, record = resample_to_template(one.scan, result, template, (body, shown), method.device)
        record["brain_overlap"] = None if overlap is None else round(overlap, 4)
        placed.append(PlacedScan(voxels, record, brain.segmentation if brain else None))
    return placed


def is_alignment_usable(record: AlignmentRecord, min_quality: float) -> bool:
    """Return whether an alignment can be relied on.

    It must reach `min_quality` and cover MIN_COVERAGE_FRACTION of the template. On the template of heads the two brains
    must overlap by MIN_BRAIN_OVERLAP, and quality and overlap must not both be doubtful.

    Examples
    --------
    >>> is_alignment_usable({"matrix": [], "quality": 0.8, "coverage": 0.4, "brain_overlap": None}, min_quality=0.5)
    False
    """
    quality, overlap = record["quality"], record["brain_overlap"]
    if quality < min_quality or record["coverage"] < MIN_COVERAGE_FRACTION:
        return False
    if overlap is None:  # no template of heads
        return True
    doubtful = quality < DOUBTFUL_HEAD_QUALITY and overlap < DOUBTFUL_HEAD_OVERLAP
    return bool(overlap >= MIN_BRAIN_OVERLAP and not doubtful)


def resample_to_template(
    scan: Volume, found: Alignment, template: Volume, masks: tuple[NDArray[np.bool_], NDArray[np.bool_]], device: str
) -> tuple[NDArray[np.float16], AlignmentRecord]:
    """Resample a registered scan to the template's grid.

    Parameters
    ----------
    masks
        Of the template (i, j, k): what the coverage is measured of, and what is kept of the scan.

    Returns
    -------
    tuple
        The normalised voxels (i, j, k), float16, and the alignment record.
    """
    import torch

    body, shown = masks
    matrix = found.matrix.round(MATRIX_DECIMALS)
    voxels, valid = resampling.resample_volume(scan, matrix @ template.affine, template.voxels.shape, device)[0]
    record: AlignmentRecord = {
        "matrix": matrix.tolist(),
        "quality": round(found.quality, 4),
        "coverage": round(float(valid.cpu().numpy()[body].mean()), 4),
        "brain_overlap": None,
    }
    kept = valid * torch.from_numpy(shown).to(valid)
    return normalise_intensity(voxels, kept).cpu().numpy().astype(np.float16), record


def is_head_template(template: Volume) -> bool:
    """Tell whether a template is that of heads, on whatever grid."""
    if template.voxels.ndim != len(template.spacing_mm):
        return False
    same = head_template.resample_head_template(template.affine, template.voxels.shape)
    return bool(np.abs(same - template.voxels).max() <= SAME_TEMPLATE_TOLERANCE)


def make_brain_mask(template: Volume) -> NDArray[np.bool_]:
    """Make the brain mask (i, j, k) of the template of heads on the grid of `template`."""
    known = make_probability_volume(head_template.load_template_segmentation())
    resampled = resampling.resample_volume(known, template.affine, template.voxels.shape)[0, 0]
    return np.asarray(resampled.numpy() >= 0.5)


@dataclass(frozen=True)
class FoundBrain:
    """The brain of a scan, and how the scan lies on the template of heads."""

    segmentation: BrainSegmentation
    alignment: HeadAlignment


def find_brain(scan: Volume, contrast: str = UNKNOWN) -> FoundBrain | None:
    """Find the brain in a scan; None where the scan shows none, or too little of it.

    The network finds something like a brain in many things, a ball among them. So the scan must also lie well on the
    template of heads: only a head does.
    """
    segmentation = segment_brain(scan)
    if not segmentation.found():
        return None
    (alignment,) = head_template.register_to_head_template([scan], [segmentation], [contrast])
    return FoundBrain(segmentation, alignment) if shows_head(alignment) else None


def shows_head(alignment: HeadAlignment) -> bool:
    """Tell whether a scan shows a head, by how it lies on the template of heads."""
    return alignment.quality >= MIN_HEAD_QUALITY and alignment.brain_overlap >= MIN_BRAIN_OVERLAP


def find_region(scan: Volume, contrast: str = UNKNOWN) -> Volume | None:
    """Find what is compared of a scan that came without a mask: the probability of brain; None where there is none."""
    found = find_brain(scan, contrast)
    return make_probability_volume(found.segmentation) if found else None


def _register(scans: Sequence[ScanToPlace], template: Volume, method: Placement) -> Sequence[Alignment]:
    lacking = method.batch_size - len(scans) if method.registration.built_in else 0
    filled = [*scans, *[scans[-1]] * lacking]
    return register_to_template(
        method.registration,
        [one.scan for one in filled],
        template,
        method.transform or "rigid",
        method.device,
        [one.mask for one in filled],
    )[: len(scans)]


def _register_heads(
    scans: Sequence[ScanToPlace], brains: Sequence[FoundBrain | None], template: Volume, method: Placement
) -> list[Alignment]:
    """Return the alignments of heads to their template, in their own contrast; align scans without a brain too."""
    others = [one for one, brain in zip(scans, brains, strict=True) if brain is None]
    lost = iter(_register(others, template, method) if others else [])
    return [next(lost) if brain is None else brain.alignment for brain in brains]
