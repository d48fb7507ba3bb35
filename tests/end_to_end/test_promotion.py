"""A retraining, from pairs to pages, with a model that was made worse on purpose, and one that is as good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siamese_med.network import change_inference, model_folder
from siamese_med.pipeline import stage_results, stages
from siamese_med.pipeline.stage_results import RETRAIN_STAGES, RunRequest, StageResult
from siamese_med.runtime import files
from siamese_med.scoring.change import detectability
from siamese_med.study.config import PromoteConfig
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import Study
from siamese_med.training import head_to_head, model_registry, train_model
from siamese_med.training.head_to_head import CANDIDATE_MODEL, INCUMBENT_MODEL, ComparedModel
from tests.end_to_end.conftest import Tracked

Weights = dict[str, torch.Tensor]


def as_it_is(weights: Weights) -> Weights:
    return weights


def blind_to_persons(weights: Weights) -> Weights:
    """What turns a scan into an embedding is nothing: all scans are alike."""
    return {name: one if name.startswith(("trunk.", "change.", "atlas.")) else 0 * one for name, one in weights.items()}


@pytest.fixture
def study(tracked: Tracked, tmp_path: Path) -> Study:
    """The tracked study in a folder of its own; its two validation patients are taken for enough."""
    shutil.copytree(tracked.study.data, tmp_path / "data")
    config = tracked.study.config.model_copy(update={"promote": PromoteConfig(min_patients=2)})
    return Study(tmp_path / "data", tmp_path / "reports", config)


@dataclass(frozen=True)
class Trainer:
    """Stands for a training that takes a minute: its model is the first one, with other weights and another name."""

    study: Study
    first: Path

    def make(self, name: str, alter: Callable[[Weights], Weights], detector: str | None = None) -> Path:
        """A complete model folder, consistent in itself."""
        folder = self.study.models / name
        shutil.copytree(self.first, folder)
        save_file(alter(load_file(folder / model_folder.WEIGHTS_FILE)), folder / model_folder.WEIGHTS_FILE)
        about = read_model_info(folder).to_json_object()
        about |= {"id": name, "weights_sha256": files.compute_file_digest(folder / model_folder.WEIGHTS_FILE)}
        about["change"] |= {"detector": detector} if detector else {}
        files.write_json_file(folder / "model.json", about)
        return folder


@pytest.fixture
def trainer(study: Study) -> Trainer:
    return Trainer(study, stages.current_model(study))


def retrain(study: Study, model: Path, monkeypatch: pytest.MonkeyPatch) -> stage_results.StageResults:
    """The retrain flow's verbs, with a training that ends in this model."""
    monkeypatch.setattr(train_model, "build_model", lambda *_: model)
    return stage_results.run_stages_in_order(RETRAIN_STAGES, RunRequest(study, candidate=True))


def pages_of(study: Study) -> str:
    return json.loads((study.reports / "cohort.json").read_text())["provenance"]["model"]


@pytest.mark.long
def test_a_worse_model_is_refused_and_the_reports_keep_the_old_one(
    study: Study, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = trainer.make("supcon-worse", blind_to_persons)
    done = {one.verb: one for one in retrain(study, worse, monkeypatch)}
    facts = done["promote"].facts
    assert (facts["promoted"], facts["candidate"]) == (False, "supcon-worse")
    assert facts["figures"]["identity"][CANDIDATE_MODEL] == 0.5 < facts["figures"]["identity"][INCUMBENT_MODEL]
    assert facts["figures"]["identity"]["difference"]["high"] < 0
    assert facts["figures"]["change"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}  # the same head
    assert done["score"].model == done["report"].model == trainer.first
    assert pages_of(study) == trainer.first.name
    assert not study.scores("supcon-worse").exists()
    assert (worse / "model.json").is_file()  # stays, and can be looked at
    assert stages.current_model(study) == trainer.first

    by_hand = stage_results.run_stage(
        "train", RunRequest(study)
    )  # finds the refused one, which is what this data gives
    assert by_hand.model == trainer.first
    assert "was refused before" in by_hand.failed_checks[0]
    assert stages.current_model(study) == trainer.first

    monkeypatch.setattr(head_to_head, "compare_model_auc", lambda *_: pytest.fail("measured twice"))
    again = {one.verb: one for one in retrain(study, worse, monkeypatch)}
    assert again["promote"].facts == facts
    assert again["report"].model == trainer.first


@pytest.mark.long
def test_a_model_that_is_as_good_is_used_and_scores_and_reports_follow(
    study: Study, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = trainer.make("supcon-equal", as_it_is)
    monkeypatch.setattr(train_model, "build_model", lambda *_: equal)

    def perform(verb: str, order: RunRequest) -> StageResult:
        """Scores and pages are made in the test above; here it counts by which model they would be."""
        return (
            stage_results.run_stage(verb, order)
            if verb in ("train", "promote")
            else StageResult(verb, {"by": order.model})
        )

    done = {
        one.verb: one
        for one in stage_results.run_stages_in_order(RETRAIN_STAGES, RunRequest(study, candidate=True), perform)
    }
    facts = done["promote"].facts
    assert facts["promoted"]
    assert {name: one["difference"]["value"] for name, one in facts["figures"].items()} == {"identity": 0, "change": 0}
    assert done["score"].facts["by"] == done["report"].facts["by"] == equal == stages.current_model(study)
    assert (trainer.first / "model.json").is_file()
    again = stage_results.run_stages_in_order(RETRAIN_STAGES, RunRequest(study, candidate=True), perform)
    assert "it is the current model already" in again[RETRAIN_STAGES.index("promote")].facts["why"]


@pytest.mark.long
def test_a_model_that_sees_no_change_is_refused(
    study: Study, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted changes are large here, since the study's voxels are; the head of the candidate finds nothing."""
    monkeypatch.setattr(detectability, "PLANTED_RANGE_ML", (30.0, 60.0))
    monkeypatch.setattr(change_inference, "detect_with_network", lambda _, laid, __: torch.zeros_like(laid.a))
    blind = trainer.make("supcon-blind", as_it_is, "network")
    sees = trainer.make("supcon-sees", as_it_is, "residual")
    model_registry.set_current_model(study, sees.name, "promoted by hand")
    monkeypatch.setattr(train_model, "build_model", lambda *_: blind)
    done = stage_results.run_stages_in_order(("train", "promote"), RunRequest(study, candidate=True))[1]
    figures = done.facts["figures"]
    assert figures["change"][CANDIDATE_MODEL] == 0.5 < figures["change"][INCUMBENT_MODEL] - 0.05
    assert figures["identity"]["difference"]["value"] == 0
    assert not done.facts["promoted"]
    assert done.model == sees == stages.current_model(study)


def test_models_are_measured_on_patients_whom_neither_learned_from_and_never_on_test_patients(
    study: Study, trainer: Trainer
) -> None:
    scans, pairs = stages.scans(study), stages.read_pairs(study)
    side = dict(zip([*pairs.subject_a, *pairs.subject_b], [*pairs.split, *pairs.split], strict=True))
    old, new = (contender(study, trainer.make(name, as_it_is)) for name in ("supcon-old", "supcon-new"))
    mine = head_to_head.select_eligible_scans(scans, {INCUMBENT_MODEL: old, CANDIDATE_MODEL: new})
    assert {side[subject] for subject in mine.subject} == {"validation"}
    assert mine.subject.nunique() == 2

    untold = ComparedModel(
        replace(old.model, info=old.model.info.model_copy(update={"trained_on": None})), old.prepared
    )
    assert untold.trained_on(scans) == set(old.model.info.trained_on or ())  # as models made before have it

    first, other = mine.subject.unique()
    known = (scans[scans.subject == first].sha256.iloc[0],)
    taught = new.model.info.model_copy(update={"trained_on": known})
    left = head_to_head.select_eligible_scans(
        scans, {INCUMBENT_MODEL: old, CANDIDATE_MODEL: ComparedModel(replace(new.model, info=taught), new.prepared)}
    )
    assert set(left.subject) == {other}

    test = scans[scans.subject.map(side) == "test"].sha256
    assert head_to_head.select_eligible_scans(scans, {INCUMBENT_MODEL: old, CANDIDATE_MODEL: new}, test).empty


def contender(study: Study, folder: Path) -> ComparedModel:
    return ComparedModel(model_folder.load_model(folder), stages.prepare(study, folder))
