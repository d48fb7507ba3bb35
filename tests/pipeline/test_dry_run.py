"""`run --dry-run`: what a run would do and cost, with nothing written."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest

from siamese_med.ingestion import ingest_folder
from siamese_med.pairing import pair_table
from siamese_med.pipeline import dry_run, stages
from siamese_med.pipeline.run_estimate import RunWork, estimate_stages
from siamese_med.study.config import Config, IngestConfig, PromoteConfig
from siamese_med.study.tables import Study
from tests.commands import siamese_med
from tests.ingestion import bids_trees

CONFIG = Config(ingest=IngestConfig(workers=1), promote=PromoteConfig(min_patients=2))
MS_PATIENTS = RunWork(11, 31, 31, 11, 10, 5, 0, 5, 0, 0)
"""Two patients of open_ms with two visits in three contrasts, one of them lacking: a run that was measured."""


def write_input(folder: Path, patients: int) -> Path:
    for who in range(patients):
        for day in ("2020-01-05", "2021-02-07"):
            bids_trees.scan(folder / f"P{who}" / day / "t1.nii.gz")
    return folder


def test_the_command_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SIAMESE_MED_SECRET_FILE", raising=False)
    source = write_input(tmp_path / "input", 2)
    (source / "notes.txt").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = siamese_med("run", source, "--dry-run", "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert (facts["patients"], facts["visits"], facts["scans"], facts["pairs"]) == (2, 4, 4, 2)
    assert (facts["trains"], facts["model"]) == (False, "starter")
    assert facts["left_out"] == {"not_an_image": 1}
    assert sorted(tmp_path.rglob("*")) == before


def test_it_agrees_with_the_stages_and_what_is_done_costs_nothing(tmp_path: Path) -> None:
    source, study = write_input(tmp_path / "input", 3), Study(tmp_path / "data", tmp_path / "reports", CONFIG)
    plan = dry_run.plan_run(source, study)
    assert not study.data.exists()
    ingest_folder.ingest_files(source, study.data, study.catalogue_url, CONFIG.ingest)
    pairs = stages.build_pairs(study)
    again = dry_run.plan_run(source, study)
    same = int(pair_table.is_same_patient(pairs).sum())
    assert (plan["pairs"], again["pairs"], plan["scans_done"], again["scans_done"]) == (same, same, 0, 6)
    assert again["pairs_of_two_patients"] == len(pairs) - same
    ingest = next(one for one in again["stages"] if one["stage"] == "ingest")
    assert (ingest["cpu_minutes"], ingest["data_mb"]) == (0, 0)


def test_pairs_with_a_result_are_not_compared_again(tmp_path: Path) -> None:
    source, study = write_input(tmp_path / "input", 2), Study(tmp_path / "data", tmp_path / "reports", CONFIG)
    ingest_folder.ingest_files(source, study.data, study.catalogue_url, CONFIG.ingest)
    pairs = stages.build_pairs(study)
    one = pairs[pair_table.is_same_patient(pairs)].iloc[0]
    name = dry_run.name_pair(one.scan_a, one.scan_b)
    _, info = dry_run._find_model(study, None, trains=False)
    assert info is not None
    folder = study.scores(info.id).with_suffix("")
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text("{}")
    assert dry_run.plan_run(source, study)["pairs_done"] == 1


def test_a_model_is_trained_by_the_rule_of_the_run(tmp_path: Path) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports", CONFIG)
    few = dry_run.plan_run(write_input(tmp_path / "few", 3), study)
    many = dry_run.plan_run(write_input(tmp_path / "many", 16), study)
    assert "each split needs two patients" in str(few["why_not"])
    assert many["why_not"] is None
    assert "train" in {one["stage"] for one in many["stages"]}
    assert "a model would be trained and compared with starter" in dry_run.format_dry_run(many)


def test_too_small_a_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    plan = dry_run.plan_run(write_input(tmp_path / "input", 1), Study(tmp_path / "data", tmp_path / "reports", CONFIG))
    assert len(plan["warnings"]) == 1  # both folders are on one disk
    assert "warning: about 0.00 GB are needed for data and reports" in dry_run.format_dry_run(plan)


def test_a_measured_run_is_within_a_factor_of_two() -> None:
    found = estimate_stages(MS_PATIENTS, cores=2)
    assert 9.57 / 2 < sum(one["cpu_minutes"] for one in found) < 9.57 * 2  # on a machine with load 9
    assert sum(one["data_mb"] for one in found) == pytest.approx(42, rel=0.1)
    assert sum(one["reports_mb"] for one in found) == pytest.approx(1.9, rel=0.3)


def test_a_coarser_grid_takes_less_and_few_jobs_use_one_core() -> None:
    def score(work: RunWork, cores: int) -> tuple[float, float]:
        found = {one["stage"]: one for one in estimate_stages(work, cores)}["score"]
        return found["cpu_minutes"], found["wall_minutes"]

    coarse = RunWork(**{**vars(MS_PATIENTS), "spacing_mm": 3.0})
    assert score(coarse, 1)[0] == pytest.approx(score(MS_PATIENTS, 1)[0] / 8, abs=0.01)
    one_pair = RunWork(2, 1, 1, 2, 2, 1, 0, 1, 0, 0)
    assert score(one_pair, 8)[0] == score(one_pair, 8)[1]


def test_an_archive_has_no_dry_run(tmp_path: Path) -> None:
    done = siamese_med("run", "dicomwebs://pacs.example/dicom-web?PatientID=7", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "--dry-run reads a folder or a manifest" in done.stderr
