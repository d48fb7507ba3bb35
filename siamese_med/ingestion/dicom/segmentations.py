"""A DICOM Segmentation with lesions among the files of an input: whose it is, and which images it marks.

Only what the header says; the voxels are decoded in `segmentation_masks` once its scan is known.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.ingestion.dicom import headers, planes, segmented_properties, tags
from siamese_med.ingestion.dicom.sop_classes import STORAGE_UID_ROOT

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.dicom.instances import DicomInstance

SEGMENTATION_SOP_CLASSES = (f"{STORAGE_UID_ROOT}66.4", f"{STORAGE_UID_ROOT}66.7")
"""Segmentation Storage and Label Map Segmentation Storage (DICOM PS3.4, annex B.5)."""


@dataclass(frozen=True)
class LesionSegmentation:
    """A DICOM Segmentation with segments that are lesions.

    `series` is the series whose images it marks, and `images` are SOP instance UIDs of these images.
    """

    issuer: str
    patient: str
    study: str
    series: str
    images: frozenset[str]

    def marks(self, images: frozenset[str]) -> bool:
        """Tell whether it refers to one of these SOP instance UIDs."""
        return not self.images.isdisjoint(images)

    def is_of_patient(self, one: DicomInstance) -> bool:
        """Tell whether it is of the patient of an image; a program may leave out who issued the identifier."""
        return self.patient == one.patient and self.issuer in ("", one.issuer)


def read_lesion_segmentation(data: bytes, most_bytes: float) -> LesionSegmentation | None:
    """Read a DICOM Segmentation.

    Parameters
    ----------
    data
        All bytes of the file.
    most_bytes
        Largest size of a header that was compressed.

    Returns
    -------
    LesionSegmentation or None
        None where it is no segmentation, has no segment that is a lesion, cannot be read, or does not refer to the
        images of exactly one series of its study.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset, _, _ = headers.parse_with_pydicom(data, most_bytes)
            if not is_segmentation(dataset) or not segmented_properties.find_lesion_segments(dataset):
                return None
            return _describe(dataset)
    except Exception:  # pydicom may raise any exception on a broken sequence; then the file marks nothing
        return None


def is_segmentation(dataset: Dataset) -> bool:
    """Tell whether a header is that of a DICOM Segmentation with voxels."""
    return tags.get_tag_text(dataset, "SOPClassUID") in SEGMENTATION_SOP_CLASSES


def _describe(dataset: Dataset) -> LesionSegmentation | None:
    listed = {
        tags.get_tag_text(one, "SeriesInstanceUID"): _list_images(one, "ReferencedInstanceSequence")
        for one in tags.list_items(dataset, "ReferencedSeriesSequence")
    }
    sources = _list_sources(dataset)
    if len(listed) > 1:
        listed = {uid: images for uid, images in listed.items() if images & sources}
    if len(listed) != 1:
        return None
    ((series, images),) = listed.items()
    images = sources or images
    if not series or not images:
        return None
    issuer, patient, study = (
        tags.get_tag_text(dataset, name) for name in ("IssuerOfPatientID", "PatientID", "StudyInstanceUID")
    )
    return LesionSegmentation(issuer, patient, study, series, frozenset(images))


def _list_images(item: Dataset, key: str) -> set[str]:
    some = tags.list_items(item, key)[: planes.MAX_FRAMES]
    return {tags.get_tag_text(one, "ReferencedSOPInstanceUID") for one in some} - {""}


def _list_sources(dataset: Dataset) -> set[str]:
    """Images that the frames were drawn on, as far as the frames say."""
    frames = tags.list_items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = tags.list_items(dataset, "SharedFunctionalGroupsSequence")
    found: set[str] = set()
    for frame in [*frames, *shared][: planes.MAX_FRAMES]:
        for derivation in tags.list_items(frame, "DerivationImageSequence"):
            found |= _list_images(derivation, "SourceImageSequence")
    return found
