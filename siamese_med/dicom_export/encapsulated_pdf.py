"""A patient's page as PDF, wrapped up as a DICOM document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from siamese_med.dicom_export.identifiers import RESEARCH_USE_NOTICE, ExportContext

if TYPE_CHECKING:
    from pydicom import Dataset

ENCAPSULATED_PDF_STORAGE_UID = "1.2.840.10008.5.1.4.1.1.104.1"


def build_encapsulated_pdf(pdf: bytes, later: Sequence[Dataset], filing: ExportContext) -> Dataset:
    """The PDF as it is, filed under the study of the images `later`."""
    from highdicom.base import SOPClass
    from pydicom.dataset import Dataset

    made = SOPClass(
        study_instance_uid=later[0].StudyInstanceUID,
        sop_class_uid=ENCAPSULATED_PDF_STORAGE_UID,
        modality="DOC",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **filing.common("report", pdf),
    )
    made.ConversionType = "WSD"
    made.AcquisitionDateTime = None
    made.BurnedInAnnotation = "NO"  # the page knows the patient by a pseudonym
    made.DocumentTitle = f"{RESEARCH_USE_NOTICE}: change in a patient's images"
    made.ConceptNameCodeSequence = []
    made.SourceInstanceSequence = []
    for one in later:
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        made.SourceInstanceSequence.append(source)
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    return made
