"""Write a simulated scan as a DICOM series, with invented values for the identifiers of real exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.simulation.scanner import TIMINGS_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from siamese_med.imaging.volume import Volume
    from siamese_med.simulation.scanner import Scanner

MR_IMAGE_STORAGE_UID = "1.2.840.10008.5.1.4.1.1.4"
"""SOP class MR Image Storage (DICOM PS3.4, B.5)."""
LOCALIZER_SLICES = 3
"""Number of slices in a localizer series."""


@dataclass(frozen=True)
class PatientIdentity:
    """The invented identity of a simulated patient, as DICOM values: PN, LO, YYYYMMDD, and M, F or O."""

    name: str
    identifier: str
    birth_date: str
    sex: str


@dataclass(frozen=True)
class SimulatedExamination:
    """One examination: its DICOM date (YYYYMMDD), and a seed from which its UIDs are made."""

    date: str
    seed: str


def write_dicom_series(
    folder: Path, volume: Volume, scanner: Scanner, person: PatientIdentity, visit: SimulatedExamination
) -> list[Path]:
    """Write a series of MR images, one file per slice, named IM0001, IM0002 and so on.

    Parameters
    ----------
    volume
        Voxels (i, j, k) become columns, rows and slices; RAS+ becomes DICOM's LPS+. Values are stored as uint16 with
        the scanner's rescale slope and intercept, and clipped to that range.
    visit
        The same seed and place in the series give the same UIDs.

    Returns
    -------
    Paths in the order of the slices.
    """
    stored, bits = _stored_values(volume.voxels, scanner.rescale)
    series = _uid(visit.seed, "series")
    written = []
    for k in range(stored.shape[2]):
        dataset = _header(scanner, person, visit, series, k)
        _set_geometry(dataset, volume.affine, k)
        _set_pixels(dataset, stored[:, :, k].T, bits, scanner.rescale)
        written.append(_save(dataset, folder / f"IM{k + 1:04d}"))
    return written


def write_localizer_series(
    folder: Path, volume: Volume, scanner: Scanner, person: PatientIdentity, visit: SimulatedExamination
) -> None:
    """Write the localizer (scout) of an examination: LOCALIZER_SLICES slices, marked LOCALIZER in ImageType.

    Every real examination starts with such a series, which is of no use for a comparison. Files are named LOC0001 and
    so on. It belongs to the same study as the series that `write_dicom_series` writes for `visit`.
    """
    stored, bits = _stored_values(volume.voxels, scanner.rescale)
    series = _uid(visit.seed, "localizer")
    for number, k in enumerate(np.linspace(0, stored.shape[2] - 1, LOCALIZER_SLICES + 2).astype(int)[1:-1]):
        dataset = _header(scanner, person, visit, series, int(k))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"]
        dataset.SeriesNumber, dataset.SeriesDescription = 1, "localizer"
        _set_geometry(dataset, volume.affine, int(k))
        _set_pixels(dataset, stored[:, :, k].T, bits, scanner.rescale)
        _save(dataset, folder / f"LOC{number + 1:04d}")


def _stored_values(voxels: NDArray[np.generic], rescale: tuple[float, float]) -> tuple[NDArray[np.uint16], int]:
    slope, intercept = rescale
    return np.clip(np.round((np.asarray(voxels, dtype=np.float32) - intercept) / slope), 0, 65535).astype(np.uint16), 16


def _uid(seed: str, *parts: object) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["siamese-med phantom", seed, *map(str, parts)])


def _header(scanner: Scanner, person: PatientIdentity, visit: SimulatedExamination, series: str, k: int) -> Dataset:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.SOPClassUID = MR_IMAGE_STORAGE_UID
    dataset.SOPInstanceUID = _uid(visit.seed, series, k)
    dataset.StudyInstanceUID = _uid(visit.seed, "study")
    dataset.SeriesInstanceUID = series
    dataset.FrameOfReferenceUID = _uid(visit.seed, "frame")
    dataset.PatientName, dataset.PatientID = person.name, person.identifier
    dataset.PatientBirthDate, dataset.PatientSex = person.birth_date, person.sex
    dataset.PatientComments = f"simulated; {person.name} arrived late"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = visit.date
    dataset.StudyTime = "101500"
    dataset.AccessionNumber = f"A{person.identifier}"
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientPosition = "MR", "HEAD", "HFS"
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.maker, scanner.name
    dataset.DeviceSerialNumber = scanner.name[-1] * 5
    dataset.MagneticFieldStrength = "3"
    dataset.MRAcquisitionType = "2D" if scanner.slice_mm >= 3 else "3D"
    _set_timing(dataset, scanner.contrast)
    dataset.SeriesDescription, dataset.SeriesNumber = f"{scanner.contrast.lower()} {scanner.plane}", 2
    dataset.InstanceNumber = k + 1
    block = dataset.private_block(0x0011, "SIMULATED SITE", create=True)
    block.add_new(0x01, "LO", f"{person.name} {person.identifier}")
    return dataset


def _set_timing(dataset: Dataset, contrast: str) -> None:
    echo_kind, repetition_ms, echo_ms, inversion_ms = TIMINGS_MS[contrast]
    dataset.ScanningSequence = echo_kind if inversion_ms is None else [echo_kind, "IR"]
    dataset.SequenceVariant, dataset.ScanOptions = "SK", ""
    dataset.RepetitionTime, dataset.EchoTime = f"{repetition_ms:g}", f"{echo_ms:g}"
    if inversion_ms is not None:
        dataset.InversionTime = f"{inversion_ms:g}"


def _set_geometry(dataset: Dataset, affine: NDArray[np.float64], k: int) -> None:
    to_lps = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = to_lps @ affine[:3, :3] / spacing
    position = to_lps @ (affine[:3, :3] @ [0, 0, k] + affine[:3, 3])
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*directions[:, 0], *directions[:, 1])]
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    dataset.SliceThickness = _decimal(spacing[2])


def _decimal(value: float) -> str:
    """Format a DICOM decimal string (DS), which has at most 16 characters (DICOM PS3.5, 6.2)."""
    return f"{value:.9f}"[:16]


def _set_pixels(dataset: Dataset, pixels: NDArray[np.uint16], bits: int, rescale: tuple[float, float]) -> None:
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    if rescale != (1.0, 0.0):
        dataset.RescaleSlope, dataset.RescaleIntercept = (str(value) for value in rescale)
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()


def _save(dataset: Dataset, path: Path) -> Path:
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path
