"""Where a DICOM file comes from, known although no volume can be made of it."""

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
"""Words of DICOM; anything else that a file says there may be a name."""


@dataclass(frozen=True)
class DicomOrigin:
    """Whose a file is and what it belongs to; every text may be empty."""

    issuer: str
    patient: str
    study: str
    series: str
    number: int
    modality: str
    day: date | None


def read_dicom_origin(header: DicomHeader) -> DicomOrigin:
    """What a DICOM header says of its origin; every value may be empty."""
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
