"""The straight line: what the stages leave behind, and that calling them again changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.errors import EmptyInputError, ModelError, NotEnoughDataError, UsageError
from siamese_med.imaging import volume
from siamese_med.pipeline import single_scans, stages
from siamese_med.runtime import files
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import SCORE_COLUMNS, ReportExtras, Study
from siamese_med.study.vocabulary import SPLITS
from siamese_med.training import train_model
from tests.end_to_end.conftest import CONFIG, PATIENTS, VISITS, Tracked

MODEL_FILES = {
    "models",
    "configs",
    "docs",
    "LICENSE",
    "model.json",
    "metrics.json",
    "template.nii.gz",
    "reference.parquet",
    "gallery.npz",
    "training_log.csv",
    "change_log.csv",
    "training.png",
    "README.md",
}

REAL = Path(__file__).parents[3] / "shared" / "real" / "ds000011"


@pytest.fixture(scope="session")
def scores(tracked: Tracked) -> pd.DataFrame:
    return stages.score(tracked.study, tracked.model)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real scans at {REAL}")
def test_the_image_tells_the_contrast_of_a_scan_whose_name_does_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(min(REAL.glob("sub-*/*inplaneT2.nii.gz")), tmp_path / "in" / "head.nii.gz")
    study = Study(tmp_path / "data", tmp_path / "reports", CONFIG)
    stages.ingest(tmp_path / "in", study)
    (scan,) = stages.scans(study).itertuples()
    assert (scan.contrast, scan.contrast_source) == ("T2w", "image")


def test_a_finished_model_folder_is_complete_and_leaves_no_building_site(tracked: Tracked) -> None:
    assert {path.name for path in tracked.model.iterdir()} == MODEL_FILES
    assert [path.name for path in tracked.study.models.iterdir()] == [tracked.model.name]


def test_the_figures_count_every_patient_once(tracked: Tracked) -> None:
    metrics = json.loads((tracked.model / "metrics.json").read_text())
    assert sum(metrics["patients"].values()) == PATIENTS
    aligned = stages.prepare(tracked.study).alignments.ok.sum()  # the template follows the secret, and so may a scan
    assert sum(metrics["scans"].values()) == aligned > 0.8 * PATIENTS * VISITS
    assert set(metrics["test"]) == {"network", "learned", "edges", "ncc", "ncc_highpass", "mutual_information", "ssim"}
    auc = {name: figures["auc"]["value"] for name, figures in metrics["test"].items()}
    assert auc[metrics["best"]] == max(auc.values())


def test_training_the_same_twice_finds_the_first_model(tracked: Tracked) -> None:
    stamp = (tracked.model / "model.json").stat().st_mtime_ns
    assert stages.train(tracked.study) == tracked.model
    assert (tracked.model / "model.json").stat().st_mtime_ns == stamp


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights_and_figures_from_nothing(tracked: Tracked, tmp_path: Path) -> None:
    first = read_model_info(tracked.model)
    tracked.model.rename(tmp_path / "first")
    again = read_model_info(stages.train(tracked.study))
    for key in ("id", "weights_sha256", "calibration", "change_reference"):
        assert getattr(again, key) == getattr(first, key), key


def test_scores_have_a_row_a_pair_with_all_columns(tracked: Tracked, scores: pd.DataFrame) -> None:
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert len(scores) == len(stages.read_pairs(tracked.study))
    assert scores.similarity.between(0, 1).all()
    same = scores[scores.subject_a == scores.subject_b]
    assert len(same) == PATIENTS
    assert all((tracked.study.data / path).is_file() for path in [*same["map"].dropna(), *same.pictures.dropna()])
    assert scores[scores.subject_a != scores.subject_b].verdict.isna().all()


def test_scoring_again_measures_nothing_and_says_the_same(tracked: Tracked, scores: pd.DataFrame) -> None:
    folder = tracked.study.scores(tracked.model.name).with_suffix("")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("pair-*")}
    again = stages.score(tracked.study, tracked.model)
    pd.testing.assert_frame_equal(again, scores)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("pair-*")} == before


def test_swapping_the_two_scans_changes_signs_alone(tracked: Tracked) -> None:
    a, b = tracked.export / "p0_v0_FLAIR.nii.gz", tracked.export / "p0_v1_FLAIR.nii.gz"
    forth, back = (single_scans.compare(*order, tracked.model, tracked.study) for order in ((a, b), (b, a)))
    assert forth["similarity"] == pytest.approx(back["similarity"], abs=1e-6)
    assert abs(forth["change"]["z"]) == pytest.approx(abs(back["change"]["z"]), abs=1e-6)
    assert forth["change_sign"] == -back["change_sign"]
    assert forth["growth"]["ml"] == pytest.approx(-back["growth"]["ml"], abs=1e-6)
    assert forth["growth"]["p"] == pytest.approx(back["growth"]["p"], abs=1e-6)
    assert [part["sign"] for part in forth["components"]] == [-part["sign"] for part in back["components"]]
    assert forth["baselines"] == pytest.approx(back["baselines"], abs=1e-6)
    assert forth["verdict"] == back["verdict"]


def test_a_scan_compared_with_itself_is_the_same_person_without_change(tracked: Tracked) -> None:
    scan = tracked.export / "p1_v0_FLAIR.nii.gz"
    found = single_scans.compare(scan, scan, tracked.model, tracked.study)
    assert found["distance"] == 0
    assert (found["change"]["z"], found["change"]["p"], found["change"]["volume_ml"]) == (0, 1, 0)
    assert found["baselines"]["ncc_highpass"] == pytest.approx(1, abs=1e-6)
    assert found["similarity"] > 0.5


def test_a_scan_is_ranked_first_with_its_own_patient(tracked: Tracked) -> None:
    """The scan itself is enrolled, so nobody can be nearer."""
    found = single_scans.identify(tracked.export / "p2_v0_FLAIR.nii.gz", tracked.model, tracked.study)
    assert len(found["candidates"]) == PATIENTS
    similarity = [candidate["similarity"] for candidate in found["candidates"]]
    assert similarity == sorted(similarity, reverse=True)
    scans = stages.scans(tracked.study)
    own = volume.read_volume(tracked.export / "p2_v0_FLAIR.nii.gz").voxels.sum()
    nearest = scans[scans.subject == found["candidates"][0]["subject"]]
    sums = [volume.read_volume(tracked.study.data / path).voxels.sum() for path in nearest.path]
    assert min(abs(found - own) for found in sums) < 1e-4 * own


def test_the_model_that_was_trained_by_hand_is_used(tracked: Tracked, tmp_path: Path) -> None:
    assert stages.current_model(tracked.study) == tracked.study.models / tracked.model.name
    with pytest.raises(ModelError, match="siamese-med train"):
        stages.current_model(Study(tmp_path, config=CONFIG))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("left", ["nobody", "one patient", "single scans"])
def test_too_few_patients_in_a_split_are_named_before_training(tracked: Tracked, split: str, left: str) -> None:
    study = tracked.study
    prepared, scans, pairs = stages.prepare(study), stages.scans(study), stages.read_pairs(study)
    side = {**dict(zip(pairs.subject_a, pairs.split, strict=True))}
    members = scans[scans.subject.map(side) == split]
    dropped = {
        "nobody": members,
        "one patient": members[members.subject != members.subject.iloc[0]],
        "single scans": members[members.duplicated("subject")],
    }[left]
    with pytest.raises(NotEnoughDataError, match=f"the {split} split") as caught:
        train_model.build_model(study, scans.drop(dropped.index), prepared, pairs)
    assert "\n" not in str(caught.value)
    assert "sub-" not in str(caught.value)


def test_a_study_without_pairs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="siamese-med pair"):
        stages.read_pairs(Study(tmp_path))


def test_a_report_before_the_scores_says_what_to_do(tracked: Tracked, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    copied.mkdir()
    about = read_model_info(tracked.model)
    files.write_json_file(copied / "model.json", {**about.to_json_object(), "id": "other"})
    with pytest.raises(EmptyInputError, match="siamese-med score"):
        stages.report(tracked.study, copied)


@pytest.mark.long
def test_a_study_of_nifti_files_has_pages_and_no_dicom_objects(
    tracked: Tracked, scores: pd.DataFrame, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    reported = stages.report(tracked.study, tracked.model, ReportExtras(dicom=back), tracked.export / "manifest.csv")
    assert reported.index.is_file()
    followed = int((scores.subject_a == scores.subject_b).sum())  # two visits, one contrast
    assert reported.dicom == {"objects": 0, "patients": 0, "left_out": {"not_dicom": followed}}
    assert not back.exists()
    with pytest.raises(UsageError, match="inside the data or reports folder"):
        stages.report(tracked.study, tracked.model, ReportExtras(dicom=tracked.study.reports / "back"), tracked.export)
