"""The change map as a DICOM Segmentation object on the grid of the follow-up's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from siamese_med.imaging.change_parts import label_changed_parts
from siamese_med.imaging.volume import Volume
from siamese_med.study.component import Component

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from numpy.typing import NDArray

    from siamese_med.dicom_export.source_images import SourceImages

MAX_VOXELS_PER_CHUNK = 2**22
"""Voxels that are resampled at a time, to limit memory; whole slices, at least one."""


@dataclass(frozen=True)
class ChangeSegment:
    """A segment of the object: a finding of the patient or, where `finding` is None, all change that belongs to none.

    `kind` is a word of vocabulary.ComponentKind, and `volume_ml` the volume that changed, both of a finding alone.
    """

    finding: int | None
    kind: str | None = None
    volume_ml: float | None = None

    @property
    def label(self) -> str:
        """Return the label of the segment."""
        return "Change" if self.finding is None else f"Finding {self.finding}"


def segment_change(
    change_map: Volume, components: Sequence[Component], transform: NDArray[np.float64], images: SourceImages
) -> tuple[NDArray[np.uint8], list[ChangeSegment]]:
    """Bring the change map to the follow-up's images, and divide it into the findings and the rest.

    Parameters
    ----------
    change_map
        Probability of change per voxel, in the space of the earlier scan; it counts from MIN_CHANGE_PROBABILITY on.
    components
        The listed parts of the pair.
    transform
        4x4, from the earlier scan's mm to the later scan's mm (RAS+).
    images
        The follow-up's images.

    Returns
    -------
    tuple
        The number of the segment of each voxel (slice, row, column), 0 where nothing changed; nearest neighbour, so
        that volumes are about preserved. And the segments, from number 1; each of them has voxels.
    """
    labels, numbers = label_changed_parts(change_map, components)
    findings = sorted({part.finding for part in components if part.finding is not None})
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.uint8)
    table[1:] = len(findings) + 1
    for part, number in zip(components, numbers, strict=True):
        if number and part.finding is not None:
            table[number] = findings.index(part.finding) + 1
    known = [_describe_finding(finding, components) for finding in findings]
    drawn = _resample_numbers(Volume(table[labels].astype(np.float32), change_map.affine), transform, images)
    there = np.unique(drawn[drawn > 0])
    order = np.zeros(len(findings) + 2, dtype=np.uint8)
    order[there] = np.arange(1, len(there) + 1)
    segments = [*known, ChangeSegment(None)]
    return order[drawn], [segments[number - 1] for number in there.tolist()]


def _describe_finding(finding: int, components: Sequence[Component]) -> ChangeSegment:
    """The parts of a pair that are one finding, as one segment; its kind is that of the strongest."""
    parts = [part for part in components if part.finding == finding]
    return ChangeSegment(finding, parts[0].kind, round(sum(part.volume_ml or 0.0 for part in parts), 4))


def _resample_numbers(numbers: Volume, transform: NDArray[np.float64], images: SourceImages) -> NDArray[np.uint8]:
    """Take the number (below 256) of the nearest voxel of the earlier scan: (slice, row, column)."""
    to_map = np.linalg.inv(transform) @ images.affine
    columns, rows, slices = images.shape
    drawn = np.zeros((slices, rows, columns), dtype=np.uint8)
    step = max(1, MAX_VOXELS_PER_CHUNK // (rows * columns))
    for start in range(0, slices, step):
        shift = np.eye(4)
        shift[2, 3] = start
        part = drawn[start : start + step]
        values = resampling.resample_volume(numbers, to_map @ shift, (columns, rows, len(part)), nearest=True)[0, 0]
        part[:] = values.numpy().T.round().astype(np.uint8)
    return drawn


def build_segmentation(
    numbers: NDArray[np.uint8], segments: Sequence[ChangeSegment], images: SourceImages, filing: ExportContext
) -> Segmentation:
    """Build a binary Segmentation object (DICOM PS3.3, A.51), with what `segment_change` returned."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(MANUFACTURER, codes.DCM.ArtificialIntelligence, get_software_version())
    described = [
        SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=CodedConcept("change", CODING_SCHEME, "Change beyond what a rescan would show"),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=filing.make_tracking_uid(segment.finding),
            tracking_id=filing.name_tracked(segment.finding),
        )
        for number, segment in enumerate(segments, start=1)
    ]
    says = [numbers.tobytes(), *(segment.label.encode() for segment in segments)]
    made = Segmentation(
        source_images=list(images.datasets),
        pixel_array=numbers,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        content_label="CHANGE",
        content_description=f"{RESEARCH_USE_NOTICE}: change map",
        **filing.common("change map", b"".join(says)),
    )
    for item in made.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = filing.uid("dimensions")
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = filing.uid("dimensions")
    return made
