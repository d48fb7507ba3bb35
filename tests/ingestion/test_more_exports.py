"""Further ordinary exports: copies by names, planning slices, halves that overlap, side-cars that contradict."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from siamese_med.ingestion.contrast import is_phase_name
from siamese_med.ingestion.inputs.processed_copies import find_processed_copies
from siamese_med.pairing.pair_table import build_same_patient_pairs
from siamese_med.study.vocabulary import PairKind
from tests.ingestion import exports
from tests.ingestion.conftest import Place


def _write_nifti(folder: Path, name: str, seed: int, dtype: str = "int16") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, (12, 12, 12)).astype(dtype)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")


@pytest.mark.parametrize(
    "copy_of_t1",
    [
        "T1_brain", "T1_bet", "wT1", "mwc1T1", "rT1", "c1T1", "mT1", "T1_n4", "T1_to_MNI", "T1_warped", "T1_reg",
        "T1_biascorr", "T1_brain_pve_1", "y_T1", "T1_skullstripped", "T1_Crop_1", "wrT1_brain", "T1-resampled",
    ],
)  # fmt: skip
def test_names_of_copies(copy_of_t1: str) -> None:
    assert find_processed_copies(["T1", copy_of_t1]) == {copy_of_t1: "derivative"}


@pytest.mark.parametrize(
    "stems",
    [
        ["T1_brain", "T2_brain"],  # the source has nothing else
        ["T1", "T1_post"],
        ["T1", "T1_gd", "T1_run-2", "T1a", "FLAIR", "T2"],
        ["scan1", "scan2"],
        ["T1w", "inplaneT1w"],
        ["lesion"],
        ["sub-01_acq-norm_T1w", "sub-01_T1w"],
    ],
)
def test_names_of_scans(stems: list[str]) -> None:
    assert find_processed_copies(stems) == {}


def test_results_of_programs_beside_a_scan_are_no_scans(place: Place, tmp_path: Path) -> None:
    scan = tmp_path / "sub-01" / "ses-1"
    for seed, name in enumerate(("T1", "T1_brain", "wT1", "mwc1T1", "FLAIR")):
        _write_nifti(scan, name, seed)
    _write_nifti(scan, "lesion", 7, "float32")
    _write_nifti(scan / "T1.anat", "T1_biascorr", 8)
    _write_nifti(scan, "sub-01_res-2_T1w", 9)
    ingested = place.ingest(tmp_path)
    assert sorted(ingested.scans["contrast"]) == ["FLAIR", "T1w"]
    assert ingested.account.reasons == {"derivative": 5, "non_image": 1}


@pytest.mark.parametrize(
    ("stem", "phase"),
    [("5_gre_ph", True), ("5_gre_e2_ph", True), ("5_gre_real", True), ("5_gre_e2", False), ("graph", False)],
)
def test_phase_by_the_names_that_dcm2niix_gives(stem: str, phase: bool) -> None:
    assert is_phase_name(stem) == phase


def test_phase_by_the_side_car(place: Place, tmp_path: Path) -> None:
    _write_nifti(tmp_path, "sub-01_T2starw", 1)
    (tmp_path / "sub-01_T2starw.json").write_text(json.dumps({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}))
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert (scan.contrast, "phase" in scan.flags) == ("phase", True)


def test_a_real_part_is_no_magnitude(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, exports.series("P", 1, ImageType=["ORIGINAL", "PRIMARY", "R", "IR", "R"]))
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert (scan.contrast, scan.flags) == ("phase", ["phase"])


@pytest.mark.parametrize(
    ("first", "second", "flagged"),
    [
        ({"PatientSex": "M"}, {"PatientSex": "F"}, True),
        ({"PatientBirthDate": "1950-03-01"}, {"PatientBirthDate": "1981-12-12"}, True),
        ({"PatientSex": "M", "PatientBirthDate": "1950-03-01"}, {"PatientSex": "m"}, False),
        ({"PatientSex": "O"}, {"PatientSex": "F"}, False),
        ({}, {"PatientSex": "F"}, False),
        ({"PatientName": "Meier^Anna"}, {"PatientName": "Schulz^Peter"}, True),
        ({"PatientName": "Meier^Anna"}, {"PatientName": "Schulz^Anna"}, False),
    ],
)
def test_side_cars_of_one_subject_may_contradict(
    place: Place, tmp_path: Path, first: Mapping[str, str], second: Mapping[str, str], flagged: bool
) -> None:
    for visit, person in enumerate((first, second), 1):
        folder = tmp_path / "sub-01" / f"ses-{visit}" / "anat"
        _write_nifti(folder, f"sub-01_ses-{visit}_T1w", visit)
        (folder / f"sub-01_ses-{visit}_T1w.json").write_text(json.dumps(person))
    scans = place.ingest(tmp_path).scans
    assert [("identity_conflict" in flags) for flags in scans["flags"]] == [flagged, flagged]
    stored = (place.data / "catalogue.sqlite").read_bytes()
    assert b"1981" not in stored
    assert b"Meier" not in stored


def _with_scouts(count: int, gap_mm: float) -> list[Dataset]:
    slices = exports.series("P", 1, slices=12 + count)
    for number, dataset in enumerate(slices[12:]):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0.0, 0.0, gap_mm * number]
    return slices


def test_parallel_planning_slices_are_no_scan(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, _with_scouts(3, 40.0))
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"localizer": 3})


def test_a_small_second_volume_stays(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, _with_scouts(3, 4.0))
    assert len(place.ingest(tmp_path).scans) == 2


@pytest.mark.parametrize(("shared", "parts"), [(2, 2), (0, 2), (5, 0)])
def test_halves_that_share_slices_are_said(place: Place, tmp_path: Path, shared: int, parts: int) -> None:
    """Two halves of 12 slices, the second with a description of its own; above half it is another slab."""
    slices, other = exports.series("P", 1, slices=12), generate_uid()
    second = copy.deepcopy(slices[6 - shared :]) if shared < 5 else copy.deepcopy(slices[1:7])
    for dataset in second:
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = other, generate_uid()
        dataset.SeriesDescription = "sag T1 MPRAGE_2"
        exports.fill(dataset, np.random.default_rng(dataset.InstanceNumber).integers(0, 9, (40, 36)).astype(np.uint16))
    exports.write(tmp_path, [*slices[:6], *second])
    flags = place.ingest(tmp_path).scans["flags"]
    assert sum("split_volume" in some for some in flags) == parts


@pytest.mark.parametrize(("day", "kind"), [("20190101", PairKind.FOLLOW_UP), ("20190102", PairKind.RESCAN)])
def test_first_of_january_is_no_proof_of_a_rescan(place: Place, tmp_path: Path, day: str, kind: PairKind) -> None:
    for visit in range(2):
        tags = {"StudyDate": day, "AcquisitionTime": f"1{visit}0000", "StudyInstanceUID": f"1.2.{visit}"}
        exports.write(tmp_path / str(visit), exports.series("P", visit, **tags))
    (pair,) = build_same_patient_pairs(place.ingest(tmp_path).scans, 1)
    assert pair["kind"] == kind


def test_slices_in_metres_are_said(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "in-plane", exports.series("P", 1, PixelSpacing=[0.0015, 0.0015]))
    thin = exports.series("Q", 2)
    for number, dataset in enumerate(thin):
        dataset.ImagePositionPatient = [0.02 * number, 0.0, 0.0]
    exports.write(tmp_path / "across", thin)
    assert list(place.ingest(tmp_path).scans["flags"]) == [["implausible_size"], ["implausible_size"]]


def _two_in_one_series(first: list[Dataset], second: list[Dataset]) -> list[Dataset]:
    """Slices of two volumes, in turn, under one series."""
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(other, keyword, getattr(one, keyword))
        one.InstanceNumber, other.InstanceNumber = 2 * number + 1, 2 * number + 2
    return [*first, *second]


def test_inversions_of_one_series_are_two_contrasts(place: Place, tmp_path: Path) -> None:
    first, second = (
        exports.series("P", seed, InversionTime=time, SeriesDescription="mp2rage")
        for seed, time in ((1, 700.0), (2, 2500.0))
    )
    exports.write(tmp_path, _two_in_one_series(first, second))
    assert sorted(place.ingest(tmp_path).scans["contrast"]) == ["inv1", "inv2"]


def test_a_frame_of_reference_for_each_place_of_two_echoes(place: Place, tmp_path: Path) -> None:
    slices = _two_in_one_series(*(exports.series("P", echo, EchoTime=5.0 * echo) for echo in (1, 2)))
    frames = [generate_uid() for _ in range(exports.SLICES)]
    for number, dataset in enumerate(slices):
        dataset.FrameOfReferenceUID = frames[number % exports.SLICES]
    exports.write(tmp_path, slices)
    assert len(place.ingest(tmp_path).scans) == 2


def test_slices_without_a_frame_of_reference_are_of_the_others(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1)
    for dataset in slices[::2]:
        del dataset.FrameOfReferenceUID
    exports.write(tmp_path, slices)
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert scan.flags == []


@pytest.mark.parametrize("empty", [slice(4, 8), slice(None, None, 2), slice(5, 6)])
def test_empty_slices_between_others_are_said(place: Place, tmp_path: Path, empty: slice) -> None:
    slices = exports.series("P", 1, slices=12)
    for dataset in slices[empty]:
        exports.fill(dataset, np.zeros((exports.ROWS, exports.COLUMNS), np.uint16))
    exports.write(tmp_path, slices)
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert scan.flags == ["empty_slices"]


@pytest.mark.parametrize(
    ("tags", "contrasts"),
    [
        ({"SeriesDescription": "Pha_Images"}, ["phase"]),
        ({"SeriesDescription": "SWI phase"}, ["phase"]),
        ({"SeriesDescription": "AX T1 SUB"}, []),
        ({"SeriesDescription": "AX T1", "ContrastBolusTotalDose": 7.5}, ["T1wCE"]),
    ],
)
def test_what_one_series_is(place: Place, tmp_path: Path, tags: dict[str, object], contrasts: list[str]) -> None:
    exports.write(tmp_path, exports.series("P", 1, **tags))
    assert list(place.ingest(tmp_path).scans["contrast"]) == contrasts


def test_ct_is_paired_by_agent_and_kernel(place: Place, tmp_path: Path) -> None:
    kinds = (("H30", None), ("H70", None), ("H30", "IOHEXOL"))
    for visit, day in enumerate(("20200203", "20210203")):
        for number, (kernel, agent) in enumerate(kinds):
            tags = {"StudyDate": day, "ConvolutionKernel": kernel, "StudyInstanceUID": f"1.2.{visit}"}
            tags |= {"Modality": "CT", "SeriesDescription": "HEAD"} | ({"ContrastBolusAgent": agent} if agent else {})
            series = exports.series("P", 10 * visit + number, **tags)
            exports.write(tmp_path / f"{visit}{number}", [exports.of_class(exports.CT, one) for one in series])
    scans = place.ingest(tmp_path).scans
    kind = {row.id: (row.contrast, row.protocol) for row in scans.itertuples()}
    pairs = [(kind[row["scan_a"]], kind[row["scan_b"]]) for row in build_same_patient_pairs(scans, 1)]
    assert len(pairs) == len(kinds)
    assert all(one == other for one, other in pairs)
