"""What a stage's result is said to mean."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from siamese_med.pipeline import stage_results, stages, study_status
from siamese_med.pipeline.stage_results import RunRequest, StageResult
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.runtime import files
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import ReportExtras, ReportResult, Study
from tests import trained


@pytest.mark.parametrize(
    ("aligned", "model", "advised"),
    [((False, False, True), Path("model"), True), ((False, True, True), Path("model"), False), ((False,), None, False)],
)
def test_scans_that_mostly_do_not_fit_a_models_template_come_with_advice(
    aligned: tuple[bool, ...], model: Path | None, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"scan": [f"scan-{n}" for n in range(len(aligned))], "quality": 0.01, "ok": aligned})
    monkeypatch.setattr(stages, "prepare", lambda *_: PreparedStudy(table, Path("template.nii.gz")))
    (problem,) = stage_results.run_stage("prepare", RunRequest(Study(), model=model)).unfinished
    assert "not aligned" in problem
    assert ("train on this study" in problem) is advised


@pytest.mark.parametrize(
    ("left_out", "problems"),
    [
        ({}, 0),
        ({"not_dicom": 4, "multi_frame": 1, "no_date": 1, "no_frame_of_reference": 2}, 0),
        ({"source_missing": 3, "not_encodable": 1}, 2),
    ],
)
def test_a_follow_up_whose_files_fail_makes_the_export_done_in_part(
    left_out: dict[str, int], problems: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {"objects": 3, "patients": 1, "left_out": left_out}
    monkeypatch.setattr(stages, "report", lambda *_: ReportResult(tmp_path / "index.html", said))
    order = RunRequest(Study(reports=tmp_path), tmp_path, tmp_path, extras=ReportExtras(dicom=tmp_path / "back"))
    outcome = stage_results.run_stage("report", order)
    assert outcome.facts["dicom"] == said
    assert outcome.result == tmp_path / "index.html"  # what a recorded run links to
    assert len(outcome.unfinished) == problems
    assert all(str(left_out[word]) in " ".join(outcome.unfinished) for word in left_out if problems)


@pytest.mark.parametrize(
    ("kind", "reason", "problems"),
    [("different", "alignment_failed", 0), ("follow_up", "pair_alignment_failed", 1), ("follow_up", "too_noisy", 0)],
)
def test_only_pairs_of_one_patient_that_could_not_be_registered_leave_the_scores_done_in_part(
    kind: str, reason: str, problems: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "models" / "supcon-4c1e9a7f20b3"
    files.write_json_file(folder / "model.json", trained.model_json())
    files.write_json_file(folder / "metrics.json", trained.metrics_json("network"))
    rows = [("follow_up", [], "changed"), (kind, [reason], "not_comparable")]
    scores = pd.DataFrame(
        [
            {"kind": kind, "reasons": reasons, "verdict": verdict, "comparable": not reasons}
            for kind, reasons, verdict in rows
        ]
    )
    monkeypatch.setattr(stages, "score", lambda *_: scores)
    monkeypatch.setattr(stage_results, "list_changed_pairs", lambda *_: [])
    monkeypatch.setattr(stage_results, "list_doubtful_scans", lambda *_: [])
    study = Study(tmp_path / "data", tmp_path / "reports")
    outcome = stage_results.run_stage("score", RunRequest(study, model=folder))
    assert len(outcome.unfinished) == problems


@pytest.mark.parametrize(("ml", "small"), [(899.1, False), (167.0, True), (None, False)])
def test_training_and_status_say_what_identity_looks_at_and_warn_where_it_is_small(
    ml: float | None, small: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports")
    region = {} if ml is None else {"region": {"ml": ml, "body_ml": 2700.0}}
    folder = study.models / "supcon-4c1e9a7f20b3"
    files.write_json_file(folder / "model.json", trained.model_json(**region))
    files.write_json_file(folder / "metrics.json", trained.metrics_json("network"))
    monkeypatch.setattr(stages, "train", lambda *_: folder)
    outcome = stage_results.run_stage("train", RunRequest(study))
    assert outcome.facts == {"model": str(folder), "region_ml": ml}
    assert [problem for problem in outcome.failed_checks if "167 ml of anatomy alone, 6 % of the body" in problem] == (
        list(outcome.failed_checks) if small else []
    )
    assert bool(outcome.failed_checks) is small
    said = study_status.summarise_study(study)
    assert said.get("current_region_ml") == ml
    assert bool(said.get("current_region_warning")) is small


@pytest.mark.parametrize(
    ("trained", "promoted", "current", "said"),
    [
        (None, False, "starter", "none: too few; the model in use is starter, which comes with siamese-med"),
        (None, False, "supcon-1", "none: too few; the model in use is supcon-1"),
        ("supcon-2", True, "supcon-2", "supcon-2 is used: it was measured"),
        (
            "supcon-2",
            False,
            "starter",
            "supcon-2 is not used: it was measured; the model in use is starter, which comes with siamese-med",
        ),
    ],
)
def test_a_run_says_in_one_line_what_became_of_its_training(
    trained: str | None, promoted: bool, current: str, said: str
) -> None:
    why_not = {} if trained else {"why_not": "too few"}
    decided = {"candidate": trained, "current_model": current, "promoted": promoted, "why": "it was measured"}
    scored = {"pairs": 1, "comparable": 1, "verdicts": {}, "alarms": 0, "wrong_patient": [], "model": f"m/{current}"}
    done = (
        StageResult("prepare", {"aligned": 2}),
        StageResult("train", {"model": trained, "region_ml": None, **why_not}),
        StageResult("promote", decided),
        StageResult("score", scored),
        StageResult("report", {"index": "index.html"}),
    )
    assert stage_results.summarise_run(done)["training"] == said
    assert stage_results.summarise_run((done[0], *done[3:]))["training"] is None  # a run with --model


@pytest.mark.parametrize(("patients", "scans", "enough"), [(6, 2, True), (5, 2, False), (6, 1, False), (1, 2, False)])
def test_scans_are_aligned_to_the_template_that_will_be_used(
    patients: int, scans: int, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too few patients to train on, however they are split, the study's own template is of no use."""
    table = pd.DataFrame({"subject": [f"sub-{n}" for n in range(patients)] * scans})
    asked: list[Path | None] = []

    def prepare(_: Study, model: Path | None, __: object) -> PreparedStudy:
        asked.append(model)
        return PreparedStudy(pd.DataFrame({"scan": [], "quality": [], "ok": []}), Path("template.nii.gz"))

    monkeypatch.setattr(StudyTables, "read_scans", lambda _: table)
    monkeypatch.setattr(stages, "prepare", prepare)
    monkeypatch.setattr(stages, "current_model", lambda _: Path("current"))
    stage_results.run_stage("prepare", RunRequest(Study(), candidate=True))
    stage_results.run_stage("prepare", RunRequest(Study()))
    stage_results.run_stage("prepare", RunRequest(Study(), model=Path("named"), candidate=True))
    assert asked == [None if enough else Path("current"), None, Path("named")]
