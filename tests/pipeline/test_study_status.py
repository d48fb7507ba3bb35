"""`status` counts what can be used, and its next step is one that changes something."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from siamese_med.pipeline import stage_results, stages, study_status
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.preparation import aligned_volumes
from siamese_med.runtime import files
from siamese_med.study.tables import PAIR_COLUMNS, Study
from siamese_med.training import model_registry
from tests import trained

SCANS = pd.DataFrame(
    {"id": ["sub-a_ses-01_FLAIR", "sub-a_ses-02_FLAIR", "sub-b_ses-01_FLAIR"], "subject": ["a", "a", "b"]}
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of three scans, whose catalogue is not read."""
    monkeypatch.setattr(stages, "scans", lambda _: SCANS)
    monkeypatch.setattr(study_status, "_has_catalogue", lambda _: True)
    monkeypatch.setattr(study_status, "_account", lambda _: ({}, []))
    return Study(tmp_path / "data", tmp_path / "reports")


def write_alignments(folder: Path, ok: dict[str, bool]) -> None:
    files.write_parquet_file(folder / "alignments.parquet", pd.DataFrame({"scan": list(ok), "ok": list(ok.values())}))


def test_scans_that_failed_or_are_gone_are_not_aligned(study: Study) -> None:
    write_alignments(study.prepared / "one", {SCANS.id[0]: True, SCANS.id[1]: False, "sub-c_ses-01_FLAIR": True})
    said = study_status.summarise_study(study)
    assert (said["scans"], said["aligned"]) == (3, 1)


def test_scans_count_as_aligned_to_the_template_of_the_current_model(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [study.models / name for name in ("supcon-000000000001", "supcon-000000000002")]
    for number, model in enumerate(models):
        files.write_json_file(model / "model.json", trained.model_json())
        (model / "template.nii.gz").write_bytes(bytes([number]))
        folder = aligned_volumes._folder(study.prepared, model / "template.nii.gz", study.config.prepare)
        write_alignments(folder, {scan: place <= number for place, scan in enumerate(SCANS.id)})
    monkeypatch.setattr("siamese_med.network.model_folder.find_checked_template", lambda one: one / "template.nii.gz")
    for number, model in enumerate(models):
        monkeypatch.setattr(model_registry, "find_current_model", lambda _, model=model: model)
        assert study_status.summarise_study(study)["aligned"] == number + 1


def test_a_study_without_pairs_is_not_sent_in_a_circle(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    write_alignments(study.prepared / "one", dict.fromkeys(SCANS.id, False))
    assert study_status.summarise_study(study)["next_step"] == "siamese-med pair"
    none = pd.DataFrame(columns=list(PAIR_COLUMNS))
    files.write_parquet_file(study.pairs, none)
    step = str(study_status.summarise_study(study)["next_step"])
    assert step.startswith("siamese-med ingest INPUT with further scans, then siamese-med pair: ")
    assert "a study needs two scans of a patient" in step
    monkeypatch.setattr(stages, "build_pairs", lambda *_: none)
    (said,) = stage_results.run_stage("pair", RunRequest(study)).failed_checks
    assert said.startswith("the pair table is empty: a study needs two scans of a patient, or two patients; ")
