"""NIfTI files in PATIENT/DATE folders: read where the folders are plain, and no two people ever become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.study.config import IngestConfig
from tests.ingestion import bids_trees

pytestmark = pytest.mark.usefixtures("shared_workers")

DAYS = ("2020-01-05", "2021-02-07")
PLAIN = tuple(f"{who}/{day}/{what}.nii.gz" for who in ("P7", "P8") for day in DAYS for what in ("t1", "flair"))


def ingest(tmp_path: Path, places: Sequence[str]) -> pd.DataFrame:
    source = tmp_path / "input"
    for place in places:
        bids_trees.scan(source / place)
    url = f"sqlite:///{tmp_path / 'data' / 'catalogue.sqlite'}"
    (tmp_path / "data").mkdir(exist_ok=True)
    ingest_folder.ingest_files(source, tmp_path / "data", url, IngestConfig(workers=1))
    return catalogue.read_scan_table(url)


def as_days(dates: pd.Series) -> pd.Series:
    return pd.to_datetime(dates)


def test_folders_above_dates_are_patients_and_dates_are_visits(tmp_path: Path) -> None:
    scans = ingest(tmp_path, PLAIN)
    assert scans.groupby("subject").size().tolist() == [4, 4]
    assert scans.groupby("subject").session.nunique().tolist() == [2, 2]
    gaps = scans.groupby("subject").date.agg(lambda days: (max(as_days(days)) - min(as_days(days))).days)
    assert set(gaps) == {399}  # dates are shifted by a number of days of the patient's own
    assert all("patient_from_folder" in flags for flags in scans["flags"])
    assert set(scans.contrast) == {"T1w", "FLAIR"}


@pytest.mark.parametrize(
    "places",
    [
        [place for place in PLAIN if place.startswith("P7")],  # one folder may be that of a site
        [*PLAIN, "P7/summary.nii.gz"],  # images beside the dates
        [place.replace("t1.nii", "anna_t1.nii") for place in PLAIN],
        [place.replace("t1.nii", "12345.nii") for place in PLAIN],
        [place.replace("flair", "1") for place in PLAIN],  # numbers may be people
        [place.replace("t1.nii", "p1.nii") for place in PLAIN],
        [place.partition("/")[2] for place in PLAIN[:4]],  # dates without a folder above
        [place.replace("2021-02-07", "07-02-2021") for place in PLAIN],  # day or month first
    ],
)
def test_where_folders_are_not_plain_each_file_stays_a_patient_of_its_own(tmp_path: Path, places: list[str]) -> None:
    scans = ingest(tmp_path, places)
    assert scans.subject.nunique() == len(set(places))


def test_a_date_folder_tells_the_visits_of_a_labelled_patient(tmp_path: Path) -> None:
    scans = ingest(tmp_path, [f"sub-01/{day}/sub-01_T1w.nii.gz" for day in DAYS])
    assert scans.subject.nunique() == 1
    assert scans.session.nunique() == 2
    assert (max(as_days(scans.date)) - min(as_days(scans.date))).days == 399


def test_the_same_folders_give_the_same_patients_when_one_is_added(tmp_path: Path) -> None:
    before = set(ingest(tmp_path, PLAIN).subject)
    assert before < set(ingest(tmp_path, ["P9/2022-01-01/t1.nii.gz"]).subject)


@pytest.mark.parametrize(
    ("moved", "to", "visits"),
    [
        ("P7/2021-02-07", "P8/2021-05-01", [1, 3]),  # filed under the wrong patient
        ("P7/2021-02-07", "P7/2022-02-07", [2, 2]),  # the wrong date
    ],
)
def test_a_folder_that_is_put_right_is_read_anew(tmp_path: Path, moved: str, to: str, visits: list[int]) -> None:
    before = ingest(tmp_path, PLAIN)
    (tmp_path / "input" / to).parent.mkdir(exist_ok=True)
    (tmp_path / "input" / moved).rename(tmp_path / "input" / to)
    scans = ingest(tmp_path, [])
    assert len(scans) == len(before)
    assert sorted(scans.groupby("subject").session.nunique()) == visits
    assert not any("copied_scan" in flags for flags in scans["flags"])


def test_a_label_that_is_put_right_leaves_no_second_scan(tmp_path: Path) -> None:
    places = [f"sub-{who}/anat/sub-{who}_T1w.nii.gz" for who in ("01", "02")]
    assert len(ingest(tmp_path, places)) == 2
    tree = tmp_path / "input"
    (tree / "sub-02").rename(tree / "sub-03")
    (tree / "sub-03/anat/sub-02_T1w.nii.gz").rename(tree / "sub-03/anat/sub-03_T1w.nii.gz")
    assert [len(flags) for flags in ingest(tmp_path, [])["flags"]] == [1, 1]  # the date is unknown


def test_a_date_above_the_patient_is_that_of_an_export(tmp_path: Path) -> None:
    scans = ingest(tmp_path, [f"2023-01-15/sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)])
    assert scans.session.nunique() == 2
    assert scans.date.isna().all()
