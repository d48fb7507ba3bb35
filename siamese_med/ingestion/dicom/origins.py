"""The patient and series of a DICOM file, known even where no volume can be made from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from siamese_med.ingestion.dicom import tags

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.tags import DicomHeader

DICOM_MODALITIES = {
    "AU", "BI", "CR", "CT", "DOC", "DX", "ECG", "EPS", "ES", "FID", "GM", "HC", "IO", "IVUS", "KO", "MG", "MR",
    "NM", "OCT", "OP", "OPT", "OT", "PR", "PT", "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD",
    "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "SRF", "TG", "US", "XA", "XC",
}  # fmt: skip
"""Defined terms of Modality (DICOM PS3.3, section C.7.3.1.1.1); any other value may be free text with a name."""


@dataclass(frozen=True)
class DicomOrigin:
    """The patient and series of a file. Every text may be empty."""

    issuer: str
    patient: str
    study: str
    series: str
    number: int
    modality: str
    day: date | None


def read_dicom_origin(header: DicomHeader) -> DicomOrigin:
    """Read patient, study, series, modality and date from a header.

    Missing or malformed values become an empty text, 0 or None; a modality outside `DICOM_MODALITIES` becomes
    `unknown`.
    """
    said = tags.get_tag_text(header, "Modality").upper()
    return DicomOrigin(
        issuer=tags.get_tag_text(header, "IssuerOfPatientID"),
        patient=tags.get_tag_text(header, "PatientID"),
        study=tags.get_tag_text(header, "StudyInstanceUID"),
        series=tags.get_tag_text(header, "SeriesInstanceUID"),
        number=tags.get_tag_integer(header, "SeriesNumber") or 0,
        modality=said if said in DICOM_MODALITIES else "unknown",
        day=tags.parse_dicom_date(tags.get_tag_text(header, "StudyDate"))
        or tags.parse_dicom_date(tags.get_tag_text(header, "SeriesDate")),
    )
