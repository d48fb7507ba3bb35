"""Where a DICOM file comes from, known although no volume can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from siamese_med.ingestion import tags

if TYPE_CHECKING:
    from siamese_med.ingestion.tags import Header

MODALITIES = {
    "AU", "BI", "CR", "CT", "DOC", "DX", "ECG", "EPS", "ES", "FID", "GM", "HC", "IO", "IVUS", "KO", "MG", "MR",
    "NM", "OCT", "OP", "OPT", "OT", "PR", "PT", "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD",
    "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "SRF", "TG", "US", "XA", "XC",
}  # fmt: skip
"""Words of DICOM; anything else that a file says there may be a name."""


@dataclass(frozen=True)
class Origin:
    """Whose a file is and what it belongs to; every text may be empty."""

    issuer: str
    patient: str
    study: str
    series: str
    number: int
    modality: str
    day: date | None


def origin_of(header: Header) -> Origin:
    """What a DICOM header says of its origin; every value may be empty."""
    said = tags.text(header, "Modality").upper()
    return Origin(
        issuer=tags.text(header, "IssuerOfPatientID"),
        patient=tags.text(header, "PatientID"),
        study=tags.text(header, "StudyInstanceUID"),
        series=tags.text(header, "SeriesInstanceUID"),
        number=tags.integer(header, "SeriesNumber") or 0,
        modality=said if said in MODALITIES else "unknown",
        day=tags.day(tags.text(header, "StudyDate")) or tags.day(tags.text(header, "SeriesDate")),
    )
