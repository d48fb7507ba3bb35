"""A run reads each table of its study once, and reads it again as soon as somebody changed what it was made from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.pipeline import stage_results
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.preparation import aligned_volumes
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.tables import Study
from tests.end_to_end.conftest import CONFIG
from tests.studies import Made


@pytest.fixture
def study(made_study: Made, tmp_path: Path) -> Study:
    folder = made_study.copy(tmp_path)
    return Study(folder / "data", folder / "reports", CONFIG)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often scans were prepared, and tables read and written."""
    counted: Counter[str] = Counter()

    def count(module: Any, name: str, what: str) -> None:
        real = getattr(module, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[what.format(*(getattr(one, "name", "") for one in args))] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, counting)

    count(aligned_volumes, "prepare_scans", "prepared")
    count(catalogue, "read_scan_table", "scans read")
    count(untrusted_input, "read_untrusted_table", "{0} read")
    count(files, "write_parquet_file", "{0} written")
    return counted


def test_a_whole_run_prepares_once_a_template_and_reads_no_table_twice(
    made_study: Made, study: Study, counts: Counter[str]
) -> None:
    order = RunRequest(study, made_study.export / "manifest.csv")
    done = stage_results.run_stages_in_order(
        stage_results.STAGE_NAMES, order
    )  # the model is there, so training takes no time
    assert [outcome.model for outcome in done if outcome.verb == "train"] == [study.models / made_study.model.name]
    assert counts["prepared"] == counts["alignments.parquet written"] == 1
    assert counts["pairs.parquet read"] == 1
    assert counts["scans read"] == 1  # no alarm came or went, so the catalogue is the same all along


def test_a_stage_alone_reads_for_itself(study: Study, made_study: Made, counts: Counter[str]) -> None:
    order = RunRequest(study, model=study.models / made_study.model.name)
    for _ in range(2):
        stage_results.run_stage("report", order)
    assert counts["prepared"] == counts["scans read"] == 2


def test_what_changed_within_a_run_is_read_again(study: Study, counts: Counter[str]) -> None:
    tables = StudyTables(study)
    (first, *_), prepared = tables.read_scans().itertuples(), tables.prepare_scans()
    assert tables.prepare_scans() is prepared
    catalogue.replace_wrong_patient_alarms(study.catalogue_url, {first.id: first.sha256})
    assert "wrong_patient" in tables.read_scans().set_index("id").loc[first.id, "flags"]
    assert tables.prepare_scans() is prepared  # an alarm moves no scan
    assert (counts["scans read"], counts["prepared"]) == (2, 1)


def test_another_scan_or_mask_is_prepared_again(study: Study) -> None:
    tables = StudyTables(study)
    prepared, scans = tables.prepare_scans(), tables.read_scans()
    scan = scans.iloc[0]
    one = volume.read_volume(study.data / scan.path)
    mask = study.data / "mask.nii.gz"
    for bright in (10, 12):
        volume.write_volume(mask, Volume((one.voxels > bright).astype("int16"), one.affine))
        masks = [mask.name if row == scan.id else None for row in scans.id]
        masked = scans.assign(mask=pd.Series(masks, dtype=object))
        again = tables.prepare_scans(scans=masked)
        assert again is not prepared
        prepared = again
    assert len(tables.prepare_scans(scans=scans.drop(0)).alignments) == len(scans) - 1


def test_another_pair_table_is_read_again(study: Study) -> None:
    tables = StudyTables(study)
    pairs = tables.read_pairs()
    assert tables.read_pairs() is pairs
    files.write_parquet_file(study.pairs, pairs.iloc[:-1])
    assert len(tables.read_pairs()) == len(pairs) - 1
