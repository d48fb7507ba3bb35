"""What was measured under other settings is not shown again: scores, models and embeddings, on real stages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.pipeline import stages
from siamese_med.runtime import files
from siamese_med.study.config import Config
from siamese_med.study.tables import Study
from tests.end_to_end.conftest import Tracked
from tests.studies import Made


@pytest.fixture
def copied(tracked: Tracked, made_study: Made, tmp_path: Path) -> Tracked:
    """The study in a folder of this test's own, as an undisturbed run left it: scored under its config."""
    data = made_study.copy(tmp_path) / "data"
    study = replace(tracked.study, data=data, reports=tmp_path / "reports")
    return replace(tracked, study=study, model=data / "models" / tracked.model.name)


def with_settings(study: Study, section: str, **values: Any) -> Study:
    """The study under another config."""
    config = study.config.model_dump()
    return replace(study, config=Config.model_validate({**config, section: {**config[section], **values}}))


def kept_pairs(tracked: Tracked) -> dict[str, int]:
    folder = tracked.study.scores(tracked.model.name).with_suffix("")
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("pair-*.json")}


@pytest.mark.long
def test_scores_follow_a_limit_on_quality_that_is_lowered_again(copied: Tracked) -> None:
    before = stages.score(copied.study, copied.model)
    strict = stages.score(with_settings(copied.study, "prepare", min_quality=1.0), copied.model)
    one_patient = strict.subject_a == strict.subject_b
    refused = strict.reasons.map(list).map(lambda words: words == ["alignment_failed"])
    assert (refused == ~one_patient).all()  # two scans of one patient are registered to each other
    assert strict.similarity.isna().all()
    again = stages.score(copied.study, copied.model)
    pd.testing.assert_frame_equal(again, before)
    assert not before.reasons.map(list).map(lambda words: "alignment_failed" in words).all()


@pytest.mark.long
def test_another_transform_makes_another_model(copied: Tracked) -> None:
    affine = with_settings(copied.study, "prepare", transform="affine")
    affine = with_settings(affine, "train", epochs=1, steps_per_epoch=1, change_steps=0)
    assert stages.train(affine) != stages.train(with_settings(affine, "prepare", transform="rigid"))


def test_a_scan_that_lies_elsewhere_is_embedded_anew(copied: Tracked) -> None:
    """In another contrast a scan is aligned to another template, and so there are other voxels for the network."""
    everything = stages.scans(copied.study)
    stages.score(copied.study, copied.model)
    one = everything.iloc[0]
    _set_contrast(copied.study, one.id, "T2w")
    before = _embeddings(copied)
    stages.score(copied.study, copied.model)
    assert len(_embeddings(copied)) == len(before) + 1


def _set_contrast(study: Study, scan: str, contrast: str) -> None:
    import sqlite3

    with sqlite3.connect(study.data / "catalogue.sqlite") as catalogue:
        catalogue.execute("update scan set contrast = ? where id = ?", (contrast, scan))


def _embeddings(tracked: Tracked) -> set[bytes]:
    (cache,) = tracked.study.scores(tracked.model.name).with_suffix("").glob("embeddings*.parquet")
    known = pd.read_parquet(cache)
    return {learned + edges for learned, edges in zip(known.learned, known.edges, strict=True)}


@pytest.mark.parametrize(
    ("section", "values"),
    [("score", {"false_match_rate": 0.05}), ("score", {"significance": 0.01}), ("score", {"accelerator": "auto"})],
)
def test_a_setting_that_no_measurement_depends_on_measures_nothing_again(
    copied: Tracked, section: str, values: dict[str, Any]
) -> None:
    stages.score(copied.study, copied.model)
    before = kept_pairs(copied)
    stages.score(with_settings(copied.study, section, **values), copied.model)
    assert kept_pairs(copied) == before


def test_verdicts_and_pages_follow_the_significance_they_were_given_by(copied: Tracked) -> None:
    strict = with_settings(copied.study, "score", significance=1e-9)
    scores = stages.score(strict, copied.model)
    assert set(scores.verdict.dropna()) <= {"no_change", "uncertain", "not_comparable"}
    assert {part["kind"] for parts in scores.components for part in parts} <= {"may_be_chance"}
    stages.report(copied.study, copied.model)  # under the default, but what it shows was judged by the other limit
    shown = json.loads(next(copied.study.reports.glob("sub-*/report.json")).read_text())
    assert shown["reference"]["significance"] == 1e-9


def test_a_run_that_was_killed_between_voxels_and_record_leaves_no_record_of_other_voxels(
    copied: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of a pair go before its map is written, so that a return to older settings cannot find both."""
    stages.score(copied.study, copied.model)
    before = kept_pairs(copied)

    def killed(path: Path, *_: Any) -> None:
        if path.name in before:
            raise KeyboardInterrupt

    other = with_settings(copied.study, "score", min_overlap=0.55)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json_file", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.score(other, copied.model)
    stages.score(copied.study, copied.model)
    after = kept_pairs(copied)
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in after) == 1
