"""A model folder that somebody renamed, linked, copied or edited: scores go by its id, or it is refused in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from siamese_med.errors import EmptyInputError, ModelError
from siamese_med.pipeline import stage_results
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.runtime import files
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import Study
from tests.end_to_end.conftest import Tracked


@pytest.fixture
def elsewhere(tracked: Tracked, tmp_path: Path) -> tuple[Study, Path]:
    """A copy of the study, and its model under another name outside of it."""
    study = replace(tracked.study, data=tmp_path / "data", reports=tmp_path / "reports")
    shutil.copytree(tracked.study.data, study.data, ignore=shutil.ignore_patterns("scores"))
    shutil.copytree(tracked.model, folder := tmp_path / "from a colleague")
    return study, folder


def edit(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / "model.json").read_text())
    files.write_json_file(folder / "model.json", {**about, **changes})


@pytest.mark.long
def test_scores_go_by_the_id_whatever_the_folder_is_called(elsewhere: tuple[Study, Path], tmp_path: Path) -> None:
    study, folder = elsewhere
    (link := tmp_path / "link").symlink_to(folder)
    identity = read_model_info(folder).id
    for name in (folder, link, study.models / identity):
        facts = stage_results.run_stage("score", RunRequest(study, model=name)).facts
        assert facts["scores"] == str(study.scores(identity))
        assert study.scores(identity).is_file()
        assert stage_results.run_stage("report", RunRequest(study, model=name)).facts["patients"] > 0
    assert {path.name for path in (study.data / "scores").iterdir()} == {
        identity,
        f"{identity}.parquet",
        f"{identity}_owners.parquet",
    }


@pytest.mark.long
def test_a_copy_that_was_edited_has_no_scores_of_the_first(elsewhere: tuple[Study, Path]) -> None:
    study, folder = elsewhere
    own = study.models / read_model_info(folder).id
    first = stage_results.run_stage("score", RunRequest(study, model=own)).result
    curve = read_model_info(folder).calibration.to_json_object()
    edit(folder, calibration={**curve, "intercept": curve["intercept"] + 1.0})
    with pytest.raises(EmptyInputError, match="no scores of the model"):
        stage_results.run_stage("report", RunRequest(study, model=folder))
    second = stage_results.run_stage("score", RunRequest(study, model=folder)).result
    assert (second.similarity > first.similarity).any()
    with pytest.raises(EmptyInputError, match="no scores of the model"):
        stage_results.run_stage("report", RunRequest(study, model=own))
    assert stage_results.run_stage("score", RunRequest(study, model=own)).result.similarity.equals(first.similarity)


def test_an_id_that_is_a_path_writes_nothing(elsewhere: tuple[Study, Path], tmp_path: Path) -> None:
    study, folder = elsewhere
    edit(folder, id="../../../escape/evil")
    before = sorted(tmp_path.rglob("*"))
    for verb in ("prepare", "score", "report"):
        with pytest.raises(ModelError, match="is no name, or a path"):
            stage_results.run_stage(verb, RunRequest(study, model=folder))
    assert sorted(tmp_path.rglob("*")) == before
