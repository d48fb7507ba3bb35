"""BIDS labels are taken whole; what folder and file name say differently, or leave open, is refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from siamese_med.ingestion.inputs.bids_labels import BidsLabels, read_bids_labels
from siamese_med.ingestion.reasons import REASON_HINTS
from tests.ingestion.bids_trees import data_set, scan, subjects
from tests.ingestion.conftest import Place


def decomposed(text: str) -> str:
    """As macOS writes it."""
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("folders", "stem", "subject", "session"),
    [
        ("sub-002_S_0413/ses-M00/anat", "sub-002_S_0413_ses-M00_T1w", "002_S_0413", "M00"),
        ("sub-01/ses-2020_01/anat", "sub-01_ses-2020_01_run-2_echo-1_part-mag_T1w", "01", "2020_01"),
        ("sub-01-A/ses-a.b", "sub-01-A_ses-a.b_acq-mprage_T1w", "01-A", "a.b"),
        ("sub-J. Doe", "sub-J. Doe_T1w", "J. Doe", ""),
        ("sub-Müller/ses-Ä", decomposed("sub-Müller_ses-Ä_T1w"), "Müller", "Ä"),
        (decomposed("sub-Müller"), "T1", "Müller", ""),
        ("sub-site_MR", "sub-site_MR_T1w", "site_MR", ""),
        ("sub-01/anat", "T1", "01", ""),
        ("sub-01", "sub-01_baseline", "01", ""),
        ("sub-01_ses-02", "T1w", "01", "02"),
        ("sub-01_T1w", "sub-01_T1w", "01", ""),
        ("ses-1/sub-01", "sub-01_ses-1_T1w", "01", "1"),
        ("visit_sub-01", "scan", "01", ""),
        ("", "sub-002_S_0413_ses-M00_T1w", "002_S_0413", "M00"),
        ("", "sub-002_S_0413_T1w", "002_S_0413", ""),
        ("", "sub-ADNI_S-0413_T1w", "ADNI_S-0413", ""),
        ("", "study_sub-01_ses-2020_01_acq-x_FLAIR", "01", "2020_01"),
        ("", "sub-01", "01", ""),
        ("", "sub-01_T1w_brain", "01", ""),
        ("", "sub-002_S_0413_T1w_half", "002_S_0413", ""),
        ("", "sub-01_T1w_0000", "01", ""),
        ("", "scan", "", ""),
    ],
)
def test_labels_are_taken_whole(folders: str, stem: str, subject: str, session: str) -> None:
    assert read_bids_labels(tuple(filter(None, folders.split("/"))), stem) == BidsLabels(subject, session)


@pytest.mark.parametrize(
    ("folders", "stem", "problem"),
    [
        ("sub-02", "sub-01_T1w", "subject_conflict"),
        ("sub-01", "sub-011_T1w", "subject_conflict"),
        ("sub-011", "sub-01_T1w", "subject_conflict"),
        ("sub-A", "sub-a_T1w", "subject_conflict"),
        ("sub-002", "sub-002_S_0413_T1w", "subject_conflict"),
        ("sub-002", "sub-002_0413", "subject_conflict"),
        ("sub-002_S_0413", "sub-002_T1w", "subject_conflict"),
        ("sub-Muller", "sub-Müller_T1w", "subject_conflict"),
        ("sub-01 ", "sub-01_T1w", "subject_conflict"),
        ("sub-01/sub-02", "scan", "subject_conflict"),
        ("sub-01/ses-1", "sub-01_ses-2_T1w", "session_conflict"),
        ("sub-01/ses-2020", "sub-01_ses-2020_01_T1w", "session_conflict"),
        ("sub-01/ses-1/ses-2", "scan", "session_conflict"),
        ("sub-01_ses-1/ses-2", "scan", "session_conflict"),
        ("", "sub-002_S_0413", "unclear_label"),
        ("", "sub-01_visit-2_T1w", "unclear_label"),
        ("", "sub-01_0000", "unclear_label"),
        ("", "sub-01_t1w_old", "unclear_label"),
        ("", "sub-01_sub-02_T1w", "unclear_label"),
        ("", "sub-_T1w", "unclear_label"),
        ("sub-01", "sub-01_ses-2020_01", "unclear_label"),
    ],
)
def test_labels_that_contradict_or_leave_open_are_refused(folders: str, stem: str, problem: str) -> None:
    assert read_bids_labels(tuple(filter(None, folders.split("/"))), stem) == BidsLabels(problem=problem)
    assert problem in REASON_HINTS


def test_people_whose_labels_begin_alike_stay_apart(place: Place, tmp_path: Path) -> None:
    labels = ("002_S_0413", "002_S_0729", "Müller", "Möller", "0-1", "0-2", "0.1", "0 1", "A", "a")
    data_set(tmp_path, "x", *labels, sessions=("2020_01", "2020_02"))
    scans = place.ingest(tmp_path).scans
    assert sorted(scans.groupby("subject")["session"].apply(sorted)) == [["ses-01", "ses-02"]] * len(labels)


def test_two_spellings_of_a_letter_are_one_label(place: Place, tmp_path: Path) -> None:
    data_set(tmp_path, "x", "Zoë", sessions=("1",))
    subjects(tmp_path, decomposed("Zoë"), sessions=("2",))
    assert place.ingest(tmp_path).scans["session"].tolist() == ["ses-01", "ses-02"]


def test_what_disagrees_is_refused_and_nobody_is_named(place: Place, tmp_path: Path) -> None:
    data_set(tmp_path, "x", "01", sessions=("1",))
    scan(tmp_path / "sub-02/ses-1/sub-03_ses-1_T1w.nii.gz")
    scan(tmp_path / "sub-02/ses-1/sub-02_ses-2_T1w.nii.gz")
    scan(tmp_path / "sub-02_X.nii.gz")
    (tmp_path / "sub-02/ses-1/sub-03_ses-1_T1w.json").write_text("{}", encoding="utf-8")
    for _ in range(2):
        ingested = place.ingest(tmp_path)
        counts = {"subject_conflict": 1, "session_conflict": 1, "unclear_label": 1, "side_car": 2}
        assert (ingested.account.ingested, ingested.account.reasons) == (1, counts)


def test_a_copy_at_a_wrong_place_does_not_speak_for_the_right_one(place: Place, tmp_path: Path) -> None:
    right = scan(tmp_path / "sub-02/sub-02_T1w.nii.gz")
    for wrong in ("a.nii.gz", "sub-01/sub-02_T1w.nii.gz"):
        (tmp_path / wrong).parent.mkdir(exist_ok=True)
        (tmp_path / wrong).write_bytes(right.read_bytes())
    subjects(tmp_path, "02", sessions=("2",))
    ingested = place.ingest(tmp_path)
    assert (ingested.account.ingested, ingested.account.reasons) == (2, {"duplicate": 2})
    assert ingested.scans["subject"].nunique() == 1


def test_tables_and_side_cars_follow_the_whole_label(place: Place, tmp_path: Path) -> None:
    root = data_set(tmp_path, "x")
    for label, day in (("0_1", "2019-01-01"), ("0_2", "2019-03-01")):
        image = scan(root / f"sub-{label}/ses-a_b/anat/sub-{label}_ses-a_b_T1w.nii.gz")
        table = f"filename\tacq_time\nanat/{image.name}\t{day}\n"
        (root / f"sub-{label}/ses-a_b/sub-{label}_ses-a_b_scans.tsv").write_text(table, encoding="utf-8")
        image.with_name(f"sub-{label}_ses-a_b_T1w.json").write_text(json.dumps({"Manufacturer": label}))
    scan(root / "sub-é/ses-é/anat" / decomposed("sub-é_ses-é_T1w.nii.gz"))
    sessions = "session_id\tacq_time\n" + decomposed("ses-é") + "\t2019-05-01\n"
    (root / "sub-é" / decomposed("sub-é_sessions.tsv")).write_text(sessions, encoding="utf-8")
    scans = place.ingest(root).scans
    assert (len(scans), scans["date"].isna().sum()) == (3, 0)
    assert sorted(scans["scanner"] == "unknown") == [False, False, True]
    assert scans["scanner"].nunique() == 3


def test_a_side_car_with_half_a_character_ends_nothing(place: Place, tmp_path: Path) -> None:
    data_set(tmp_path, "x", "01", sessions=("1",))
    car = tmp_path / "sub-01/ses-1/anat/sub-01_ses-1_T1w.json"
    car.write_text('{"Manufacturer": "\\ud800"}', encoding="utf-8")
    (tmp_path / "dataset_description.json").write_text('{"Name": "\\ud800"}', encoding="utf-8")
    assert place.ingest(tmp_path).account.ingested == 1
