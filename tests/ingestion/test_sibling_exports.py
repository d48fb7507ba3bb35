"""Exports beside those of ../shared/cases: the same kinds of trouble in another spelling, at another place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from siamese_med.errors import ManifestError
from siamese_med.ingestion.burned_in_text import shows_text
from siamese_med.ingestion.inputs.manifest import read_manifest
from siamese_med.ingestion.inputs.ownership import write_plainly
from siamese_med.ingestion.inputs.processed_copies import find_processed_copies
from siamese_med.ingestion.series_contrast import classify_series_contrast
from siamese_med.pairing.pair_table import build_same_patient_pairs
from tests.ingestion import exports
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid


def _nifti(path: Path, seed: int, spacing_mm: Sequence[float] = (2, 2, 2), shape: Sequence[int] = (12, 12, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing_mm, 1.0])), path)


def _visits(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> Path:
    for number, tags in enumerate((first, second)):
        exports.write(folder / str(number), exports.series("EXPORT7", number, StudyDate=f"20{19 + number}0304", **tags))
    return folder


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        ("Meier^Anna", "Schulz^Bert", True),
        ("Meier^Anna", "Lang^Anna", False),  # married
        ("MEIER^A", "Schulz^Bert", False),  # one word says too little
        ("Smith^Jon", "John Smyth", False),
        ("ANON^17", "Schulz^Bert", False),
        ("M\u00fcller^Anna", "Schulz^Bert", False),  # letters beyond ASCII have several spellings
        ("Anonymous^Patient", "Schulz^Bert", False),
    ],
)
def test_names_under_one_identifier_may_contradict(
    place: Place, tmp_path: Path, first: str, second: str, conflict: bool
) -> None:
    names = [{"PatientName": one, "SpecificCharacterSet": "ISO_IR 192"} for one in (first, second)]
    scans = place.ingest(_visits(tmp_path / "in", *names)).scans
    assert [("identity_conflict" in flags) for flags in scans["flags"]] == [conflict] * 2
    assert b"Schulz" not in (place.data / "catalogue.sqlite").read_bytes()


def test_one_name_for_all_is_no_proof_of_one_person(place: Place, tmp_path: Path) -> None:
    for visit in range(3):
        exports.write(tmp_path / "in" / str(visit), exports.series("EXPORT7", visit, StudyDate=f"201{visit}0304"))
    assert list(place.ingest(tmp_path / "in").scans["flags"]) == [["unproven_id"]] * 3


def test_a_manifest_may_join_two_names(place: Place, tmp_path: Path) -> None:
    _visits(tmp_path, {"PatientName": "Meier^Anna"}, {"PatientName": "Schulz^Bertha"})
    (tmp_path / "m.csv").write_text("subject,session,path\nA,1,0\nA,2,1\n")
    assert list(place.ingest(tmp_path / "m.csv").scans["flags"]) == [[], []]


@pytest.mark.parametrize("one", ["MRN 4711", "Pat-ID: 004711", "4711^^^HOSP", "subject_4711", "PID4711"])
def test_words_about_a_number_make_no_other_patient(one: str) -> None:
    assert write_plainly(one) == write_plainly("4711")


@pytest.mark.parametrize("one", ["ID", "P4711", "MRN-47 11", "4711A"])
def test_other_identifiers_stay_others(one: str) -> None:
    assert write_plainly(one) != write_plainly("4711")


@pytest.mark.parametrize("visits", [("baseline", "month12"), ("visit1", "visit2"), ("Follow-up 1", "follow-up_2")])
@pytest.mark.parametrize("patients", [("sub-01", "sub-02"), ("P001", "P002")])
def test_folders_may_be_called_by_visits(
    place: Place, tmp_path: Path, patients: tuple[str, ...], visits: tuple[str, ...]
) -> None:
    for seed, (patient, visit) in enumerate((patient, visit) for patient in patients for visit in visits):
        _nifti(tmp_path / patient / visit / "T1.nii.gz", seed)
    scans = place.ingest(tmp_path).scans
    assert scans.groupby("subject")["session"].nunique().tolist() == [2, 2]


def test_words_that_may_be_contrasts_name_no_visit(place: Place, tmp_path: Path) -> None:
    for seed, (patient, kind) in enumerate((patient, kind) for patient in ("P001", "P002") for kind in ("T1", "V2")):
        _nifti(tmp_path / patient / kind / "flair.nii.gz", seed)
    assert all("patient_unnamed" in flags for flags in place.ingest(tmp_path).scans["flags"])


def test_one_study_uid_for_all_visits(place: Place, tmp_path: Path) -> None:
    shared = {"StudyInstanceUID": new_uid()}
    scans = place.ingest(_visits(tmp_path / "in", shared, shared)).scans
    assert sorted(scans["session"]) == ["ses-01", "ses-02"]
    assert sorted(place.ingest(tmp_path / "in", workers=1).scans["session"]) == ["ses-01", "ses-02"]


def test_a_study_may_pass_midnight(place: Place, tmp_path: Path) -> None:
    for number, day in enumerate(("20200304", "20200305")):
        tags = {"StudyDate": "", "SeriesDate": day, "StudyInstanceUID": "1.2.3"}
        exports.write(tmp_path / "in" / str(number), exports.series("P", number, **tags))
    assert list(place.ingest(tmp_path / "in").scans["session"]) == ["ses-01", "ses-01"]


def test_one_series_uid_for_two_visits(place: Place, tmp_path: Path) -> None:
    shared = {keyword: new_uid() for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    ingested = place.ingest(_visits(tmp_path / "in", shared, shared))
    assert (sorted(ingested.scans["session"]), ingested.account.reasons) == (["ses-01", "ses-02"], {})


def _half(slices: list[Dataset], chosen: slice, study: str) -> list[Dataset]:
    series = new_uid()
    for dataset in slices[chosen]:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    return slices[chosen]


def test_halves_in_two_studies_of_one_day(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1, slices=12, AcquisitionTime="101500")
    exports.write(tmp_path / "a", _half(slices, slice(6), new_uid()))
    exports.write(tmp_path / "b", _half(slices, slice(6, 12), new_uid()))
    assert list(place.ingest(tmp_path).scans["flags"]) == [["split_volume"], ["split_volume"]]


@pytest.mark.parametrize(("slices", "said"), [(6, True), (9, False)])
def test_a_scan_may_be_shorter_than_the_other_visit(place: Place, tmp_path: Path, slices: int, said: bool) -> None:
    _nifti(tmp_path / "sub-01" / "ses-1" / "sub-01_ses-1_T1w.nii.gz", 1)
    _nifti(tmp_path / "sub-01" / "ses-2" / "sub-01_ses-2_T1w.nii.gz", 2, shape=(12, 12, slices))
    flags = place.ingest(tmp_path).scans.set_index("session")["flags"]
    assert [("shorter_scan" in flags[session]) for session in ("ses-01", "ses-02")] == [False, said]


def _with_agent_code(dataset: Dataset) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-B0322", "SRT", "Gadobutrol"
    dataset.ContrastBolusAgentSequence = Items([code])


@pytest.mark.parametrize(
    ("edit", "contrast"),
    [
        (_with_agent_code, "T1wCE"),
        (lambda dataset: setattr(dataset, "ContrastBolusAgentSequence", Items([])), "T1w"),
        (lambda dataset: setattr(dataset, "ContrastBolusStartTime", "101500"), "T1wCE"),
        (lambda dataset: setattr(dataset, "ContrastBolusStartTime", "000000"), "T1w"),
        (lambda dataset: setattr(dataset, "SeriesDescription", "AX T1 FSE W/"), "T1wCE"),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
def test_a_contrast_agent_is_told_in_several_ways(
    place: Place, tmp_path: Path, edit: Callable[[Dataset], None], contrast: str, plain: bool
) -> None:
    slices = exports.series("P", 1, **({} if plain else {"PatientComments": "\u00e4", "SpecificCharacterSet": "X"}))
    for dataset in slices:
        edit(dataset)
    exports.write(tmp_path, slices)
    assert list(place.ingest(tmp_path).scans["contrast"]) == [contrast]


@pytest.mark.parametrize(
    ("description", "times_ms", "contrast"),
    [
        ("PD/T2 TSE", (3000.0, 15.0, None), "PDw"),
        ("PD/T2 TSE", (3000.0, 95.0, None), "T2w"),
        ("AX FLAIR", (600.0, 10.0, None), "T1w"),  # the inversion time was removed
        ("AX FLAIR", (9000.0, 10.0, 2500.0), "unknown"),
        ("AX FLAIR", (9000.0, 120.0, None), "FLAIR"),
        ("3D ASL (non-contrast)", (4800.0, 10.0, None), "asl"),
        ("3D PC MRV", (25.0, 4.0, None), "MRA"),
        ("Average DC", (5000.0, 90.0, None), "ADC"),
        ("T1 rho", (3000.0, 30.0, None), "other"),
        ("T1 W/WO", (600.0, 10.0, None), "unknown"),
    ],
)
def test_contrasts_by_words_and_timing(description: str, times_ms: Any, contrast: str) -> None:
    assert classify_series_contrast("MR", description, times_ms) == contrast


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "MIN IP"]}, "projection"),
        ({"SeriesDescription": "mIP_Images(SW)"}, "projection"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "SeriesDescription": "Lesion mask"}, "non_image"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "SeriesDescription": "T1 FLAIR fused"}, "non_image"),
    ],
)
def test_pictures_made_of_scans_are_none(place: Place, tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    exports.write(tmp_path / "scan", exports.series("P", 1, SeriesDescription="Lesion mask protocol T1"))
    exports.write(tmp_path / "made", exports.series("P", 2, **tags))
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (1, {reason: exports.SLICES})


def test_a_mask_as_a_series_is_no_scan(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1)
    for dataset in slices:
        exports.fill(dataset, np.random.default_rng(1).integers(0, 2, (40, 36)).astype(np.uint16))
    exports.write(tmp_path, slices)
    assert place.ingest(tmp_path).account.reasons == {"non_image": exports.SLICES}


@pytest.mark.parametrize(
    ("spacing_mm", "shape"), [((0.2, 0.2, 0.3), (70, 72, 20)), ((2, 2, 50), (12, 12, 12)), ((0.01, 0.01, 2), (12,) * 3)]
)
def test_sizes_in_another_unit_are_said(
    place: Place, tmp_path: Path, spacing_mm: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    _nifti(tmp_path / "sub-01_T1w.nii.gz", 1, spacing_mm, shape)
    (flags,) = place.ingest(tmp_path).scans["flags"]
    assert "implausible_size" in flags


@pytest.mark.parametrize(
    "made",
    [
        "sub-01/anat/mri/mwp1sub-01_T1w",  # CAT12
        "fmriprep/sub-01/anat/sub-01_T1w",
        "freesurfer-7.4/sub-01/mri/T1",
        "sub-01/anat/sub-01_T1w_flirt",
        "sub-01/anat/sub-01_T1w_InverseWarped",
    ],
)
def test_results_of_programs_need_no_description(place: Place, tmp_path: Path, made: str) -> None:
    _nifti(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 1)
    _nifti(tmp_path / f"{made}.nii.gz", 2)
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"derivative": 1})


@pytest.mark.parametrize("stem", ["T1_fast_restore", "T1_1mm", "T1_hdbet", "T1_reorient", "T1_robustfov"])
def test_more_names_of_copies(stem: str) -> None:
    assert find_processed_copies(["T1", stem]) == {stem: "derivative"}


def test_a_folder_of_results_alone_is_read(place: Place, tmp_path: Path) -> None:
    _nifti(tmp_path / "processed" / "sub-01" / "sub-01_T1w.nii.gz", 1)
    assert len(place.ingest(tmp_path).scans) == 1


def test_copies_do_not_hide_the_patients_folders(place: Place, tmp_path: Path) -> None:
    for seed, (patient, day) in enumerate((patient, day) for patient in "AB" for day in ("2019-03-04", "2020-03-04")):
        for name in ("T1", "T1_reg2prev", "wT1"):
            _nifti(tmp_path / f"P{patient}" / day / f"{name}.nii.gz", seed + len(name))
    assert sorted(place.ingest(tmp_path).scans["flags"].map(tuple)) == [("patient_from_folder",)] * 4


def test_a_collage_in_a_series_costs_no_slice(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1, slices=13)
    collage = slices[12]
    exports.fill(collage, np.zeros((96, 96), np.uint16))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(collage, keyword)
    exports.write(tmp_path, slices)
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"missing_geometry": 1})


def test_a_slice_without_a_place_is_none_of_a_collage(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1, slices=13)
    del slices[12].ImagePositionPatient
    exports.write(tmp_path, slices)
    assert place.ingest(tmp_path).account.reasons == {"missing_geometry": 13}


@pytest.mark.parametrize(("off_mm", "taken"), [(0.05, True), (0.3, False)])
def test_rounded_positions_are_even(place: Place, tmp_path: Path, off_mm: float, taken: bool) -> None:
    slices = exports.series("P", 1, slices=12)
    for number, dataset in enumerate(slices):
        x, *rest = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + off_mm * (-1) ** (number // 2), *rest]
    exports.write(tmp_path, slices)
    assert len(place.ingest(tmp_path).scans) == taken


LETTERS = np.kron([[1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]] * 5, np.ones((1, 2)))
"""Five letters I, of five rows."""


def _measured(shape: tuple[int, ...] = (64, 64, 12)) -> np.ndarray:
    """A bright ball in noise."""
    axes = np.meshgrid(*(np.linspace(-1.3, 1.3, one) for one in shape), indexing="ij")
    ball = 120 * (sum(one**2 for one in axes) < 1)
    return np.clip(ball + np.random.default_rng(0).normal(20, 6, shape), 0, None).astype(np.int16)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("places", [slice(None), slice(3, 4)])
def test_text_in_a_corner_is_seen(axis: int, places: slice) -> None:
    volume = _measured()
    stack = np.moveaxis(np.moveaxis(volume, 2, axis).copy() if axis < 2 else volume, axis, 0)
    stack[places, 2:7, 3:25] = np.where(LETTERS > 0, 255, stack[places, 2:7, 3:25])
    assert shows_text(np.moveaxis(stack, 0, axis))


@pytest.mark.parametrize(
    "change",
    [
        lambda volume: volume,
        lambda volume: np.clip(volume, 0, 130),  # saturated
        lambda volume: np.where(np.indices(volume.shape)[0] < 3, 255, volume),  # a bright edge
        lambda volume: np.where((np.indices(volume.shape)[:2] < 9).all(0), 255, volume),  # a marker
        lambda volume: np.zeros_like(volume),
        lambda volume: (volume > 60).astype(np.uint8),
    ],
)
def test_what_is_no_text(change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert not shows_text(change(_measured()))


def test_burned_in_text_is_said_without_a_tag(place: Place, tmp_path: Path) -> None:
    slices = exports.series("P", 1, slices=8)
    for dataset, pixels in zip(slices, np.moveaxis(_measured((40, 36, 8)), 2, 0), strict=True):
        pixels = pixels.astype(np.uint16)
        pixels[2:7, 3:25] = np.where(LETTERS > 0, 4000, pixels[2:7, 3:25])
        exports.fill(dataset, pixels)
    exports.write(tmp_path, slices)
    assert list(place.ingest(tmp_path).scans["flags"]) == [["burned_in"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject;session;path\nP1;1;a.nii\n", "separated by a comma"),
        ("Subject,Session,Path\nP1,1,a.nii\n", "small letters"),
        ("subject,session,path,Date\nP1,1,a.nii,2020-01-02\n", "may be date"),
        ("subject,session,path,subject\nP1,1,a.nii,P2\n", "subject more than once"),
        ("subject,session,path\nNA,1,a.nii\n", "word for a missing value"),
        ("subject,session,path\nP1,#N/A,a.nii\n", "'session' is a word"),
        ('subject,session,path\n"1,23457E+12",1,a.nii\n', "spreadsheet has rounded"),
        ("subject,path\nP1,a.nii\n", r"\[,contrast\]$"),
    ],
)
def test_a_manifest_of_a_spreadsheet_is_told_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text("\ufeff" + text)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(("day", "kind"), [("1970-01-01", "follow_up"), ("2019-03-04", "rescan")])
def test_a_day_that_a_manifest_has_for_want_of_a_date_makes_no_rescan(
    place: Place, tmp_path: Path, day: str, kind: str
) -> None:
    for visit in range(2):
        made = exports.series("P1", visit, StudyDate=f"202{visit}0304", AcquisitionTime=f"1{visit}1500")
        exports.write(tmp_path / str(visit), made)
    (tmp_path / "m.csv").write_text(f"subject,session,path,date\nP1,a,0,{day}\nP1,b,1,{day}\n")
    pairs = build_same_patient_pairs(place.ingest(tmp_path / "m.csv").scans, 1)
    assert [pair["kind"] for pair in pairs] == [kind]
