"""A study begins with the model that comes with siamese-med, and goes on with its own once that is not worse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.cli import run_request
from siamese_med.errors import NotEnoughDataError
from siamese_med.network import model_folder, starter_model
from siamese_med.pipeline import stage_results, stages
from siamese_med.pipeline.stage_results import RETRAIN_STAGES, RUN_STAGES, RunRequest
from siamese_med.study.config import PromoteConfig
from siamese_med.study.score_columns import read_scores
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import NullSource
from siamese_med.training import head_to_head, train_model
from siamese_med.training.head_to_head import CANDIDATE_MODEL, INCUMBENT_MODEL, ComparedModel
from tests import starters, studies
from tests.commands import siamese_med
from tests.end_to_end.conftest import CONFIG
from tests.studies import Made

CONFIG_TOML = studies.CONFIG_TOML.replace("starter_model = false", "starter_model = true")


@pytest.fixture(scope="module")
def starter(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stand-in, where siamese-med looks for the starter model; nothing has been written into it at the end."""
    folder = starters.make_starter(made_study, tmp_path_factory.mktemp("package") / "starter")
    before = starters.marks(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter_model, "STARTER_FOLDER", folder)
        yield folder
    assert starters.marks(folder) == before, "somebody wrote into the starter model"


@dataclass(frozen=True)
class Patient:
    """A working folder with the two scans of one patient, and what `run` answered without --model."""

    folder: Path
    answer: dict[str, Any]

    def run(self, command: str, *more: str | Path) -> Any:
        """A command on this study; its JSON answer, or its whole result where it failed."""
        places = ("--data", "study", "--reports", "study/reports", "--config", "config.toml", "--json")
        recorded = ("--no-prefect",) if command in ("run", "score", "report", "train") else ()
        done = siamese_med(command, *more, *places, *recorded, cwd=self.folder)
        return json.loads(done.stdout) if done.returncode == 0 else done


def write_one_patient(made: Made, folder: Path) -> Path:
    """The manifest of the first patient of the shared export, with the paths of their scans as they are."""
    rows = pd.read_csv(made.export / "manifest.csv")
    rows = rows[rows.subject == "p0"].drop(columns="changed")
    rows.assign(path=[str(made.export / path) for path in rows.path]).to_csv(folder / "manifest.csv", index=False)
    (folder / "config.toml").write_text(CONFIG_TOML)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def patient(made_study: Made, starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    assert starter.is_dir()
    folder = tmp_path_factory.mktemp("patient")
    write_one_patient(made_study, folder)
    answer = Patient(folder, {}).run("run", "manifest.csv")
    assert isinstance(answer, dict), answer.stderr
    return Patient(folder, answer)


def test_one_patient_with_two_scans_is_a_study(patient: Patient, starter: Path) -> None:
    answer = patient.answer
    assert (answer["model"], answer["starter"]) == (str(starter), True)
    assert answer["training"].startswith("none: the ")
    assert "1 patient, 1 with two aligned scans" in answer["training"] or "0 patients" in answer["training"]
    assert answer["training"].endswith("the model in use is starter, which comes with siamese-med")
    assert (answer["pairs"], answer["comparable"]) == (1, 1)
    assert sum(answer["verdicts"].values()) == 1
    (pair,) = read_scores(pd.read_parquet(patient.folder / "study" / "scores" / f"{starters.STARTER_ID}.parquet"))
    assert pair.reference is not None
    assert pair.reference.source == NullSource.OWN  # rescans of the two scans themselves: the starter has none
    assert len(list((patient.folder / "study" / "reports").glob("sub-*/report.html"))) == 1
    assert not (patient.folder / "study" / "models").exists()


def test_pages_json_and_status_name_the_starter_as_the_packages(patient: Patient) -> None:
    reports = patient.folder / "study" / "reports"
    (page,) = reports.glob("sub-*/report.html")
    for one in (page, reports / "index.html", reports / "model.html"):
        assert "the starter model, which comes with siamese-med" in one.read_text()
    for one in (page.with_suffix(".json"), reports / "cohort.json"):
        provenance = json.loads(one.read_text())["provenance"]
        assert (provenance["model"], provenance["starter"]) == (starters.STARTER_ID, True)
    status = patient.run("status")
    assert (status["current_model"], status["current_is_starter"], status["models"]) == ("starter", True, 0)
    assert "comes with siamese-med" in status["current_why"]
    assert status["next_step"] == "open the reports"


def test_the_scans_are_aligned_to_the_starters_template_alone(patient: Patient) -> None:
    (table,) = (patient.folder / "study" / "prepared").glob("*/alignments.parquet")
    assert not table.parent.name.endswith("-study")
    assert pd.read_parquet(table).ok.all()


def test_a_second_run_measures_nothing_again(patient: Patient) -> None:
    def kept() -> dict[str, tuple[int, int, str]]:
        whole = starters.marks(patient.folder / "study")
        return {name: mark for name, mark in whole.items() if "/pair-" in name or "/volumes/" in name or "sub-" in name}

    before = kept()
    assert any("/pair-" in name for name in before)
    again = patient.run("run", "manifest.csv")
    assert kept() == before
    differing = {name for name in again if again[name] != patient.answer[name]}
    assert differing <= {"seconds", "account"}


@pytest.mark.long
def test_score_report_compare_and_identify_use_the_starter_without_being_told(patient: Patient, starter: Path) -> None:
    assert patient.run("score")["model"] == str(starter)
    assert patient.run("report")["patients"] == 1
    scans = pd.read_csv(patient.folder / "manifest.csv").path
    found = patient.run("identify", scans[0])
    assert (found["model"], len(found["candidates"])) == (starters.STARTER_ID, 1)
    elsewhere = siamese_med("compare", *scans, "--config", "config.toml", "--json", cwd=patient.folder)
    assert json.loads(elsewhere.stdout)["model"] == starters.STARTER_ID  # there is no study in ./data


def test_a_question_is_answered_by_the_model_that_is_named_else_by_that_of_the_study(
    made_study: Made, starter: Path, tmp_path: Path
) -> None:
    begins = CONFIG.model_copy(update={"promote": PromoteConfig()})
    tracked, new = Study(made_study.whole / "data", config=begins), Study(tmp_path, config=begins)
    assert run_request.choose_model(None, tracked).name == made_study.model.name
    assert run_request.choose_model(None, new) == starter
    assert run_request.choose_model(made_study.model, new) == made_study.model


@pytest.mark.long
def test_training_by_hand_still_asks_for_more_patients(patient: Patient) -> None:
    refused = patient.run("train")
    assert refused.returncode == 3
    assert "each split needs two patients" in refused.stderr


def test_a_weekly_retraining_of_too_few_patients_keeps_the_starter(patient: Patient, starter: Path) -> None:
    config = CONFIG.model_copy(update={"promote": PromoteConfig()})
    study = Study(patient.folder / "study", patient.folder / "study" / "reports", config)
    with pytest.raises(NotEnoughDataError, match="siamese-med score"):
        stage_results.run_stage("train", RunRequest(study))
    done = {one.verb: one for one in stage_results.run_stages_in_order(RETRAIN_STAGES, RunRequest(study))}
    assert done["promote"].facts["candidate"] is None
    assert done["report"].model == starter
    assert not any(one.unfinished for one in done.values())


@pytest.mark.parametrize("command", ["run", "compare"])
def test_an_installation_without_the_starter_says_so_in_one_line(
    made_study: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(starter_model, "STARTER_FOLDER", tmp_path / "lost")
    scans = pd.read_csv(write_one_patient(made_study, tmp_path)).path
    asked = ["manifest.csv", "--no-prefect"] if command == "run" else [*scans]
    done = siamese_med(command, *asked, "--config", "config.toml", "--quiet", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "this installation lacks the starter model" in line


@pytest.fixture(scope="module")
def untrained(made_study: Made, starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared study before its training, and its scans aligned to the starter's template too."""
    folder = made_study.copy(tmp_path_factory.mktemp("untrained"), scored=False)
    shutil.rmtree(folder / "data" / "models")
    (folder / "data" / "current_model.json").unlink()
    stages.prepare(Study(folder / "data", config=CONFIG), starter)
    return folder


@pytest.fixture
def study(untrained: Path, tmp_path: Path) -> Study:
    """A copy of that study to write into; two validation patients are enough in it."""
    shutil.copytree(untrained, tmp_path / "study")
    config = CONFIG.model_copy(update={"promote": PromoteConfig(min_patients=2)})
    return Study(tmp_path / "study" / "data", tmp_path / "study" / "reports", config)


def stand_for_training(made: Made, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that takes no time: it ends in the shared study's model."""

    def build(*_: Any) -> Path:
        folder = study.models / made.model.name
        if not folder.exists():
            shutil.copytree(made.model, folder)
        return folder

    monkeypatch.setattr(train_model, "build_model", build)


@pytest.mark.long
def test_a_candidate_that_is_as_good_replaces_the_starter(
    made_study: Made, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_for_training(made_study, study, monkeypatch)
    order = RunRequest(study, made_study.export / "manifest.csv")
    done = stage_results.run_stages_in_order(RUN_STAGES, order)
    facts = {one.verb: one.facts for one in done}
    assert facts["promote"]["promoted"], facts["promote"]["why"]
    assert facts["promote"]["patients"] == 2
    assert facts["promote"]["figures"]["identity"].keys() == {INCUMBENT_MODEL, CANDIDATE_MODEL, "difference"}
    assert (study.data / "current_model.json").read_text().count('"against": "starter"') == 1
    assert stages.current_model(study) == study.models / made_study.model.name
    said = stage_results.summarise_run(done)
    assert said["training"].startswith(f"{made_study.model.name} is used: not worse on 2 fixed validation patients")
    assert (said["model"], said["starter"]) == (str(study.models / made_study.model.name), False)
    assert json.loads((study.reports / "cohort.json").read_text())["provenance"]["starter"] is False

    monkeypatch.setattr(head_to_head, "compare_model_auc", lambda *_: pytest.fail("measured twice"))
    again = stage_results.run_stages_in_order(("prepare", "pair", "train", "promote"), RunRequest(study))
    assert "it is the current model already" in again[-1].facts["why"]


@pytest.mark.long
def test_what_could_not_be_compared_with_the_starter_is_not_trained(
    study: Study, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "train", lambda *_, **__: pytest.fail("it trained"))
    cautious = Study(study.data, study.reports, CONFIG.model_copy(update={"promote": PromoteConfig()}))
    done = stage_results.run_stages_in_order(("prepare", "pair", "train", "promote"), RunRequest(cautious))
    assert "2 validation patients have two aligned scans, 4 are needed" in done[-2].facts["why_not"]
    assert done[-1].model == starter == stages.current_model(cautious)


@pytest.mark.long
def test_all_validation_patients_of_a_candidate_are_compared_but_none_whom_the_starter_knows(
    made_study: Made, study: Study, starter: Path
) -> None:
    scans, pairs = stages.scans(study), stages.read_pairs(study)
    side = dict(zip([*pairs.subject_a, *pairs.subject_b], [*pairs.split, *pairs.split], strict=True))
    new, old = (
        ComparedModel(model_folder.load_model(folder), stages.prepare(study, folder))
        for folder in (made_study.model, starter)
    )
    contenders = {INCUMBENT_MODEL: old, CANDIDATE_MODEL: new}
    mine = head_to_head.select_eligible_scans(scans, contenders)
    assert {side[subject] for subject in mine.subject} == {"validation"}
    assert mine.subject.nunique() == 2
    known = old.model.info.model_copy(update={"trained_on": (mine.sha256.iloc[0],)})
    taught = ComparedModel(model_folder.TrainedModel(starter, old.model.network, known), old.prepared)
    left = head_to_head.select_eligible_scans(scans, contenders | {INCUMBENT_MODEL: taught})
    assert set(left.subject) == {mine.subject.iloc[-1]} != {mine.subject.iloc[0]}
