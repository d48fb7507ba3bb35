"""A simulated series is real DICOM: readable, consistent, and the same volume again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from siamese_med.imaging.volume import Volume
from siamese_med.simulation import dicom_series, scanner
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition, Scanner

PERSON = dicom_series.PatientIdentity("Quazor^Vel", "HOSP-1", "19500101", "F")


@pytest.fixture(scope="module")
def scan(person: Anatomy, acquired: Callable[..., Acquisition]) -> Volume:
    return acquired(person, 3, plane="sagittal").volume


@pytest.fixture(params=[(1.0, 0.0), (0.4884, 0.0), (1.0, -1024.0)], ids=str)
def machine(request: pytest.FixtureRequest) -> Scanner:
    return replace(scanner.draw_scanners(np.random.default_rng(0), 1)[0], rescale=request.param)


def test_the_series_gives_the_volume_back_in_place_and_value(scan: Volume, machine: Scanner, tmp_path: Path) -> None:
    written = dicom_series.write_dicom_series(
        tmp_path, scan, machine, PERSON, dicom_series.SimulatedExamination("20210301", "1")
    )
    slices = [pydicom.dcmread(path) for path in written]
    assert len(slices) == scan.voxels.shape[2]
    to_ras = np.diag([-1.0, -1.0, 1.0])
    for k, part in enumerate(slices):
        values = part.pixel_array * float(part.get("RescaleSlope", 1)) + float(part.get("RescaleIntercept", 0))
        np.testing.assert_allclose(values.T, scan.voxels[:, :, k], atol=0.51 * machine.rescale[0] + 1e-3)
        row, column = np.reshape(part.ImageOrientationPatient, (2, 3)).astype(float)
        assert abs(row @ column) < 1e-6
        place = np.asarray(part.ImagePositionPatient, dtype=float)
        corner = to_ras @ (place + 2 * float(part.PixelSpacing[1]) * row + 3 * float(part.PixelSpacing[0]) * column)
        np.testing.assert_allclose(corner, (scan.affine @ [2, 3, k, 1])[:3], atol=1e-4)


def test_the_identifiers_are_one_series_of_one_patient_and_unique_to_each_slice(
    scan: Volume, machine: Scanner, tmp_path: Path
) -> None:
    written = dicom_series.write_dicom_series(
        tmp_path, scan, machine, PERSON, dicom_series.SimulatedExamination("20210301", "1")
    )
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in written]
    for shared in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert len({str(part[shared].value) for part in slices}) == 1
    assert len({part.SOPInstanceUID for part in slices}) == len(slices)
    assert [part.InstanceNumber for part in slices] == list(range(1, len(slices) + 1))


def test_the_same_visit_is_written_in_the_same_bytes(scan: Volume, machine: Scanner, tmp_path: Path) -> None:
    written = [
        dicom_series.write_dicom_series(
            tmp_path / name, scan, machine, PERSON, dicom_series.SimulatedExamination("20210301", "1")
        )[0].read_bytes()
        for name in ("a", "b")
    ]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("contrast", "times_ms", "kind"),
    [
        ("FLAIR", (9000, 110, 2500), ["SE", "IR"]),
        ("T1w", (1900, 3, 900), ["GR", "IR"]),
        ("T2w", (5000, 100, None), "SE"),
    ],
)
def test_the_header_speaks_of_the_contrast_in_words_and_in_times(
    scan: Volume, contrast: str, times_ms: tuple[float, float, float | None], kind: object, tmp_path: Path
) -> None:
    speaking = scanner.draw_scanners(np.random.default_rng(0), 1, [contrast])[0]
    header = pydicom.dcmread(
        dicom_series.write_dicom_series(
            tmp_path, scan, speaking, PERSON, dicom_series.SimulatedExamination("20210301", "1")
        )[0]
    )
    assert header.SeriesDescription == f"{contrast.lower()} axial"
    assert header.ScanningSequence == kind
    assert (header.RepetitionTime, header.EchoTime, header.get("InversionTime")) == times_ms


def test_a_localizer_says_that_it_is_one(scan: Volume, machine: Scanner, tmp_path: Path) -> None:
    dicom_series.write_localizer_series(
        tmp_path, scan, machine, PERSON, dicom_series.SimulatedExamination("20210301", "1")
    )
    found = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert len(found) == dicom_series.LOCALIZER_SLICES
    assert all("LOCALIZER" in part.ImageType for part in found)
