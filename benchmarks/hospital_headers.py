"""The header elements of a simulated hospital's files: about 150 a file, with sequences and private blocks."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from benchmarks.hospital import CT, MR, Geometry, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CSA_NAMES = ("EchoLinePosition", "ImaRelTablePosition", "PhaseEncodingDirectionPositive",
             "BandwidthPerPixelPhaseEncode", "SliceMeasurementDuration", "RealDwellTime")  # fmt: skip
CSA_VALUES = ("128", "0", "1", "23.674", "321400.000000", "8900")
CSA_MARK = 77


def of_series(one: Series, place: Geometry) -> Dataset:
    """What all slices of a series share."""
    dataset = Dataset()
    for part in (_study(one), _patient(one), _machine(one), _picture(one, place), _private(one)):
        dataset.update(part)
    dataset.update(_ct() if one.ct else _mr(one))
    return dataset


def having(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return having(CodeValue=value, CodingSchemeDesignator=scheme, CodingSchemeVersion="01", CodeMeaning=meaning)


def _reference(sop_class: str, uid: str) -> Dataset:
    return having(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid)


def _study(one: Series) -> Dataset:
    reference = _reference("1.2.840.10008.3.1.2.3.1", one.uid("ref", one.study))
    source = _reference(MR, one.uid("source", one.study))
    source.PurposeOfReferenceCodeSequence = [_code("121322", "DCM", "Source image for image processing")]
    request = having(
        RequestedProcedureID=f"RP{one.study:06d}",
        RequestedProcedureDescription="MR Schaedel nativ",
        ScheduledProcedureStepID=f"SPS{one.study:06d}",
        ScheduledProcedureStepDescription="Kopf, Verlauf",
        RequestedProcedureCodeSequence=[_code("MRKOPF", "99LOCAL", "MR Kopf")],
        ScheduledProtocolCodeSequence=[_code("KOPF1", "99LOCAL", "Kopf Routine")],
    )
    day = one.date
    return having(
        SpecificCharacterSet="ISO_IR 100", InstanceCreationDate=day, StudyDate=day, SeriesDate=day,
        AcquisitionDate=day, ContentDate=day, StudyTime="100900.000000",
        SeriesTime=f"10{one.number_in_study:02d}11.125000", AcquisitionTime=f"10{one.number_in_study:02d}12.500000",
        AccessionNumber=f"ACC{one.study:08d}", StudyInstanceUID=one.uid("study", one.study),
        SeriesInstanceUID=one.uid("series", one.number), FrameOfReferenceUID=one.uid("frame", one.number),
        StudyID=f"{one.study:06d}", SeriesNumber=one.number_in_study, AcquisitionNumber=1,
        StudyDescription="Schaedel^Verlauf", SeriesDescription=one.description, ProtocolName=one.description,
        PositionReferenceIndicator="", ReferringPhysicianName=f"Dr.^{one.person.name[::-1]}",
        PerformingPhysicianName="Radiologie^Dienst", OperatorsName="MTRA^A", NameOfPhysiciansReadingStudy="",
        PerformedProcedureStepID=f"PPS{one.study:06d}", PerformedProcedureStepStartDate=day,
        PerformedProcedureStepStartTime="100900.000000", PerformedProcedureStepDescription="Schaedel^Verlauf",
        RequestAttributesSequence=[request], ProcedureCodeSequence=[_code("MRKOPF", "99LOCAL", "MR Kopf")],
        ReferencedStudySequence=[reference], ReferencedPerformedProcedureStepSequence=[reference],
        ReferencedImageSequence=[_reference(MR, one.uid("scout", one.study, number)) for number in range(3)],
        SourceImageSequence=[source],
        RequestedProcedureDescription="MR Schaedel nativ", RequestedProcedureID=f"RP{one.study:06d}",
    )  # fmt: skip


def _patient(one: Series) -> Dataset:
    who = one.person
    return having(
        PatientName=who.name, PatientID=who.identifier, IssuerOfPatientID="SIMULATED HOSPITAL",
        PatientBirthDate=who.birth, PatientBirthTime="", PatientSex="F" if sum(map(ord, who.name)) % 2 else "M",
        PatientAge="047Y",
        OtherPatientIDsSequence=[
            having(PatientID=f"X{who.identifier}", IssuerOfPatientID="OTHER SITE", TypeOfPatientID="TEXT")
        ],
        PatientSize="1.72", PatientWeight="71", EthnicGroup="", Occupation="",
        AdditionalPatientHistory=f"{who.name}: known", PatientComments=f"{who.name} is afraid of narrow rooms",
        PregnancyStatus=4, MedicalAlerts="", Allergies="", PatientAddress="1 Simulated Street",
        PatientTelephoneNumbers="000 000",
    )  # fmt: skip


def _machine(one: Series) -> Dataset:
    maker, model, serial, field, software = one.scanner
    return having(
        Manufacturer=maker, ManufacturerModelName=model, DeviceSerialNumber=serial,
        SoftwareVersions=software.split("\\"), InstitutionName="Simulated Hospital",
        InstitutionAddress="1 Simulated Street", StationName=f"MR{serial[-3:]}",
        InstitutionalDepartmentName="Radiologie", MagneticFieldStrength=str(field), PerformedStationAETitle="MRAE1",
        PerformedStationName="MR1", PerformedLocation="", DateOfLastCalibration="20110101",
        TimeOfLastCalibration="080000", BodyPartExamined="HEAD", PatientPosition="HFS",
        PerformedProtocolCodeSequence=[_code("KOPF1", "99LOCAL", "Kopf")],
        AnatomicRegionSequence=[_code("T-D1100", "SRT", "Head")], CommentsOnThePerformedProcedureStep="",
    )  # fmt: skip


def _picture(one: Series, place: Geometry) -> Dataset:
    _, rows, columns = one.shape
    directions = [decimal(value) for value in (*place.row, *place.column)]
    return having(
        SOPClassUID=CT if one.ct else MR, Modality="CT" if one.ct else "MR",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"], ImageOrientationPatient=directions,
        PixelSpacing=[decimal(place.pixel_mm)] * 2, SliceThickness=decimal(place.gap_mm), SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", Rows=rows, Columns=columns, BitsAllocated=16, BitsStored=12,
        HighBit=11, PixelRepresentation=0, WindowCenterWidthExplanation="Algo1", Laterality="",
        LossyImageCompression="00", ImagesInAcquisition=one.shape[0], ImageComments="",
        PresentationLUTShape="IDENTITY",
    )  # fmt: skip


def _mr(one: Series) -> Dataset:
    _, repetition, echo, inversion, flip, sequence = one.protocol
    _, rows, columns = one.shape
    shown = having(
        ScanningSequence=list(sequence), SequenceVariant=["SK", "SP"], ScanOptions="PFP", MRAcquisitionType="3D",
        SequenceName="*tfl3d1_16ns", AngioFlag="N", RepetitionTime=str(repetition), EchoTime=str(echo),
        NumberOfAverages="1", ImagingFrequency="123.249", ImagedNucleus="1H", EchoNumbers="1",
        NumberOfPhaseEncodingSteps=str(rows - 1), EchoTrainLength="1", PercentSampling="100",
        PercentPhaseFieldOfView="100", PixelBandwidth="240", FlipAngle=str(flip), TransmitCoilName="Body",
        ReceiveCoilName="HeadNeck_20", AcquisitionMatrix=[0, rows, columns, 0], InPlanePhaseEncodingDirection="ROW",
        VariableFlipAngleFlag="N", SAR="0.0498", dBdt="0",
    )  # fmt: skip
    if inversion is not None:
        shown.InversionTime = str(inversion)
    return shown


def _ct() -> Dataset:
    return having(
        RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU", KVP="120", DataCollectionDiameter="500",
        ReconstructionDiameter="230", DistanceSourceToDetector="1040", DistanceSourceToPatient="570",
        GantryDetectorTilt="0", TableHeight="160", RotationDirection="CW", ExposureTime="1000", XRayTubeCurrent="280",
        Exposure="280", FilterType="0", GeneratorPower="34", FocalSpots="1.2", ConvolutionKernel="H31s",
        ScanOptions="AXIAL", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    )  # fmt: skip


def _private(one: Series) -> Dataset:
    """What makers add: plain values and a sequence everywhere, and Siemens' protocol, which is some ten kilobytes."""
    dataset = Dataset()
    site = dataset.private_block(0x0011, "SIMULATED SITE", create=True)
    site.add_new(0x01, "LO", f"{one.person.name} {one.person.identifier}")
    site.add_new(0x02, "SQ", [_code(str(n), "99PRIVATE", f"step {n}") for n in range(4)])
    for group, creator in ((0x0019, "SIMULATED ACQU 01"), (0x0021, "SIMULATED RELA 01"), (0x0051, "SIMULATED HEADER")):
        block = dataset.private_block(group, creator, create=True)
        for element in range(8):
            block.add_new(0x40 + element, "DS" if element % 2 else "SH", f"{one.number * 7 + element}")
    if one.siemens:
        dataset.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
        dataset.add_new((0x0029, 0x1008), "CS", "IMAGE NUM 4")
        dataset.add_new((0x0029, 0x1018), "CS", "MR")
        dataset.add_new((0x0029, 0x1020), "OB", csa(45_000))
    return dataset


def of_slice(one: Series, place: Geometry, index: int, pixels: NDArray[np.uint16]) -> Dataset:
    """What differs from slice to slice."""
    own = Dataset()
    clock = f"{101500 + index // 60:06d}.{index * 7919 % 10**6:06d}"
    own.SOPInstanceUID, own.InstanceNumber = one.uid(one.number, index), index + 1
    own.ContentTime, own.InstanceCreationTime = clock, clock
    own.ImagePositionPatient = [decimal(value) for value in place.position(index)]
    own.SliceLocation = decimal(float(place.position(index) @ place.normal))
    low, high = int(pixels.min()), int(pixels.max())
    own.SmallestImagePixelValue, own.LargestImagePixelValue = low, high
    own.WindowCenter, own.WindowWidth = str((low + high) // 2), str(max(high - low, 1))
    if one.siemens:
        own.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
        own.add_new((0x0029, 0x1010), "OB", csa(11_000))
    return own


def decimal(value: float) -> str:
    """A DICOM decimal string has at most 16 characters."""
    return f"{value:.10f}"[:16].rstrip("0").rstrip(".") or "0"


@lru_cache(maxsize=4)
def csa(size: int) -> bytes:
    """A Siemens block in its own layout, of about `size` bytes: six items a tag, a protocol as text in the last one."""
    text = "".join(f"sSliceArray.asSlice[{number}].dThickness = {number * 0.25}\n" for number in range(size // 45))
    tags = dict(zip((*CSA_NAMES, "MrPhoenixProtocol"), (*CSA_VALUES, text), strict=True))
    parts = [b"SV10\4\3\2\1", struct.pack("<II", len(tags), CSA_MARK)]
    for name, value in tags.items():
        parts.append(struct.pack("<64si4siii", name.encode(), 1, b"UN\0\0", 0, 6, CSA_MARK))
        for content in (value.encode() + b"\0", *[b""] * 5):
            parts.append(struct.pack("<4i", len(content), len(content), CSA_MARK, len(content)))
            parts.append(content + bytes(-len(content) % 4))
    return b"".join(parts)
