"""What a study has written is no input of it: its scans would come in again as those of new patients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import siamese_med, write_nifti


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with scans, and a study of them in the same folder: `run .` finds both the next time."""
    place = tmp_path_factory.mktemp("working")
    for visit in (1, 2):
        write_nifti(place / "sub-01" / f"ses-{visit}" / "anat" / f"sub-01_ses-{visit}_T1w.nii.gz", seed=visit)
    assert siamese_med("ingest", ".", "--no-prefect", cwd=place).returncode == 0
    return place


def test_a_second_run_on_the_working_folder_finds_nothing_new(folder: Path) -> None:
    done = siamese_med("ingest", ".", "--no-prefect", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (len(facts["scans"]), facts["reasons"], facts["quarantined"]) == (2, {"own_folder": 2}, 0)
    assert json.loads(siamese_med("status", "--json", cwd=folder).stdout)["patients"] == 1


def test_a_link_into_the_study_is_not_followed(folder: Path) -> None:
    (folder / "linked").symlink_to(folder / "data" / "scans")
    facts = json.loads(siamese_med("ingest", ".", "--no-prefect", "--json", cwd=folder).stdout)
    (folder / "linked").unlink()
    assert (len(facts["scans"]), facts["reasons"]) == (2, {"own_folder": 3})


@pytest.mark.parametrize("source", ["data", "data/scans", "reports", "data/scans/../scans"])
@pytest.mark.parametrize("plan", [[], ["--plan"]], ids=["ingest", "plan"])
def test_the_studys_own_folder_is_refused_in_one_line(folder: Path, source: str, plan: list[str]) -> None:
    done = siamese_med("ingest", source, "--no-prefect", *plan, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "INPUT is a folder that this study writes to" in done.stderr
    assert json.loads(siamese_med("status", "--json", cwd=folder).stdout)["patients"] == 1


def test_the_plan_leaves_the_studys_folders_out(folder: Path) -> None:
    facts = json.loads(siamese_med("ingest", ".", "--plan", "--json", cwd=folder).stdout)
    assert (facts["patients"], facts["scans"], facts["left_out"]) == (1, 2, {"own_folder": 2})


def test_an_input_may_lie_in_the_data_folder(tmp_path: Path) -> None:
    write_nifti(tmp_path / "dicom" / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    done = siamese_med("ingest", "dicom", "--data", ".", "--no-prefect", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_another_study_may_read_its_scans(folder: Path, tmp_path: Path) -> None:
    done = siamese_med(
        "ingest",
        "data/scans",
        "--data",
        tmp_path / "b",
        "--reports",
        tmp_path / "c",
        "--no-prefect",
        "--json",
        cwd=folder,
    )
    assert len(json.loads(done.stdout)["scans"]) == 2
