"""The DICOM elements that ingest reads, by keyword: tag and usual value representation.

pydicom's dictionary has them all, but takes half a second to import, and an ordinary file needs nothing else of it.
Tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ELEMENTS: Mapping[str, tuple[int, bytes]] = MappingProxyType(
    {
        "MediaStorageSOPClassUID": (0x00020002, b"UI"),
        "TransferSyntaxUID": (0x00020010, b"UI"),
        "ImageType": (0x00080008, b"CS"),
        "SOPClassUID": (0x00080016, b"UI"),
        "SOPInstanceUID": (0x00080018, b"UI"),
        "StudyDate": (0x00080020, b"DA"),
        "SeriesDate": (0x00080021, b"DA"),
        "AcquisitionDate": (0x00080022, b"DA"),
        "ContentDate": (0x00080023, b"DA"),
        "AcquisitionDateTime": (0x0008002A, b"DT"),
        "SeriesTime": (0x00080031, b"TM"),
        "AcquisitionTime": (0x00080032, b"TM"),
        "ContentTime": (0x00080033, b"TM"),
        "Modality": (0x00080060, b"CS"),
        "Manufacturer": (0x00080070, b"LO"),
        "SeriesDescription": (0x0008103E, b"LO"),
        "ManufacturerModelName": (0x00081090, b"LO"),
        "FrameType": (0x00089007, b"CS"),
        "ComplexImageComponent": (0x00089208, b"CS"),
        "PatientID": (0x00100020, b"LO"),
        "IssuerOfPatientID": (0x00100021, b"LO"),
        "ScanningSequence": (0x00180020, b"CS"),
        "SequenceVariant": (0x00180021, b"CS"),
        "SliceThickness": (0x00180050, b"DS"),
        "RepetitionTime": (0x00180080, b"DS"),
        "EchoTime": (0x00180081, b"DS"),
        "InversionTime": (0x00180082, b"DS"),
        "EchoNumbers": (0x00180086, b"IS"),
        "SpacingBetweenSlices": (0x00180088, b"DS"),
        "DeviceSerialNumber": (0x00181000, b"LO"),
        "ProtocolName": (0x00181030, b"LO"),
        "TriggerTime": (0x00181060, b"DS"),
        "FlipAngle": (0x00181314, b"DS"),
        "EffectiveEchoTime": (0x00189082, b"FD"),
        "DiffusionBValue": (0x00189087, b"FD"),
        "StudyInstanceUID": (0x0020000D, b"UI"),
        "SeriesInstanceUID": (0x0020000E, b"UI"),
        "SeriesNumber": (0x00200011, b"IS"),
        "AcquisitionNumber": (0x00200012, b"IS"),
        "InstanceNumber": (0x00200013, b"IS"),
        "ImagePositionPatient": (0x00200032, b"DS"),
        "ImageOrientationPatient": (0x00200037, b"DS"),
        "FrameOfReferenceUID": (0x00200052, b"UI"),
        "TemporalPositionIdentifier": (0x00200100, b"IS"),
        "StackID": (0x00209056, b"SH"),
        "InStackPositionNumber": (0x00209057, b"UL"),
        "TemporalPositionIndex": (0x00209128, b"UL"),
        "NominalCardiacTriggerDelayTime": (0x00209153, b"FD"),
        "FrameAcquisitionNumber": (0x00209156, b"US"),
        "SamplesPerPixel": (0x00280002, b"US"),
        "PhotometricInterpretation": (0x00280004, b"CS"),
        "NumberOfFrames": (0x00280008, b"IS"),
        "Rows": (0x00280010, b"US"),
        "Columns": (0x00280011, b"US"),
        "PixelSpacing": (0x00280030, b"DS"),
        "BitsAllocated": (0x00280100, b"US"),
        "BitsStored": (0x00280101, b"US"),
        "PixelRepresentation": (0x00280103, b"US"),
        "BurnedInAnnotation": (0x00280301, b"CS"),
        "RescaleIntercept": (0x00281052, b"DS"),
        "RescaleSlope": (0x00281053, b"DS"),
        "LossyImageCompression": (0x00282110, b"CS"),
        "PerFrameFunctionalGroupsSequence": (0x52009230, b"SQ"),
    }
)
