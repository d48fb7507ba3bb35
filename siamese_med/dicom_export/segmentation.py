"""The change map as a DICOM Segmentation object on the grid of the follow-up's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.dicom_export.identifiers import (
    CODING_SCHEME,
    MANUFACTURER,
    RESEARCH_USE_NOTICE,
    ExportContext,
    get_software_version,
)
from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from numpy.typing import NDArray

    from siamese_med.dicom_export.source_images import SourceImages

MAX_VOXELS_PER_CHUNK = 2**22
"""Voxels that are resampled at a time, to limit memory; whole slices, at least one."""
SEGMENT_LABEL = "Change"


def resample_change_mask(change_map: Volume, transform: NDArray[np.float64], images: SourceImages) -> NDArray[np.bool_]:
    """Resample the change map onto the follow-up's images and apply its threshold, MIN_CHANGE_PROBABILITY.

    Parameters
    ----------
    change_map
        Probability of change per voxel, in the space of the earlier scan.
    transform
        4x4, from the earlier scan's mm to the later scan's mm (RAS+).
    images
        The follow-up's images.

    Returns
    -------
    Mask (slice, row, column); nearest neighbour, so that the volume is about preserved.
    """
    to_map = np.linalg.inv(transform) @ images.affine
    columns, rows, slices = images.shape
    mask = np.zeros((slices, rows, columns), dtype=bool)
    step = max(1, MAX_VOXELS_PER_CHUNK // (rows * columns))
    for start in range(0, slices, step):
        shift = np.eye(4)
        shift[2, 3] = start
        part = mask[start : start + step]
        values = resampling.resample_volume(change_map, to_map @ shift, (columns, rows, len(part)), nearest=True)[0, 0]
        part[:] = values.numpy().T >= MIN_CHANGE_PROBABILITY
    return mask


def build_segmentation(mask: NDArray[np.bool_], images: SourceImages, filing: ExportContext) -> Segmentation:
    """Build a binary Segmentation object with one segment (DICOM PS3.3, A.51).

    `mask` has axes slice, row, column of `images`, and at least one voxel in it is set.
    """
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(MANUFACTURER, codes.DCM.ArtificialIntelligence, get_software_version())
    segment = SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT_LABEL,
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=CodedConcept("change", CODING_SCHEME, "Change beyond what a rescan would show"),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=filing.tracking,
        tracking_id=f"{MANUFACTURER} change {filing.number}",
    )
    made = Segmentation(
        source_images=list(images.datasets),
        pixel_array=mask.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        content_label="CHANGE",
        content_description=f"{RESEARCH_USE_NOTICE}: change map",
        **filing.common("change map", np.packbits(mask).tobytes()),
    )
    for item in made.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = filing.uid("dimensions")
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = filing.uid("dimensions")
    return made
