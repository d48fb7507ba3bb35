"""A model's id follows what it is made from, also where the date of a scan is unknown."""

from __future__ import annotations

from pathlib import Path

from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.study.tables import Study
from siamese_med.training import train_model, training_scans
from tests import studies
from tests.studies import Made


def test_scans_without_a_date_have_an_id(made_study: Made, tmp_path: Path) -> None:
    whole = made_study.copy(tmp_path)
    study = Study(whole / "data", whole / "reports", studies.small())
    tables = StudyTables(study)
    scans, pairs = tables.read_scans(), tables.read_pairs()
    prepared = tables.prepare_scans(made_study.model, scans)
    usable = training_scans.select_usable_scans(scans, prepared, pairs)
    undated = usable.assign(date=[None, *usable.date[1:]])
    ids = {train_model.compute_model_id(study, one, prepared, pairs) for one in (usable, undated)}
    assert len(ids) == 2
