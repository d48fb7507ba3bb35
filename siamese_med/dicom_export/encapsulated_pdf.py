"""A patient's report page as PDF in a DICOM object (Encapsulated PDF Storage)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from siamese_med.dicom_export.identifiers import RESEARCH_USE_NOTICE, ExportContext

if TYPE_CHECKING:
    from pydicom import Dataset

ENCAPSULATED_PDF_STORAGE_UID = "1.2.840.10008.5.1.4.1.1.104.1"
"""SOP class Encapsulated PDF Storage (DICOM PS3.3, A.45.1)."""


def build_encapsulated_pdf(pdf: bytes, later: Sequence[Dataset], filing: ExportContext) -> Dataset:
    """Build an Encapsulated PDF object that is filed under the study of the follow-up's images.

    Parameters
    ----------
    pdf
        The PDF file; it is embedded unchanged.
    later
        Headers of the follow-up's images, at least one; they become the source instances.
    """
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
    made.BurnedInAnnotation = "NO"  # the page shows only a pseudonym
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
