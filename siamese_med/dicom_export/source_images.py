"""The original DICOM images of one scan: patient, study, and the position of each image.

Headers are not trusted. Patient and study attributes are copied as raw bytes, and never decoded and encoded again. Of
all other attributes, only checked numbers and UIDs are used.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.ingestion.dicom import headers, slice_geometry, tags
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    from siamese_med.ingestion.dicom.instances import DicomInstance
    from siamese_med.ingestion.dicom.slice_geometry import SliceStack
    from siamese_med.ingestion.privacy.originals import OriginalFile

LEFT_OUT_REASONS = {
    "not_dicom": "the scan did not come from DICOM files",
    "source_missing": "a file of the scan is not below the input, or is another one by now",
    "multi_frame": "the scan came from a mosaic or an enhanced multi-frame file",
    "repeats": "the scan was made of several files of one place",
    "no_date": "the follow-up's study has no date that could be copied",
    "no_frame_of_reference": "the images name no frame of reference, so there is no segmentation, but all else",
    "not_encodable": "a header, the change map or the report does not fit into a DICOM object",
}
"""Reasons why a follow-up gets no objects, or not all."""

PATIENT_STUDY_ATTRIBUTES = {
    "SpecificCharacterSet": "CS",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
    "StudyDescription": "LO",
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "StudyInstanceUID": "UI",
    "StudyID": "SH",
}
"""Attributes of patient and study that an object copies, and their value representations (DICOM PS3.6)."""

OPTIONAL_ATTRIBUTES = ("SpecificCharacterSet", "StudyDescription", "IssuerOfPatientID")
"""Those of PATIENT_STUDY_ATTRIBUTES that an object may lack (type 3); all others are written, empty if need be."""

MAX_ATTRIBUTE_BYTES = 1024
"""Longest copied value in bytes. The longest that the standard allows is a name of three groups of 64 characters."""

UID_PATTERN = re.compile(r"[0-9]+(\.[0-9]+)*")
TIME_PATTERN = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")


class LeftOutError(Exception):
    """A follow-up gets no objects; `reason` is a key of LEFT_OUT_REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SourceImages:
    """The images of one scan, in order along the normal of their plane.

    Attributes
    ----------
    datasets
        Headers with only what a reference to an image and a segmentation's geometry need.
    affine
        4x4, from voxel (column, row, slice) to RAS+ mm.
    shape
        Numbers of columns, rows and slices.
    owner
        Raw values of patient and study attributes by keyword.
    day, clock
        Date of the study, and its time as HHMMSS.
    """

    datasets: tuple[Dataset, ...] = field(repr=False)
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    owner: dict[str, bytes] = field(repr=False)
    day: date
    clock: str  # HHMMSS

    @property
    def placed(self) -> bool:
        """Whether the images have the frame of reference UID that a segmentation needs."""
        return "FrameOfReferenceUID" in self.datasets[0]


def read_source_images(files: Sequence[OriginalFile], most_bytes: float) -> SourceImages:
    """Read the original images of one scan.

    Parameters
    ----------
    files
        The files that the scan was made of; each is read once.
    most_bytes
        Limit of the size of an inflated file in bytes.

    Raises
    ------
    LeftOutError
        A file is missing or has changed, or the images cannot be used for DICOM objects.
    """
    found: dict[str, tuple[DicomInstance, Dataset]] = {}
    for file in files:
        if (data := file.content()) is None:
            raise LeftOutError("source_missing")
        try:
            found[file.sha256] = (headers.read_dicom_instance("", data, file.sha256, most_bytes), _header(data))
        except Exception as error:  # a header makes pydicom raise anything
            raise LeftOutError("not_encodable") from error
    stack = _stack([instance for instance, _ in found.values()])
    first, header = found[stack.planes[0].file]
    owner = _owner(header)
    day = tags.parse_dicom_date(tags.get_tag_text(header, "StudyDate")) or first.facts.date
    if day is None:
        raise LeftOutError("no_date")
    clock = tags.get_tag_text(header, "StudyTime")
    clock = clock if TIME_PATTERN.fullmatch(clock) else ""
    datasets = tuple(_dataset(number, stack, *found[plane.file]) for number, plane in enumerate(stack.planes))
    if len({(one.StudyInstanceUID, one.SeriesInstanceUID, one.get("FrameOfReferenceUID")) for one in datasets}) > 1:
        raise LeftOutError("not_encodable")
    shape = (stack.planes[0].columns, stack.planes[0].rows, len(stack.planes))
    return SourceImages(datasets, stack.affine, shape, owner, day, clock.split(".")[0].ljust(6, "0"))


def _header(data: bytes) -> Dataset:
    """Read the header with pydicom; `headers.read_dicom_instance` has checked before how large it inflates."""
    import pydicom

    wanted = [*PATIENT_STUDY_ATTRIBUTES, "SOPClassUID", "Modality", "FrameOfReferenceUID"]
    return pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True, specific_tags=wanted)


def _stack(instances: Sequence[DicomInstance]) -> SliceStack:
    if any(len(one.planes) > 1 or one.storage.tiles or one.storage.frames > 1 for one in instances):
        raise LeftOutError("multi_frame")
    planes = [one.planes[0] for one in instances]
    try:
        slice_geometry.check_slice_geometry(planes)
        if (
            np.diff(np.sort(slice_geometry.compute_slice_depths(planes))) <= slice_geometry.POSITION_TOLERANCE_MM
        ).any():
            raise LeftOutError("repeats")
        return slice_geometry.build_slice_stack(planes, 2)
    except RejectedError as rejected:
        raise LeftOutError("not_encodable") from rejected


def _owner(header: Dataset) -> dict[str, bytes]:
    """Raw values of patient and study attributes: a name in a wrong character set would not survive decoding."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement

    owner: dict[str, bytes] = {}
    for keyword in PATIENT_STUDY_ATTRIBUTES:
        tag: Any = tag_for_keyword(keyword)
        if tag not in header:
            continue
        element: Any = header.get_item(tag)
        if isinstance(element, RawDataElement):
            value = element.value or b""
        elif keyword == "SpecificCharacterSet":  # pydicom has decoded it as Latin-1, which loses no byte
            words = [element.value] if isinstance(element.value, str) else list(element.value or ())
            value = "\\".join(map(str, words)).encode("latin-1")
        else:
            raise LeftOutError("not_encodable")  # a sequence in the place of a text
        if len(value) > MAX_ATTRIBUTE_BYTES:
            raise LeftOutError("not_encodable")
        owner[keyword] = value + (b"\0" if PATIENT_STUDY_ATTRIBUTES[keyword] == "UI" else b" ") * (len(value) % 2)
    return owner


def _dataset(number: int, stack: SliceStack, instance: DicomInstance, header: Dataset) -> Dataset:
    """The attributes of an image that references and a segmentation's geometry need; patient values are empty."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian
    from pydicom.valuerep import DSfloat

    plane = stack.planes[number]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = _uid(tags.get_tag_text(header, "SOPClassUID")), _uid(instance.sop)
    made.StudyInstanceUID, made.SeriesInstanceUID = _uid(instance.study), _uid(instance.series)
    if _is_uid(frame := tags.get_tag_text(header, "FrameOfReferenceUID")):
        made.FrameOfReferenceUID = frame
    made.Modality = instance.facts.modality
    made.Rows, made.Columns = plane.rows, plane.columns
    for keyword, values in (
        ("ImagePositionPatient", plane.position),
        ("ImageOrientationPatient", stack.planes[0].orientation),
        ("PixelSpacing", stack.planes[0].spacing),
    ):
        setattr(made, keyword, [DSfloat(value, auto_format=True) for value in values or ()])
    step_mm = round(float(np.linalg.norm(stack.affine[:3, 2])), 6)
    made.SliceThickness = made.SpacingBetweenSlices = step_mm  # what the header calls so is often wrong
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(made, keyword, "")
    made.StudyDate = made.StudyTime = made.ReferringPhysicianName = ""
    return made


def _uid(text: str) -> str:
    if not _is_uid(text):
        raise LeftOutError("not_encodable")
    return text


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and UID_PATTERN.fullmatch(text) is not None
