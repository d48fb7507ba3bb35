"""Ordinary exports that used to go wrong without a word: people, copies, contrasts and derivatives."""

from __future__ import annotations

import copy
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.ingestion.inputs.ownership import write_plainly
from siamese_med.ingestion.series_contrast import classify_series_contrast
from siamese_med.pairing.pair_table import build_same_patient_pairs
from tests.ingestion import exports
from tests.ingestion.bids_trees import scan
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("M\u00fcller7", "Mu\u0308ller7"),  # composed and decomposed
        ("12345", "\uff11\uff12\uff13\uff14\uff15"),  # wide digits
        ("12-345", "12 345"),
        ("MRN-0042", "mrn 42"),
        ("A_17", "A17"),
        ("sub-07", "7"),
    ],
)
def test_two_ways_to_write_an_identifier_are_alike(one: str, other: str) -> None:
    assert write_plainly(one) == write_plainly(other)


@pytest.mark.parametrize(("one", "other"), [("1-23", "12-3"), ("P1", "P10"), ("A-1", "B-1"), ("10", "1")])
def test_two_identifiers_are_not(one: str, other: str) -> None:
    assert write_plainly(one) != write_plainly(other)


def test_people_whose_ids_differ_in_the_form_of_letters_are_said(place: Place, tmp_path: Path) -> None:
    for name, seed in (("M\u00fcller7", 1), ("Mu\u0308ller7", 2)):
        series = exports.series(name, seed, SpecificCharacterSet="ISO_IR 192")
        exports.write(tmp_path / "in" / str(seed), series)
    assert list(place.ingest(tmp_path / "in").scans["flags"]) == [["similar_id"], ["similar_id"]]


def test_spaces_and_zeros_behind_an_id_make_no_second_person(place: Place, tmp_path: Path) -> None:
    for number, identifier in enumerate(("PAT-1 ", "PAT-1", "PAT-1\0")):
        exports.write(tmp_path / "in" / str(number), exports.series(identifier, number, StudyDate=f"202{number}0101"))
    scans = place.ingest(tmp_path / "in").scans
    assert (scans["subject"].nunique(), len(scans)) == (1, 3)


def test_one_acquisition_under_two_dates_is_no_pair_and_is_said(place: Place, tmp_path: Path) -> None:
    for name, seed, day in (("a", 1, "20200101"), ("b", 1, "20200611"), ("c", 2, "20210101")):
        exports.write(tmp_path / "in" / name, exports.series("P", seed, StudyDate=day))
    scans = place.ingest(tmp_path / "in").scans.sort_values("session")
    assert [("copied_scan" in flags) for flags in scans["flags"]] == [True, True, False]
    sessions = dict(zip(scans["id"], scans["session"], strict=True))
    pairs = [(sessions[row["scan_a"]], sessions[row["scan_b"]]) for row in build_same_patient_pairs(scans, 1)]
    assert sorted(pairs) == [("ses-01", "ses-03"), ("ses-02", "ses-03")]


def test_one_acquisition_under_two_identifiers_is_said(place: Place, tmp_path: Path) -> None:
    for name in ("P-77", "Q-12"):
        exports.write(tmp_path / "in" / name, exports.series(name, 1))
    exports.write(tmp_path / "in" / "other", exports.series("R-3", 2))
    scans = place.ingest(tmp_path / "in").scans
    assert sorted(map(tuple, scans["flags"])) == [(), ("copied_scan",), ("copied_scan",)]


def test_a_series_that_was_stored_twice_is_one_scan(place: Place, tmp_path: Path) -> None:
    first = exports.series("P", 1)
    second = copy.deepcopy(first)
    for dataset in second:
        dataset.SOPInstanceUID = new_uid()
    exports.write(tmp_path / "in" / "a", first)
    exports.write(tmp_path / "in" / "b", second)
    ingested = place.ingest(tmp_path / "in")
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"duplicate": len(first)})


def test_a_subtraction_is_no_scan(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "in" / "a", exports.series("P", 1))
    difference = exports.series("P", 2, ImageType=["DERIVED", "PRIMARY", "SUBTRACTION"])
    exports.write(tmp_path / "in" / "b", difference)
    ingested = place.ingest(tmp_path / "in")
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"subtraction": len(difference)})


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("T1 sans gado", "T1w"),
        ("t1 sin contraste", "T1w"),
        ("T1 senza mdc", "T1w"),
        ("T1 prae KM", "T1w"),
        ("T1 s/gd", "T1w"),
        ("T1 avec gado", "T1wCE"),
        ("t1 con contraste", "T1wCE"),
        ("T1 con mdc", "T1wCE"),
        ("T1 inj", "T1wCE"),
        ("T1 injecte", "T1wCE"),
        ("T1 nativ", "T1w"),
        ("Sagittal T1", "T1w"),
    ],
)
def test_enhanced_and_plain_are_told_apart_in_other_languages(description: str, contrast: str) -> None:
    assert classify_series_contrast("MR", description, (None, None, None)) == contrast


def test_copies_in_a_template_are_no_second_scan_without_a_description_too(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    names = ("sub-01_T1w", "sub-01_space-MNI152NLin2009cAsym_T1w", "sub-01_desc-preproc_T1w")
    for seed, name in enumerate(names):
        voxels = np.random.default_rng(seed).integers(0, 900, (12, 12, 12)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")
    ingested = place.ingest(tmp_path / "in")
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"derivative": 2})


def test_one_file_under_two_subjects_of_a_manifest_is_of_neither(place: Place, tmp_path: Path) -> None:
    for name in ("0_T1w", "1_T1w"):
        voxels = np.random.default_rng(int(name[0])).integers(0, 900, (12, 12, 12)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / f"{name}.nii.gz")
    table = tmp_path / "m.csv"
    table.write_text("subject,session,path\nA,1,0_T1w.nii.gz\nB,1,0_T1w.nii.gz\nA,2,./1_T1w.nii.gz\nA,2,1_T1w.nii.gz\n")
    ingested = place.ingest(table)
    assert (len(ingested.scans), ingested.account.reasons["patient_conflict"]) == (1, 1)


@pytest.mark.parametrize("second", [{"name": "PAT-2"}, {"name": "PAT-1", "StudyDate": "20220101"}])
def test_names_that_an_inbox_uses_again_take_no_scan_out(place: Place, tmp_path: Path, second: dict[str, str]) -> None:
    tags = {key: value for key, value in second.items() if key != "name"}
    exports.write(tmp_path / "in", exports.series("PAT-1", 1, StudyDate="20210101"))
    place.ingest(tmp_path / "in")
    exports.write(tmp_path / "in", exports.series(second["name"], 2, **{"StudyDate": "20210101"} | tags))
    place.ingest(tmp_path / "in")
    assert len(place.scans()) == 2


def test_a_series_that_was_exported_anew_under_other_uids_replaces_the_one_before(place: Place, tmp_path: Path) -> None:
    for seed in (1, 2):
        exports.write(tmp_path / "in", exports.series("PAT-1", seed, StudyDate="20210101"))
        place.ingest(tmp_path / "in")
    assert len(place.scans()) == 1


def test_a_group_that_is_called_lesion_is_no_folder_of_labels(place: Place, tmp_path: Path) -> None:
    for group in ("lesion", "control"):
        for who in ("sub1", "sub2"):
            scan(tmp_path / "in" / group / who / "T1.nii.gz")
    assert place.ingest(tmp_path / "in").account.ingested == 4


@pytest.mark.parametrize(
    ("names", "ingested"),
    [
        (("s01", "s02", "ms01", "ms02"), 4),  # people with multiple sclerosis
        (("01", "02", "c101", "p202"), 4),
        (("s01", "ms01", "c1s01", "c2s01"), 1),  # tissues of one
        (("T1", "mT1"), 1),
    ],
)
def test_letters_before_a_patients_number_are_no_programs_prefix(
    place: Place, tmp_path: Path, names: tuple[str, ...], ingested: int
) -> None:
    for name in names:
        scan(tmp_path / "in" / f"{name}.nii.gz")
    assert place.ingest(tmp_path / "in").account.ingested == ingested
