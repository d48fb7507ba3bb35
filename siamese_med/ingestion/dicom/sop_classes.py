"""Selection of DICOM files that are volumes of MR, CT or PET, and reasons for refusing others; by SOP class first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siamese_med.ingestion import contrast
from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.tags import DicomHeader

STORAGE_UID_ROOT = "1.2.840.10008.5.1.4.1.1."
"""Root of the storage SOP classes (DICOM PS3.4, annex B.5)."""

MODALITY_BY_SOP_CLASS = {
    f"{STORAGE_UID_ROOT}{tail}": modality
    for tail, modality in (
        ("2", "CT"), ("2.1", "CT"), ("2.2", "CT"), ("4", "MR"), ("4.1", "MR"), ("4.4", "MR"),
        ("128", "PT"), ("130", "PT"), ("128.1", "PT"),
    )
}  # fmt: skip
"""Classic, enhanced and legacy converted image storage of CT, MR and PET."""

COLOUR_SOP_CLASSES = (f"{STORAGE_UID_ROOT}4.3",)
"""Enhanced MR Color Image Storage."""

PROJECTION_SOP_CLASSES = tuple(
    f"{STORAGE_UID_ROOT}{tail}"
    for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.1.1", "12.2", "12.2.1", "12.3",
                 "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5")
)  # fmt: skip
"""Radiography, mammography and angiography, projections and X-ray 3D volumes."""

OTHER_IMAGE_SOP_CLASSES = tuple(f"{STORAGE_UID_ROOT}{tail}" for tail in ("3", "3.1", "5", "6", "6.1", "6.2", "20"))
"""Ultrasound and nuclear medicine."""

SECONDARY_CAPTURE_UID = f"{STORAGE_UID_ROOT}7"
"""Secondary Capture Image Storage; its multi-frame variants begin with the same UID."""

SCREEN_TYPES = {
    "SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "SCREENSHOT", "SCREEN SHOT", "SCREEN_SHOT", "SCREEN CAPTURE", "CAPTURE",
    "CT_SOM5 PROT", "CT_SOM7 PROT", "DOSE_INFO", "DOSE INFO", "DOSE REPORT", "DOSE_REPORT",
}  # fmt: skip
"""Terms of Image Type of pictures of a screen or a table of doses, which are also stored as MR or CT images."""

LOCALIZER_TYPES = {"LOCALIZER", "SCOUT", "SURVIEW", "REF_SURVIEW", "TOPOGRAM", "SCANOGRAM"}
"""Terms of Image Type that scanners use for localizers."""

SUBTRACTION_TYPES = {"SUBTRACTION", "SUBTRACT"}
"""Values of ImageType of a difference, such as after minus before contrast agent."""
WORDS_BEHIND_SUB = (
    r"[ _-]*(acute|akut|aigu|agud|dural|arachn|cort|kort|galeal|occip|temp|front|mm|millim|total|study|ependym)"
)
"""Words that `sub` belongs to."""

SUBTRACTION_PATTERN = re.compile(rf"(?<![a-z0-9])(subtract\w*|subs?(?!{WORDS_BEHIND_SUB}))(?![a-z0-9-]|_\d)", re.I)
"""Series descriptions of differences; `SUB ACUTE` is none."""

RESULT_PATTERN = re.compile(
    r"(?<![a-z])((lesion|tumou?r|brain)[ _-]?masks?|segmentations?|lesion[ _-]?(map|overlay)|overlay|fused|fusion|"
    r"heat[ _-]?map|screen[ _-]?(shot|save)|(lesion|neuro)[ _-]?quant|icobrain|icometrix)(?![a-z])",
    re.I,
)
"""Series descriptions of pictures that programs made of scans; of derived images only."""

PROJECTION_TYPES = {
    "PROJECTION IMAGE", "MIP", "MAXIMUM INTENSITY PROJECTION", "MNIP", "MINIP", "MIN IP", "MIN_IP", "MAX IP", "MAX_IP",
    "MIN PROJECTION", "MAX PROJECTION", "MIP_SW", "MINIMUM INTENSITY PROJECTION",
}  # fmt: skip
"""Terms of Image Type for projections of a volume."""

GREYSCALE_INTERPRETATIONS = {"MONOCHROME1", "MONOCHROME2"}
"""Photometric Interpretation of grey-scale images."""


def determine_modality(dataset: DicomHeader) -> str:
    """Return the modality of a volume: MR, CT or PT.

    The SOP class decides; without one, Modality and Rows do. Localizers, projections and colour images, which are also
    stored as MR or CT, are recognised by Image Type, Series Description and Photometric Interpretation.

    Raises
    ------
    RejectedError
        The file is no volume; the reason is one of those for skipped files, such as `localizer`.
    """
    kind = _sop_class(dataset)
    if kind == SECONDARY_CAPTURE_UID or kind.startswith(f"{SECONDARY_CAPTURE_UID}."):
        raise RejectedError("secondary_capture")
    if kind in PROJECTION_SOP_CLASSES:
        raise RejectedError("projection")
    if kind in COLOUR_SOP_CLASSES:
        raise RejectedError("rgb")
    if kind in OTHER_IMAGE_SOP_CLASSES:
        raise RejectedError("unsupported_modality")
    found = MODALITY_BY_SOP_CLASS.get(kind) or (_by_modality(dataset) if not kind else None)
    if found is None:
        raise RejectedError("non_image")
    _refuse_views(dataset)
    return found


def _sop_class(dataset: DicomHeader) -> str:
    meta = getattr(dataset, "file_meta", None)
    return tags.get_tag_text(dataset, "SOPClassUID") or tags.get_tag_text(meta, "MediaStorageSOPClassUID")


def _by_modality(dataset: DicomHeader) -> str | None:
    """Return the modality of a file without a SOP class: an image has Rows and a Modality."""
    if not tags.get_tag_integer(dataset, "Rows"):
        raise RejectedError("unreadable_header" if tags.get_tag_text(dataset, "StudyInstanceUID") else "not_an_image")
    named = tags.get_tag_text(dataset, "Modality").upper()
    return named if named in ("MR", "CT", "PT") else None


def _refuse_views(dataset: DicomHeader) -> None:
    """Refuse screens, localizers, projections and colour images, which are also stored as MR or CT images."""
    image_type = set(tags.get_tag_words(dataset, "ImageType"))
    description = tags.get_tag_text(dataset, "SeriesDescription")
    if image_type & SCREEN_TYPES:
        raise RejectedError("secondary_capture")
    if image_type & LOCALIZER_TYPES or contrast.LOCALIZER_PATTERN.search(description):
        raise RejectedError("localizer")
    if image_type & PROJECTION_TYPES or contrast.is_projection_name(description):
        raise RejectedError("projection")
    if image_type & SUBTRACTION_TYPES or SUBTRACTION_PATTERN.search(description):
        raise RejectedError("subtraction")
    if "DERIVED" in image_type and RESULT_PATTERN.search(description):
        raise RejectedError("non_image")
    photometric = tags.get_tag_text(dataset, "PhotometricInterpretation").upper()
    if (tags.get_tag_integer(dataset, "SamplesPerPixel") or 1) > 1 or (
        photometric and photometric not in GREYSCALE_INTERPRETATIONS
    ):
        raise RejectedError("rgb")
