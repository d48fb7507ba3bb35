"""DICOM and NIfTI files as a hospital might export them, made for the tests: a small slanted box of noise."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.ingestion.uids import new_uid

MR = UID("1.2.840.10008.5.1.4.1.1.4")
CT = UID("1.2.840.10008.5.1.4.1.1.2")
ENHANCED_MR = UID("1.2.840.10008.5.1.4.1.1.4.1")
ROWS, COLUMNS, SLICES = 40, 36, 6
SPACING = (1.5, 1.25)  # between rows, between columns
GAP = 2.0
SIDEWAYS = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # sagittal
ORIGIN = np.array([20.0, -30.0, 40.0])


def voxels(seed: int = 0, slices: int = SLICES) -> np.ndarray:
    """Stored values (slice, row, column), uint16."""
    return np.random.default_rng(seed).integers(0, 3000, (slices, ROWS, COLUMNS)).astype(np.uint16)


def series(patient: str = "PAT-1", seed: int = 0, slices: int = SLICES, **tags: Any) -> list[Dataset]:
    """One classic MR series, a dataset a slice; `tags` go into all of them."""
    study, uid, frame = new_uid(), new_uid(), new_uid()
    normal = np.cross(SIDEWAYS[:3], SIDEWAYS[3:])
    made = []
    for number, pixels in enumerate(voxels(seed, slices)):
        dataset = _header(MR)
        dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, uid, frame
        dataset.StudyDate, dataset.SeriesTime, dataset.InstanceNumber = "20210304", "101112", number + 1
        dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
        dataset.SeriesDescription = "sag T1 MPRAGE"
        dataset.ImageOrientationPatient = list(SIDEWAYS)
        dataset.ImagePositionPatient = [round(float(one), 6) for one in ORIGIN + number * GAP * normal]
        dataset.PixelSpacing, dataset.SliceThickness = list(SPACING), 5.0
        fill(dataset, pixels)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        made.append(dataset)
    return made


def _header(sop_class: UID) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, new_uid()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def fill(dataset: Dataset, pixels: np.ndarray) -> None:
    """Put stored values (row, column) or (frame, row, column) in, little endian."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()


def of_class(sop_class: str, dataset: Dataset) -> Dataset:
    """The same dataset under another SOP class."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return dataset


def write(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    """One file a dataset, under names that say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        paths.append(folder / f"IM{number:04d}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def enhanced(repeats: int = 1, slices: int = SLICES) -> Dataset:
    """All slices in one enhanced MR file, each frame with a rescale of its own."""
    single = series()[0]
    dataset = of_class(ENHANCED_MR, _header(ENHANCED_MR))
    for keyword in (
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "StudyDate",
        "Modality",
    ):
        setattr(dataset, keyword, getattr(single, keyword))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    frames = np.concatenate([voxels(repeat, slices) for repeat in range(repeats)])
    fill(dataset, frames)
    dataset.NumberOfFrames = len(frames)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(SIDEWAYS))]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(SPACING), SliceThickness=5.0)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(number, slices) for number in range(len(frames))]
    return dataset


def _frame(number: int, slices: int) -> Dataset:
    place = ORIGIN + number % slices * GAP * np.cross(SIDEWAYS[:3], SIDEWAYS[3:])
    frame = Dataset()
    frame.PlanePositionSequence = [_item(ImagePositionPatient=[float(one) for one in place])]
    frame.FrameContentSequence = [_item(StackID="1", TemporalPositionIndex=number // slices + 1)]
    frame.PixelValueTransformationSequence = [_item(RescaleSlope=2.0, RescaleIntercept=float(number % slices))]
    return frame


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def mosaic(tiles: int = 5) -> Dataset:
    """One Siemens mosaic: `tiles` slices in a square of tiles, positioned by the picture around them all."""
    side = int(np.ceil(np.sqrt(tiles)))
    stack = voxels(0, tiles)
    picture = np.zeros((side * ROWS, side * COLUMNS), np.uint16)
    for number, tile in enumerate(stack):
        row, column = divmod(number, side)
        picture[row * ROWS : (row + 1) * ROWS, column * COLUMNS : (column + 1) * COLUMNS] = tile
    dataset = series()[0]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SpacingBetweenSlices = GAP
    shift = (
        (side - 1) * (ROWS * SPACING[0] * np.array(SIDEWAYS[3:]) + COLUMNS * SPACING[1] * np.array(SIDEWAYS[:3])) / 2
    )
    dataset.ImagePositionPatient = [float(one) for one in ORIGIN - shift]
    dataset.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
    dataset.add_new((0x0019, 0x100A), "US", tiles)
    fill(dataset, picture)
    return dataset


def nifti(seed: int = 0, dtype: str = "int16", shape: tuple[int, ...] = (8, 7, 6)) -> nib.Nifti1Image:
    """A small oblique NIfTI-1 with both forms set, millimetres."""
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(dtype)
    affine = np.array([[1.2, 0, 0, -4], [0, 1.99, -0.2, 5], [0, 0.2, 1.99, -6], [0, 0, 0, 1]])
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_in_halves(folder: Path) -> None:
    """One series of eight slices in `all`, and the same files by fours in `one` and `two`."""
    paths = write(folder / "all", series(slices=8))
    for part, chosen in (("one", paths[:4]), ("two", paths[4:])):
        (folder / part).mkdir()
        for path in chosen:
            shutil.copy2(path, folder / part)
