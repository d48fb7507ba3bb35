"""Which model is current, by figures that are made up; with real models in tests/end_to_end/test_promotion.py."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.network import model_folder, starter_model
from siamese_med.pipeline import study_status
from siamese_med.runtime import files
from siamese_med.study.config import Config, PromoteConfig
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.training import current_model_record, head_to_head, model_registry
from siamese_med.training.head_to_head import CANDIDATE_MODEL, INCUMBENT_MODEL, ComparedModel

Ask = Callable[..., current_model_record.PromotionDecision]


def figure(old: float, new: float) -> dict[str, Any]:
    return {
        INCUMBENT_MODEL: old,
        CANDIDATE_MODEL: new,
        "difference": {"value": new - old, "low": new - old - 0.02, "high": new - old + 0.02},
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    promote = PromoteConfig(max_auc_loss=0.01, min_patients=4, starter_model=False)
    return Study(tmp_path / "data", tmp_path / "reports", Config(promote=promote))


@pytest.fixture
def begins(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study with a starter model to begin with."""
    folder = tmp_path / "package" / "starter"
    files.write_json_file(folder / "model.json", {"id": "starter-1"})
    monkeypatch.setattr(starter_model, "STARTER_FOLDER", folder)
    return replace(study, config=Config(promote=PromoteConfig(max_auc_loss=0.01, min_patients=4)))


def train(study: Study, name: str, age: int = 0) -> Path:
    """A finished model folder; a larger age makes it older."""
    folder = study.models / name
    files.write_json_file(folder / "model.json", {"id": name})
    os.utime(folder / "model.json", (2e9 - age, 2e9 - age))
    return folder


@pytest.fixture
def ask(study: Study, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask for a model to become current, with the AUC that it and the current one reach; counts what is measured."""
    skill = {"identity": 0.9, "change": 0.8}
    known: dict[str, dict[str, float]] = {}
    ask_of = SimpleNamespace(patients=6, measured=0)

    def load(folder: Path, _: frozenset[str]) -> SimpleNamespace:
        return SimpleNamespace(folder=folder, name=folder.name)

    def eligible(_: Any, __: Any, fixed: list[str] | None = None) -> pd.DataFrame:
        scans = pd.DataFrame({"subject": [f"sub-{n // 2}" for n in range(2 * ask_of.patients)]})
        scans = scans.assign(sha256=[f"{n:02}" for n in range(len(scans))])
        return scans[scans.sha256.isin(fixed)] if fixed is not None else scans

    def measure(_: Study, __: pd.DataFrame, ___: pd.DataFrame, two: dict[str, ComparedModel]) -> dict[str, Any]:
        ask_of.measured += 1
        old, new = (known.get(two[side].model.folder.name, skill) for side in (INCUMBENT_MODEL, CANDIDATE_MODEL))
        return {name: figure(old[name], new[name]) for name in skill}

    monkeypatch.setattr(model_folder, "load_model", load)
    monkeypatch.setattr(head_to_head, "select_eligible_scans", eligible)
    monkeypatch.setattr(head_to_head, "choose_fixed_scans", lambda *_: sorted(eligible(None, None).sha256))
    monkeypatch.setattr(head_to_head, "digest_comparison_terms", lambda _, scans, *__: " ".join(scans.sha256))
    monkeypatch.setattr(head_to_head, "compare_model_auc", measure)

    def asked(name: str, of: Study = study, **figures: float) -> current_model_record.PromotionDecision:
        known[name] = skill | figures
        folder = of.models / name
        if not folder.is_dir():
            model_registry.record_current_model(of)
            train(of, name)
        empty = pd.DataFrame()
        current, decision = model_registry.decide_promotion(
            of, folder, empty, empty, lambda _: PreparedStudy(empty, Path())
        )
        assert current == model_registry.find_current_model(of)
        return decision

    asked.settings = ask_of  # type: ignore[attr-defined]
    return asked


def test_without_a_decision_the_newest_model_is_current_and_nothing_is_written(study: Study) -> None:
    with pytest.raises(ModelError, match="siamese-med train"):
        model_registry.find_current_model(study)
    older, newer = train(study, "older", age=9), train(study, "newer")
    train(study, ".building-x")
    assert model_registry.find_current_model(study) == newer != older
    assert not (study.data / current_model_record.CURRENT_MODEL_FILE).exists()


def test_the_first_model_is_used_without_a_comparison(study: Study, ask: Ask) -> None:
    assert ask("first").promoted
    assert ask.settings.measured == 0  # type: ignore[attr-defined]
    assert model_registry.find_current_model(study).name == "first"


@pytest.mark.parametrize("worse", [{"identity": 0.88}, {"change": 0.78}, {"identity": 0.99, "change": 0.5}])
def test_a_model_that_is_worse_in_one_figure_is_refused_and_the_old_one_is_kept(
    worse: dict[str, float], study: Study, ask: Ask
) -> None:
    train(study, "old")
    decision = ask("candidate", **worse)
    assert not decision.promoted
    assert model_registry.find_current_model(study).name == "old"
    assert (study.models / "candidate" / "model.json").is_file()
    assert "worse on 6 fixed validation patients" in decision.why
    assert {name for name in ("persons apart", "planted changes") if name in decision.why} == {
        {"identity": "persons apart", "change": "planted changes"}[name] for name in worse if worse[name] < 0.9 - 0.011
    }
    assert list(model_registry.list_refused_models(study)) == ["candidate"]


@pytest.mark.parametrize("figures", [{}, {"identity": 0.95, "change": 0.9}, {"change": 0.79}, {"identity": 0.89}])
def test_a_model_that_is_not_worse_by_more_than_the_margin_is_used_and_the_old_one_stays(
    figures: dict[str, float], study: Study, ask: Ask
) -> None:
    train(study, "old")
    assert ask("candidate", **figures).promoted
    assert model_registry.find_current_model(study).name == "candidate"
    assert (study.models / "old" / "model.json").is_file()


def test_small_steps_do_not_lead_down(study: Study, ask: Ask) -> None:
    train(study, "old")
    verdicts = [ask(f"week-{week}", identity=0.9 - 0.006 * week).promoted for week in range(1, 6)]
    assert verdicts == [True, False, False, False, False]
    assert "best so far 0.900" in model_registry.list_refused_models(study)["week-5"].why
    assert model_registry.find_current_model(study).name == "week-1"


def test_the_same_week_again_measures_nothing(study: Study, ask: Ask) -> None:
    train(study, "old")
    refused = ask("worse", identity=0.5)
    written = (study.data / current_model_record.CURRENT_MODEL_FILE).read_bytes()
    assert ask("worse", identity=0.5) == refused
    assert (study.data / current_model_record.CURRENT_MODEL_FILE).read_bytes() == written
    assert ask("better", identity=0.95).promoted
    assert ask("better", identity=0.95).patients == 0  # it is the current model already, so there is nothing to compare
    assert ask.settings.measured == 2  # type: ignore[attr-defined]


def test_another_margin_asks_again(study: Study, ask: Ask) -> None:
    train(study, "old")
    assert not ask("slightly", change=0.77).promoted
    lenient = replace(study, config=Config(promote=PromoteConfig(max_auc_loss=0.05)))
    empty = pd.DataFrame()
    again = model_registry.decide_promotion(
        lenient, study.models / "slightly", empty, empty, lambda _: PreparedStudy(empty, Path())
    )
    assert again[1].promoted


def test_with_too_few_patients_the_old_model_is_kept_until_there_are_enough(study: Study, ask: Ask) -> None:
    train(study, "old")
    ask.settings.patients = 3  # type: ignore[attr-defined]
    decision = ask("candidate", identity=1.0, change=1.0)
    assert not decision.promoted
    assert "too few" in decision.why
    assert current_model_record.read_current_record(study).fixed == []  # type: ignore[union-attr]
    ask.settings.patients = 4  # type: ignore[attr-defined]
    assert ask("candidate", identity=1.0, change=1.0).promoted


def test_the_validation_patients_stay_fixed_when_others_come(study: Study, ask: Ask) -> None:
    train(study, "old")
    fixed = [ask("one"), current_model_record.read_current_record(study).fixed][1]  # type: ignore[union-attr]
    assert len(fixed) == 12
    ask.settings.patients = 9  # type: ignore[attr-defined]
    assert ask("two", identity=0.2).patients == 6
    assert current_model_record.read_current_record(study).fixed == fixed  # type: ignore[union-attr]
    model_registry.set_current_model(study, "two", "promoted by hand")
    assert ask("three").patients == 6
    model_registry.set_current_model(study, "three", "promoted by hand", renew=True)
    assert ask("four").patients == 9


def test_what_a_person_chose_is_not_undone_by_the_same_candidate(study: Study, ask: Ask) -> None:
    train(study, "old")
    assert ask("better", identity=0.99).promoted
    model_registry.set_current_model(study, "old", "promoted by hand")
    assert not ask("better", identity=0.99).promoted
    assert model_registry.find_current_model(study).name == "old"
    assert ask("next", identity=0.905).promoted  # held against the model that a person chose, not the best before


def test_a_refused_model_can_be_promoted_by_hand(study: Study, ask: Ask) -> None:
    train(study, "old")
    ask("worse", identity=0.5)
    assert model_registry.set_current_model(study, "worse", "promoted by hand").why == "promoted by hand"
    assert model_registry.find_current_model(study).name == "worse"
    assert model_registry.list_refused_models(study) == {}
    with pytest.raises(MissingFileError, match="no finished model nowhere"):
        model_registry.set_current_model(study, "nowhere", "promoted by hand")


def test_a_candidate_that_is_finished_but_not_decided_on_does_not_speak(study: Study) -> None:
    """Killed between training and decision: the newest folder is a candidate."""
    train(study, "old", age=9)
    model_registry.record_current_model(study)
    train(study, "candidate")
    assert model_registry.find_current_model(study).name == "old"


@pytest.mark.parametrize("moment", ["write_text", "replace"])
def test_killed_while_it_is_written_the_old_record_stands(
    moment: str, study: Study, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(study, "old")
    model_registry.record_current_model(study)
    train(study, "candidate")
    before = (study.data / current_model_record.CURRENT_MODEL_FILE).read_bytes()
    whole = Path.write_text

    def killed(path: Path, *given: Any, **options: Any) -> Any:
        if not path.name.startswith(".tmp-"):
            return whole(path, *given, **options)
        path.write_bytes(b'{"model": "candi')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            ask("candidate", identity=0.99)
    assert (study.data / current_model_record.CURRENT_MODEL_FILE).read_bytes() == before
    assert model_registry.find_current_model(study).name == "old"
    assert ask("candidate", identity=0.99).promoted


def test_a_model_that_cannot_be_loaded_any_more_gives_way(
    study: Study, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(study, "of-an-older-format")
    whole = model_folder.load_model

    def load(folder: Path, trusted: frozenset[str]) -> Any:
        if folder.name == "of-an-older-format":
            raise ModelError("model format 3, this version reads 4")
        return whole(folder, trusted)

    monkeypatch.setattr(model_folder, "load_model", load)
    decision = ask("candidate")
    assert decision.promoted
    assert "cannot be loaded" in decision.why


def test_a_current_model_that_is_gone_or_a_record_that_is_not_ours_is_explained(study: Study) -> None:
    train(study, "old", age=9)
    (train(study, "gone") / "model.json").unlink()
    files.write_json_file(
        study.data / current_model_record.CURRENT_MODEL_FILE, {"model": "gone", "since": "", "why": "", "decisions": {}}
    )
    with pytest.raises(ModelError, match="siamese-med promote"):
        model_registry.find_current_model(study)
    for text in ("{", "[]", '{"model": "old"}', json.dumps({"who": "old", "decisions": {}})):
        (study.data / current_model_record.CURRENT_MODEL_FILE).write_text(text)
        with pytest.raises(ModelError, match="cannot be read"):
            model_registry.find_current_model(study)


def test_status_names_the_current_model_and_the_last_refusal(study: Study, ask: Ask) -> None:
    assert "current_model" not in study_status.summarise_study(study)
    train(study, "old")
    assert (
        study_status.summarise_study(study)["current_model"],
        study_status.summarise_study(study)["last_refused"],
    ) == ("old", None)
    ask("worse", identity=0.5)
    said = study_status.summarise_study(study)
    assert said["current_model"] == "old"
    assert said["last_refused"].startswith("worse, 20")
    assert "AUC 0.500 against 0.900" in said["last_refused"]


def test_a_study_without_a_model_uses_the_starter_and_writes_nothing(begins: Study) -> None:
    assert model_registry.find_current_model(begins) == starter_model.STARTER_FOLDER
    said = study_status.summarise_study(begins)
    assert (said["current_model"], said["current_is_starter"], said["models"]) == ("starter", True, 0)
    assert "comes with siamese-med" in str(said["current_why"])
    assert not begins.data.exists()
    own = train(begins, "own")
    assert model_registry.find_current_model(begins) == own
    assert study_status.summarise_study(begins)["current_is_starter"] is False


def test_status_shows_a_study_whose_current_model_is_gone(begins: Study) -> None:
    shutil.rmtree(train(begins, "own"))
    current_model_record.write_current_record(begins, current_model_record.CurrentModel("own", "2026-01-01", "asked"))
    said = study_status.summarise_study(begins)
    assert (said["current_model"], said["scans"]) == ("own", 0)
    assert "siamese-med promote" in str(said["next_step"])


def test_the_starter_stays_until_a_candidate_is_not_worse(begins: Study, ask: Ask) -> None:
    refused = ask("worse", begins, identity=0.5)
    assert (refused.promoted, refused.against) == (False, "starter")
    assert model_registry.find_current_model(begins) == starter_model.STARTER_FOLDER
    assert study_status.summarise_study(begins)["last_refused"].startswith("worse, 20")  # type: ignore[attr-defined]
    assert ask("better", begins, identity=0.95).promoted
    assert model_registry.find_current_model(begins).name == "better"
    model_registry.set_current_model(begins, "starter", "promoted by hand")
    assert model_registry.find_current_model(begins) == starter_model.STARTER_FOLDER
    assert not ask("better", begins, identity=0.95).promoted  # what a person replaced does not come back by itself


def test_a_candidate_that_cannot_be_compared_does_not_replace_the_starter(begins: Study, ask: Ask) -> None:
    ask.settings.patients = 2  # type: ignore[attr-defined]
    decision = ask("candidate", begins, identity=1.0, change=1.0)
    assert not decision.promoted
    assert "2 fixed validation patients with two scans are too few" in decision.why
    assert model_registry.find_current_model(begins) == starter_model.STARTER_FOLDER


def test_without_the_starter_the_first_candidate_is_used_and_its_absence_is_one_line(
    begins: Study, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(starter_model, "STARTER_FOLDER", tmp_path / "lost" / "starter")
    for asked in (
        lambda: model_registry.find_current_model(begins),
        lambda: model_registry.set_current_model(begins, "starter", "by hand"),
    ):
        with pytest.raises(ModelError, match="lacks the starter model") as caught:
            asked()
        assert "\n" not in str(caught.value)
    assert "current_model" not in study_status.summarise_study(begins)
    assert ask("first", begins).why == "the first model of the study"


def test_killed_before_the_first_decision_the_starter_is_still_current(begins: Study) -> None:
    model_registry.record_current_model(begins)
    train(begins, "candidate")
    assert model_registry.find_current_model(begins) == starter_model.STARTER_FOLDER


def test_a_starter_that_was_current_and_is_lost_gives_way(
    begins: Study, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model_registry.record_current_model(begins)
    monkeypatch.setattr(starter_model, "STARTER_FOLDER", tmp_path / "lost" / "starter")
    with pytest.raises(ModelError, match="lacks the starter model"):
        model_registry.find_current_model(begins)
    assert ask("candidate", begins, identity=0.1).promoted


def test_a_folder_of_the_study_that_is_called_starter_comes_first(begins: Study) -> None:
    own = train(begins, "starter")
    model_registry.set_current_model(begins, "starter", "promoted by hand")
    assert model_registry.find_current_model(begins) == own


def test_whether_a_study_begins_with_the_starter_is_no_part_of_the_rule() -> None:
    assert PromoteConfig().fingerprint() == PromoteConfig(starter_model=False).fingerprint()
    assert PromoteConfig().fingerprint() != PromoteConfig(max_auc_loss=0.2).fingerprint()
