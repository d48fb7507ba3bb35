"""A simulated study on disk: half DICOM, half BIDS, and the truth beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from siamese_med.imaging import volume
from siamese_med.pipeline import stages
from siamese_med.simulation import cohort
from siamese_med.study.tables import Study

VISITS = 3
"""Enough that the seed lets both patients change."""
CONTRASTS = ("FLAIR", "T1w", "T2w")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with three visits each, one of each format, where both have changed somewhere, in mixed contrast."""
    path = tmp_path_factory.mktemp("cohort")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)  # one process: each of them would make the head anew
        cohort.write_cohort(path, patients=2, visits=VISITS, seed=1, contrasts=CONTRASTS)
    return path


@pytest.fixture(scope="module")
def truth(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "truth.csv", dtype={"person": str})


def test_the_truth_has_one_row_a_visit_and_every_scan_is_there(folder: Path, truth: pd.DataFrame) -> None:
    assert truth.groupby("patient").visit.apply(list).tolist() == [[1, 2, 3]] * 2
    assert set(truth.format) == {"dicom", "nifti"}
    assert all((folder / scan).exists() for scan in truth.scan)


def test_visits_follow_each_other_in_time(truth: pd.DataFrame) -> None:
    for _, visits in truth.groupby("patient"):
        assert visits.date.is_monotonic_increasing
        assert visits.date.is_unique


def test_the_dicom_half_carries_its_patient_its_date_and_a_doubled_file(folder: Path, truth: pd.DataFrame) -> None:
    for visit in truth[truth.format == "dicom"].itertuples():
        header = pydicom.dcmread(folder / visit.scan / "IM0001", stop_before_pixels=True)
        assert (header.PatientID, header.StudyDate) == (visit.person, visit.date.replace("-", ""))
    first = folder / truth[truth.format == "dicom"].scan.iloc[0]
    assert (first / "copy of IM0001").read_bytes() == (first / "IM0001").read_bytes()
    assert any((first.parent / "series1").iterdir())


def test_the_bids_half_has_the_tables_that_bids_asks_for(folder: Path, truth: pd.DataFrame) -> None:
    bids = folder / "input" / "bids"
    description = json.loads((bids / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion"} <= set(description)
    for person, visits in truth[truth.format == "nifti"].groupby("person"):
        sessions = pd.read_csv(bids / f"sub-{person}" / f"sub-{person}_sessions.tsv", sep="\t")
        assert sessions.session_id.tolist() == [f"ses-{visit:02d}" for visit in visits.visit]
        assert [time[:10] for time in sessions.acq_time] == visits.date.tolist()
    for scan in truth[truth.format == "nifti"].scan:
        assert json.loads((folder / scan.replace(".nii.gz", ".json")).read_text())["Modality"] == "MR"
        assert volume.read_volume(folder / scan).voxels.ndim == 3


def test_what_changed_is_in_the_mask_with_its_volume(folder: Path, truth: pd.DataFrame) -> None:
    changed = truth[~truth.change.isin(["first", "rescan", "none"])]
    masks = sorted((folder / "truth").glob("*.nii.gz"))
    assert len(masks) == len(changed) > 0
    for visit in changed[changed.change != "ventricles"].itertuples():
        mask = volume.read_volume(folder / "truth" / f"patient{visit.patient:03d}_visit{visit.visit}_change.nii.gz")
        found_mm3 = mask.voxels.sum() * np.prod(mask.spacing_mm)
        assert found_mm3 == pytest.approx(visit.change_mm3, rel=0.35)


def test_rescans_have_not_changed(truth: pd.DataFrame) -> None:
    quiet = truth[truth.change.isin(["first", "rescan", "none"])]
    assert (quiet.change_mm3 == 0).all()
    assert (truth[~truth.index.isin(quiet.index)].change_mm3 > 0).all()


def test_ingestion_finds_each_visits_machine_contrast_and_protocol(
    folder: Path, truth: pd.DataFrame, tmp_path: Path
) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports")
    stages.ingest(folder / "input", study)
    scans = stages.scans(study).sort_values("date")
    by_machine = [CONTRASTS[(int(name[-1]) - 1) // 2] for name in truth.scanner]
    for source, visits in truth.assign(contrast=by_machine).groupby("format"):
        assert scans[scans.source == source].contrast.tolist() == visits.contrast.tolist()
    assert len(set(by_machine)) > 1
    assert scans.scanner.nunique() == truth.scanner.nunique()
    assert scans.protocol.nunique() == len(set(by_machine))  # whatever the format, or a format would tell who it is


def test_a_complete_cohort_is_left_as_it_is(folder: Path, truth: pd.DataFrame) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = cohort.write_cohort(folder, patients=2, visits=VISITS, seed=1, contrasts=CONTRASTS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert len(again) == len(truth)


def test_a_cohort_that_was_interrupted_is_not_taken_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(job: tuple[Path, int, cohort.CohortParameters]) -> list[cohort.VisitTruth]:
        folder, number, recipe = job
        if recipe.seed == 2 and number == 1:
            raise KeyboardInterrupt
        (folder / "input" / f"patient{number}").mkdir(parents=True)
        return [cohort.VisitTruth(number, str(number), 1, "2020-01-01", "dicom", "a", "first", 0.0, 0.0, 0.0, "scan")]

    monkeypatch.setattr(cohort, "run_in_parallel", lambda _work, jobs, _label: map(simulate, jobs))
    cohort.write_cohort(tmp_path, patients=3, visits=1, seed=1)
    with pytest.raises(KeyboardInterrupt):
        cohort.write_cohort(tmp_path, patients=3, visits=1, seed=2)
    assert len(cohort.write_cohort(tmp_path, patients=3, visits=1, seed=1)) == 3
    assert len(list((tmp_path / "input").glob("patient*"))) == 3
