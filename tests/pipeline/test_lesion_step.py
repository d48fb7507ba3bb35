"""The step of the score stage that follows lesions, from the scan table and the score table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import scoring_steps
from siamese_med.study.lesion import read_lesion_table
from siamese_med.study.pair_score import PairScore
from siamese_med.study.score_columns import score_table
from siamese_med.study.tables import SCAN_COLUMNS, Study, build_scan_table
from siamese_med.study.vocabulary import LesionFate

Row = dict[str, object]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "data", tmp_path / "reports")


def add_scan(study: Study, session: int, date: str | None, marked: bool = True, subject: str = "sub-a") -> Row:
    """A row of the scan table; a ball is marked, which is larger in every session."""
    name = f"{subject}_ses-{session:02}_FLAIR"
    path = f"scans/{name}_lesions.nii.gz"
    away = np.linalg.norm(np.indices((24, 24, 24)) - np.full((3, 1, 1, 1), 12), axis=0)
    (study.data / "scans").mkdir(parents=True, exist_ok=True)
    volume.write_volume(study.data / path, Volume((away < 3 + session).astype(np.int16), np.eye(4)))
    known: Row = {"id": name, "subject": subject, "session": f"ses-{session:02}", "date": date, "modality": "MR"}
    image = f"scans/{name}.nii.gz"
    volume.write_volume(study.data / image, Volume((away < 10).astype(np.int16), np.eye(4)))
    known |= {"path": image, "sha256": name, "flags": [], "lesions": path if marked else None}
    return {**dict.fromkeys(SCAN_COLUMNS), **known, "contrast": "FLAIR"}


def pair(one: Row, other: Row) -> PairScore:
    subject = str(one["subject"])
    return PairScore(
        scan_a=str(one["id"]),
        scan_b=str(other["id"]),
        subject_a=subject,
        subject_b=subject,
        kind="follow_up",
        transform=tuple(tuple(row) for row in np.eye(4).tolist()),
    )


def write(study: Study, rows: list[Row], pairs: list[PairScore]) -> None:
    scoring_steps.write_lesion_table(study, build_scan_table(rows), score_table(pairs), {})


def test_lesions_are_followed_in_the_order_of_the_dates_not_of_the_sessions(study: Study) -> None:
    rows = [add_scan(study, 1, "2031-05-01"), add_scan(study, 2, "2030-05-01")]
    write(study, rows, [pair(rows[1], rows[0])])
    found = [state for state in read_lesion_table(study.lesions) if state.fate != LesionFate.TOTAL]
    assert [(state.session, state.fate) for state in found] == [("ses-02", "first"), ("ses-01", "shrinking")]
    assert {state.lesion for state in found} == {1}


def test_the_date_of_a_visit_may_be_that_of_a_scan_without_a_mask(study: Study) -> None:
    rows = [add_scan(study, 1, None), add_scan(study, 2, "2031-06-01")]
    dated = {**add_scan(study, 1, "2031-01-01", marked=False), "id": "sub-a_ses-01_T1w", "contrast": "T1w"}
    write(study, [*rows, dated], [pair(rows[0], rows[1])])
    found = [state for state in read_lesion_table(study.lesions) if state.lesion]
    assert [(state.session, state.fate) for state in found] == [("ses-01", "first"), ("ses-02", "enlarging")]


def test_a_scan_without_a_mask_may_lie_between_two_that_have_one(study: Study) -> None:
    rows = [add_scan(study, n, f"203{n}-05-01", marked=n != 2) for n in (1, 2, 3)]
    write(study, rows, [pair(rows[0], rows[1]), pair(rows[1], rows[2])])
    found = [state for state in read_lesion_table(study.lesions) if state.lesion]
    assert [(state.session, state.fate) for state in found] == [("ses-01", "first"), ("ses-03", "enlarging")]


def test_a_patient_without_pairs_is_in_the_table_and_does_not_stop_the_others(study: Study) -> None:
    rows = [add_scan(study, 1, None), add_scan(study, 1, "2031-05-01", subject="sub-b"), add_scan(study, 2, None)]
    write(study, rows, [])
    found = [state for state in read_lesion_table(study.lesions) if state.fate != LesionFate.TOTAL]
    assert [(s.subject, s.session, s.fate) for s in found] == [
        ("sub-a", "ses-01", "first"), ("sub-a", "ses-02", "unplaced"), ("sub-b", "ses-01", "first"),
    ]  # fmt: skip


def test_a_study_without_masks_has_no_table_and_loses_one_that_it_had(study: Study) -> None:
    marked = add_scan(study, 1, "2031-05-01")
    write(study, [marked], [])
    assert study.lesions.is_file()
    write(study, [{**marked, "lesions": None}], [])
    assert not study.lesions.exists()
    assert isinstance(build_scan_table([marked]), pd.DataFrame)


def test_what_was_kept_of_a_patient_who_left_goes_too(study: Study) -> None:
    stays, leaves = add_scan(study, 1, None), add_scan(study, 1, None, subject="sub-b")
    write(study, [stays, leaves], [])
    kept = {path.name for path in (study.data / "lesions").iterdir()}
    assert len(kept) == 6
    write(study, [stays], [])
    assert {path.name for path in (study.data / "lesions").iterdir()} == {name for name in kept if "sub-a" in name}
    write(study, [{**stays, "lesions": None}], [])
    left = {path.name: path for path in (study.data / "lesions").iterdir()}
    assert left.keys() == {"sub-a.json", f"{stays['id']}_lesions.nii.gz"}, (
        "its numbers are known when its mask comes back"
    )
    assert json.loads(left["sub-a.json"].read_text()) == {"next": 2}
    write(study, [stays], [])
    assert {state.lesion for state in read_lesion_table(study.lesions)} == {None, 1}
    assert len(list((study.data / "lesions").iterdir())) == 3


def test_two_scans_of_one_visit_are_not_two_dates(study: Study) -> None:
    first, later = add_scan(study, 1, "2031-05-01"), add_scan(study, 2, "2031-09-01")
    few, many = ({**row, "shape": (24, 24, n)} for row, n in ((add_scan(study, 3, "2031-05-01"), 12), (first, 24)))
    few |= {"session": "ses-01"}
    pairs = [pair(few, many), pair(few, later), pair(many, later)]
    write(study, [few, many, later], pairs)
    found = read_lesion_table(study.lesions)
    assert [(state.scan, state.fate) for state in found] == [
        (first["id"], "first"), (later["id"], "enlarging"),
        (first["id"], "total"), (few["id"], "repeat"), (later["id"], "total"),
    ]  # fmt: skip
    write(study, [{**few, "protocol": "p"}, many, {**later, "protocol": "p"}], pairs)
    assert read_lesion_table(study.lesions)[0].scan == few["id"], "like with like"
    write(study, [{**few, "protocol": "p"}, many, {**later, "protocol": "p"}], pairs[2:])
    assert read_lesion_table(study.lesions)[0].scan == first["id"], "the other one is not registered"
