"""DICOM Segmentation objects, written by highdicom on the images of a series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from tests.ingestion import exports
from tests.ingestion.uids import new_uid

ABNORMAL = codes.SCT.MorphologicallyAbnormalStructure
LESION = Code("52988006", "SCT", "Lesion")
ANATOMY = codes.SCT.AnatomicalStructure
BRAIN = Code("12738006", "SCT", "Brain")
LESION_KIND = ("Lesion", ABNORMAL, LESION)
BRAIN_KIND = ("Brain", ANATOMY, BRAIN)
ROWS, COLUMNS = 39, 35  # no multiple of eight, so that bits of two frames share a byte


def images(patient: str = "PAT-1", turn: float = 0.3, **tags: Any) -> list[Dataset]:
    """A series of slanted slices, with all that highdicom asks of its images."""
    tilt = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    made = exports.series(patient, **tags)
    row, column = tilt @ exports.SIDEWAYS[:3], tilt @ exports.SIDEWAYS[3:]
    for number, one in enumerate(made):
        one.ImageOrientationPatient = [round(float(part), 9) for part in (*row, *column)]
        place = exports.ORIGIN + number * exports.GAP * np.cross(row, column)
        one.ImagePositionPatient = [round(float(part), 6) for part in place]
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyTime"):
            setattr(one, keyword, "")
        one.SpacingBetweenSlices = exports.GAP
        exports.fill(one, exports.voxels(7)[number, :ROWS, :COLUMNS])
    return made


def mark(seed: int = 5, share: float = 0.1) -> np.ndarray:
    """Marked voxels (slice, row, column), on no side alike."""
    return np.random.default_rng(seed).random((exports.SLICES, ROWS, COLUMNS)) < share


def segment(
    source: Sequence[Dataset],
    marked: np.ndarray,
    kinds: Sequence[tuple[str, Code, Code]] = (LESION_KIND,),
    kind: str = "BINARY",
    manufacturer: str = "Reader Workstation",
    shift_mm: float = 0.0,
    syntax: str = ExplicitVRLittleEndian,
    **tags: Any,
) -> Segmentation:
    """A segmentation of these images; `marked` is (slice, row, column), with an axis of segments where there are more.

    `shift_mm` moves all planes along the normal. `tags` are set at the end.
    """
    described = [
        SegmentDescription(number, label, category, type_, SegmentAlgorithmTypeValues.MANUAL)
        for number, (label, category, type_) in enumerate(kinds, 1)
    ]
    made = Segmentation(
        list(source), marked, kind, described, new_uid(), 90, new_uid(), 1, manufacturer, "Marker", "1", "7",
        max_fractional_value=200, **_moved(source, shift_mm),
    )  # fmt: skip
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    if syntax == RLELossless:
        made.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    elif UID(syntax).is_encapsulated:  # nobody has to decode it
        made.PixelData = encapsulate([b"picture"] * int(made.NumberOfFrames))
        made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    return made


def _moved(source: Sequence[Dataset], shift_mm: float) -> dict[str, Any]:
    if not shift_mm:
        return {}
    turn = [float(part) for part in source[0].ImageOrientationPatient]
    normal = np.cross(turn[:3], turn[3:])
    places = [np.array(one.ImagePositionPatient, float) + shift_mm * normal for one in source]
    return {
        "plane_positions": [PlanePositionSequence("PATIENT", tuple(map(float, place))) for place in places],
        "plane_orientation": PlaneOrientationSequence("PATIENT", tuple(turn)),
        "pixel_measures": PixelMeasuresSequence(exports.SPACING, exports.GAP, exports.GAP),
    }


def save(folder: Path, *objects: Dataset) -> list[Path]:
    """Write objects beside the images of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"SG{number:04d}" for number in range(len(objects))]
    for path, one in zip(paths, objects, strict=True):
        one.save_as(path)
    return paths
