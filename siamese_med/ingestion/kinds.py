"""Which DICOM files are volumes of MR, CT or PET, and why the others are not; judged by SOP class first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.ingestion import contrast, tags
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from siamese_med.ingestion.tags import Header

STORAGE = "1.2.840.10008.5.1.4.1.1."
VOLUMES = {
    f"{STORAGE}{tail}": modality
    for tail, modality in (
        ("2", "CT"), ("2.1", "CT"), ("2.2", "CT"), ("4", "MR"), ("4.1", "MR"), ("4.4", "MR"),
        ("128", "PT"), ("130", "PT"), ("128.1", "PT"),
    )
}  # fmt: skip
"""Classic, enhanced and legacy converted storage."""

COLOUR = (f"{STORAGE}4.3",)
PROJECTIONS = tuple(
    f"{STORAGE}{tail}"
    for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.1.1", "12.2", "12.2.1", "12.3",
                 "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5")
)  # fmt: skip
OTHER_IMAGES = tuple(f"{STORAGE}{tail}" for tail in ("3", "3.1", "5", "6", "6.1", "6.2", "20"))
SECONDARY = f"{STORAGE}7"
LOCALIZER_TYPES = {"LOCALIZER", "SCOUT", "SURVIEW", "REF_SURVIEW", "TOPOGRAM", "SCANOGRAM"}
PROJECTION_TYPES = {"PROJECTION IMAGE", "MIP", "MAXIMUM INTENSITY PROJECTION", "MNIP", "MINIP"}
GREY = {"MONOCHROME1", "MONOCHROME2"}


def modality(dataset: Header) -> str:
    """MR, CT or PT; raises RejectedError with the reason for which the file is skipped."""
    kind = _sop_class(dataset)
    if kind == SECONDARY or kind.startswith(f"{SECONDARY}."):
        raise RejectedError("secondary_capture")
    if kind in PROJECTIONS:
        raise RejectedError("projection")
    if kind in COLOUR:
        raise RejectedError("rgb")
    if kind in OTHER_IMAGES:
        raise RejectedError("unsupported_modality")
    found = VOLUMES.get(kind) or (_by_modality(dataset) if not kind else None)
    if found is None:
        raise RejectedError("non_image")
    _refuse_views(dataset)
    return found


def _sop_class(dataset: Header) -> str:
    meta = getattr(dataset, "file_meta", None)
    return tags.text(dataset, "SOPClassUID") or tags.text(meta, "MediaStorageSOPClassUID")


def _by_modality(dataset: Header) -> str | None:
    """A file without a SOP class is an image if it says what it shows and how large that is."""
    if not tags.integer(dataset, "Rows"):
        raise RejectedError("unreadable_header" if tags.text(dataset, "StudyInstanceUID") else "not_an_image")
    named = tags.text(dataset, "Modality").upper()
    return named if named in ("MR", "CT", "PT") else None


def _refuse_views(dataset: Header) -> None:
    """Localizers, projections and colour pictures are kept as MR or CT images too."""
    image_type = set(tags.words(dataset, "ImageType"))
    if image_type & LOCALIZER_TYPES or contrast.LOCALIZER.search(tags.text(dataset, "SeriesDescription")):
        raise RejectedError("localizer")
    if image_type & PROJECTION_TYPES:
        raise RejectedError("projection")
    photometric = tags.text(dataset, "PhotometricInterpretation").upper()
    if (tags.integer(dataset, "SamplesPerPixel") or 1) > 1 or (photometric and photometric not in GREY):
        raise RejectedError("rgb")
