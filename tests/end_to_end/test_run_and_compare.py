"""`compare` gives the figures that `run` gives of the same two files and model, to the last digit."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.imaging import volume
from siamese_med.pipeline import scoring_steps, single_scans, stages
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.scoring import score_table
from siamese_med.scoring.change import simulated_rescans
from siamese_med.scoring.score_table import PairJob
from siamese_med.study import score_tables
from siamese_med.study.model_info import RecordedNoiseFloor, read_model_info
from siamese_med.study.pair_score import PairScore
from siamese_med.study.score_columns import read_scores
from siamese_med.study.tables import Study
from tests import studies
from tests.studies import Made

FIGURES = ("change_z", "change_p", "volume_ml", "smallest_detectable_ml")


@pytest.fixture(scope="module")
def scored(made_study: Made) -> tuple[Study, list[PairScore], dict[str, Path]]:
    """A study, its comparable pairs of one patient, and the file that each scan was made from."""
    study = Study(made_study.whole / "data", made_study.whole / "reports", studies.small())
    table, _ = score_tables.read_score_tables(study, read_model_info(made_study.model))
    files = _find_originals(stages.scans(study), study.data, made_study.export)
    pairs = [score for score in read_scores(table) if score.comparable and score.verdict]
    return study, pairs, files


def _find_originals(scans: pd.DataFrame, data: Path, export: Path) -> dict[str, Path]:
    contents = {_digest_voxels(path): path for path in sorted(export.glob("*.nii.gz"))}
    return {scan.id: contents[_digest_voxels(data / scan.path)] for scan in scans.itertuples()}


def _digest_voxels(path: Path) -> str:
    voxels = volume.reorient_to_ras(volume.read_volume(path)).voxels
    return hashlib.sha256(np.ascontiguousarray(voxels, dtype=np.float32).tobytes()).hexdigest()


@pytest.mark.long
def test_two_files_get_the_figures_of_the_run_in_either_order(
    made_study: Made, scored: tuple[Study, list[PairScore], dict[str, Path]]
) -> None:
    study, pairs, files = scored
    model, score = single_scans.load_model_for_query(made_study.model, study.config), pairs[0]
    paths = [files[score.scan_a], files[score.scan_b]]
    forth, back = (single_scans.measure_two_scans(*order, model, study.config) for order in (paths, paths[::-1]))
    told = {f"change_{name}" if name in ("z", "p") else name: value for name, value in forth["change"].items()}
    assert set(FIGURES) == set(told)
    assert told == {name: getattr(score, name) for name in told}
    assert forth["growth"] == {"ml": score.growth_ml, "p": score.growth_p}
    assert forth["change_sign"] == score.change_sign
    assert forth["distance"] == pytest.approx(score.distance, rel=1e-6)  # the run embeds in batches
    assert forth["similarity"] == pytest.approx(score.similarity, rel=1e-6)
    assert forth["baselines"] == {name: getattr(score, name) for name in forth["baselines"]}
    for part in ("change", "similarity", "baselines", "reasons"):
        assert forth[part] == back[part]
    assert forth["change_sign"] == -(back["change_sign"] or 0)


@pytest.mark.long
def test_a_pair_that_the_model_has_no_reference_for_gets_the_figures_of_the_run_too(
    made_study: Made,
    scored: tuple[Study, list[PairScore], dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run keeps the rescans of both scans in its folder and reads them again; `compare` has no folder."""
    monkeypatch.setattr(simulated_rescans, "RESCANS_PER_SCAN", 2)
    _, pairs, files = scored
    study = Study(made_study.copy(tmp_path) / "data", tmp_path / "reports", studies.small())
    known = single_scans.load_model_for_query(made_study.model, study.config)
    unseen = RecordedNoiseFloor(strata=())
    info = known.info.model_copy(update={"change_reference": unseen, "growth_reference": unseen})
    model = replace(known, info=info)
    everything = StudyTables(study).read_scans()
    prepared = StudyTables(study).prepare_scans(made_study.model, everything).scans(everything)
    setup = scoring_steps.build_scoring_setup(study, model, model.measures(study.config.score))
    earlier, later = pairs[0].scan_a, pairs[0].scan_b
    job = PairJob(setup, prepared[earlier], prepared[later], True, "sub-1")
    score = score_table.run_pair_jobs([job])[0].score
    assert score.reference is not None
    assert (score.reference.source, score.reference.n) == ("own", 4)
    asked = single_scans.measure_two_scans(files[earlier], files[later], model, study.config)
    assert asked["reference"] == score.reference.to_json()
    assert (asked["change"]["z"], asked["change"]["p"]) == (score.change_z, score.change_p)
    assert asked["growth"] == {"ml": score.growth_ml, "p": score.growth_p}
