"""The BIDS-App: each participant becomes a study of its own, and the group level collects their tables."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from siamese_med.cli import bids_app
from siamese_med.ingestion.inputs.sources import list_files_below
from siamese_med.network import starter_model
from tests import starters, studies
from tests.commands import ROOT
from tests.end_to_end.bids_data import write_bids_data
from tests.studies import Made

CONFIG_TOML = studies.CONFIG_TOML.replace("starter_model = false", "starter_model = true")


@pytest.fixture(scope="module")
def config(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for the stand-in of the starter model, which lies where siamese-med looks for it."""
    folder = tmp_path_factory.mktemp("package")
    starter = starters.make_starter(made_study, folder / "starter")
    (folder / "config.toml").write_text(CONFIG_TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter_model, "STARTER_FOLDER", starter)
        yield folder / "config.toml"


@pytest.fixture(scope="module")
def bids(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS data set of two participants with two visits each, and one without a scan."""
    folder = tmp_path_factory.mktemp("bids")
    write_bids_data(made_study, folder)
    return folder


@pytest.fixture(scope="module")
def output(bids: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the level `participant`, one call a participant, as a cluster does."""
    folder = tmp_path_factory.mktemp("output") / "siamese-med"
    for label in ("01", "sub-02"):
        call = [str(bids), str(folder), "participant", "--participant-label", label, "--config", str(config)]
        assert bids_app.run_bids_app(call) == 0
    return folder


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t"))


@pytest.mark.long
def test_each_participant_has_a_report_of_both_visits_in_a_folder_of_their_own(output: Path) -> None:
    assert sorted(path.name for path in output.iterdir()) == ["dataset_description.json", "sub-01", "sub-02"]
    assert json.loads((output / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    for name in ("sub-01", "sub-02"):
        (page,) = (output / name / "reports").glob("sub-*/report.html")
        (pair,) = read_table(page.with_name("pairs.tsv"))
        assert pair["interval_days"] == "366"  # the dates are in the sessions table of the data set
        assert json.loads(page.with_suffix(".json").read_text())["provenance"]["starter"] is True
        assert not (output / name / "data" / "models").exists()


@pytest.mark.long
def test_a_second_call_does_nothing_twice(output: Path, bids: Path, config: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(output, again)
    (page,) = (again / "sub-01" / "reports").glob("sub-*/report.html")
    before = page.stat().st_mtime_ns
    call = [str(bids), str(again), "participant", "--participant_label", "01", "--config", str(config)]
    assert bids_app.run_bids_app(call) == 0
    assert page.stat().st_mtime_ns == before
    assert len(list((again / "sub-01" / "data" / "scans").rglob("*.nii.gz"))) == 2


@pytest.mark.long
def test_the_group_level_collects_all_participants(output: Path, bids: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(output, whole)
    assert bids_app.run_bids_app([str(bids), str(whole), "group"]) == 0
    people, pairs = (read_table(whole / name) for name in ("group_participants.tsv", "group_pairs.tsv"))
    assert [row["participant_id"] for row in people] == [row["participant_id"] for row in pairs] == ["sub-01", "sub-02"]
    assert {row["visits"] for row in people} == {"2"}
    assert list(pairs[0])[:3] == ["participant_id", "number", "role"]


@pytest.mark.long
def test_a_participant_without_a_scan_is_3_and_keeps_nobody_else_from_being_done(
    output: Path, bids: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = [str(bids), str(tmp_path), "participant", "--config", str(config), "--participant-label"]
    assert bids_app.run_bids_app([*call, "03"]) == 3
    assert capfd.readouterr().err.splitlines()[-1].startswith("sub-03: ")
    shutil.copytree(output / "sub-01", tmp_path / "sub-01")  # scored, but without its report
    shutil.rmtree(tmp_path / "sub-01" / "reports")
    assert bids_app.run_bids_app([*call, "03", "01"]) == 4
    assert list((tmp_path / "sub-01" / "reports").glob("sub-*/report.html"))


def write_tables(output: Path, name: str, cohort: str, pairs: str) -> None:
    reports = output / name / "reports"
    (reports / "sub-pseudonym").mkdir(parents=True)
    (reports / "cohort.tsv").write_text(cohort)
    (reports / "sub-pseudonym" / "pairs.tsv").write_text(pairs)


def test_participants_of_two_versions_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tables(tmp_path, "sub-01", "subject\tstatus\na\tchanged\n", "number\n1\n")
    write_tables(tmp_path, "sub-02", "subject\tstatus\tvisits\nb\tchanged\t2\n", "number\n1\n")
    assert bids_app.run_bids_app([str(tmp_path), str(tmp_path), "group"]) == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert "cohort.tsv of sub-02 has other columns" in line
    assert not list(tmp_path.glob("group_*"))


def test_participants_with_one_visit_have_a_table_of_no_pairs(tmp_path: Path) -> None:
    write_tables(tmp_path, "sub-01", "subject\tstatus\na\tone_visit\n", "number\trole\n")
    assert bids_app.run_bids_app([str(tmp_path), str(tmp_path), "group"]) == 0
    assert (tmp_path / "group_pairs.tsv").read_text() == "participant_id\tnumber\trole\n"
    assert (tmp_path / "group_participants.tsv").read_text().splitlines()[1] == "sub-01\ta\tone_visit"


def test_files_of_a_participant_have_the_same_paths_in_every_call(tmp_path: Path) -> None:
    bids, output = tmp_path / "bids", tmp_path / "bids" / "derivatives" / "siamese-med"
    for folder in ("sub-01/anat", "sub-02/anat", "derivatives/lesions/sub-01", "derivatives/siamese-med/sub-01"):
        (bids / folder).mkdir(parents=True)
        (bids / folder / "file.json").write_text("{}")
    (bids / "participants.tsv").write_text("participant_id\n")
    seen = []
    for _ in range(2):
        with bids_app._view_of_participant("sub-01", bids, output) as view:
            seen.append(list_files_below(view))
        assert not view.exists()
    assert seen[0] == seen[1]
    inside = [path.relative_to(view).as_posix() for path in seen[0]]
    assert inside == ["derivatives/lesions/sub-01/file.json", "participants.tsv", "sub-01/anat/file.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["participant", "--participant-label", "01", "99"], "1 of 2 labels of --participant-label have no folder"),
        (["participant", "--model", "nowhere"], "--model is not there"),
        (["group"], "no report of a participant"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str], words: str, bids: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = bids_app.run_bids_app([str(bids), str(tmp_path / "out"), *arguments])
    (line,) = capfd.readouterr().err.splitlines()
    assert (code, words in line) == (3 if arguments == ["group"] else 2, True)
    assert not (tmp_path / "out").exists()


def test_every_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bids_app.run_bids_app(["--help"])
    options = set(re.findall(r"--[a-z_-]+", capsys.readouterr().out))
    page = (ROOT / "docs" / "bids-app.md").read_text(encoding="utf-8")
    assert "--participant-label" in options
    assert {option for option in options if f"`{option}`" not in page} == set()


def test_the_command_starts_by_itself(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "siamese_med.cli.bids_app"]
    done = subprocess.run([*call, "--version"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "siamese-med")
    done = subprocess.run(
        [*call, tmp_path, tmp_path, "participant"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "BIDS_DIR has no folder sub-" in done.stderr) == (2, True)
