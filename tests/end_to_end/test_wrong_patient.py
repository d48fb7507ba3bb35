"""A scan that came under another patient's name, followed from the input to the pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.network import embedding_cache
from siamese_med.network.edge_descriptor import SKETCH_SIZE
from siamese_med.pipeline import scoring_steps, stage_results, stages
from siamese_med.pipeline.stage_results import RunRequest, StageResult
from siamese_med.runtime import files
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import OWNER_COLUMNS, WRONG_PATIENT, Study
from tests.end_to_end.conftest import CONFIG, PATIENTS, VISITS, Tracked


@dataclass(frozen=True)
class Misfiled:
    """A study in which the second scan of one patient came as the third visit of another."""

    study: Study
    source: Path
    model: Path
    scored: StageResult
    scan: str
    filed: str
    owner: str


@pytest.fixture(scope="session")
def misfiled(tracked: Tracked, tmp_path_factory: pytest.TempPathFactory) -> Misfiled:
    folder = tmp_path_factory.mktemp("misfiled")
    source = tracked.export / "misfiled.csv"
    rows = pd.read_csv(tracked.export / "manifest.csv")
    moved = (rows.subject == "p0") & (rows.session == 1)
    rows.loc[moved, ["subject", "session", "date"]] = ["p1", VISITS, "2026-03-01"]
    rows.to_csv(source, index=False)
    study = Study(folder / "data", folder / "reports", CONFIG)
    shutil.copytree(tracked.study.data / "prepared", study.data / "prepared")  # all scans but one are aligned already
    stages.ingest(source, study)
    model = with_evidence(tracked.model, folder)
    stages.prepare(study, model)
    stages.build_pairs(study)
    counts = stages.scans(study).subject.value_counts()
    filed, owner = counts.idxmax(), counts.idxmin()
    scan = stages.scans(study).query("subject == @filed").id.max()
    embed(study, model, {scan: owner})
    scored = stage_results.run_stage("score", RunRequest(study, model=model))
    stages.report(study, model)
    return Misfiled(study, source, model, scored, scan, filed, owner)


def with_evidence(trained: Path, folder: Path) -> Path:
    """The model as if many validation patients had been well told apart: even odds at a squared distance of 0.5."""
    model = Path(shutil.copytree(trained, folder / trained.name))
    about = json.loads((model / "model.json").read_text())
    files.write_json_file(
        model / "model.json", {**about, "evidence": {"slope": -20.0, "intercept": 10.0, "alarm": 0.5}}
    )
    return model


def embed(study: Study, model: Path, truth: dict[str, str]) -> None:
    """Keep embeddings as a good network gives them, where the score stage looks for those it knows already."""
    scans, rng = stages.scans(study), np.random.default_rng(0)
    person = {subject: np.eye(16)[number] for number, subject in enumerate(sorted(set(scans.subject)))}
    vectors = [person[truth.get(scan.id, scan.subject)] + rng.normal(0, 0.03, 16) for scan in scans.itertuples()]
    edges = np.zeros((len(vectors), SKETCH_SIZE), np.float16)
    edges[:, :16] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    contents = stages.prepare(study, model).contents(scans.id)
    parts = {"learned": np.float32(vectors), "edges": edges}
    known = pd.DataFrame(
        {"content": contents, **{name: [one.tobytes() for one in part] for name, part in parts.items()}}
    )
    known["sha256"] = [embedding_cache.digest_embedding(*row) for row in known.itertuples(index=False)]
    files.write_parquet_file(scoring_steps.locate_embedding_cache(study, read_model_info(model)), known)


def test_the_owner_table_has_a_row_a_scan_and_one_alarm(misfiled: Misfiled) -> None:
    owners = pd.read_parquet(misfiled.study.owners(misfiled.model.name))
    assert tuple(owners.columns) == OWNER_COLUMNS
    assert list(owners.scan) == list(stages.scans(misfiled.study).id)
    assert len(owners) == PATIENTS * VISITS
    row = owners[owners.alarm].squeeze()
    assert (row.scan, row.subject, row.owner) == (misfiled.scan, misfiled.filed, misfiled.owner)
    assert row.evidence < 0 < row.owner_evidence


def test_the_result_names_the_scan_and_its_likelier_owner_and_is_no_failure(misfiled: Misfiled) -> None:
    facts = misfiled.scored.facts
    assert facts["alarms"] == 1
    assert facts["wrong_patient"] == [
        {"scan": misfiled.scan, "subject": misfiled.filed, "owner": misfiled.owner},
    ]
    json.dumps(facts, allow_nan=False)
    assert not any("patient" in problem for problem in misfiled.scored.unfinished)


def test_the_catalogue_flags_it_and_moves_nothing(misfiled: Misfiled) -> None:
    scans = stages.scans(misfiled.study).set_index("id")
    assert [scan for scan, flags in scans["flags"].items() if WRONG_PATIENT in flags] == [misfiled.scan]
    assert scans.subject[misfiled.scan] == misfiled.filed
    assert (misfiled.study.data / scans.path[misfiled.scan]).is_file()


def test_ingesting_again_keeps_the_flag(misfiled: Misfiled) -> None:
    again = stages.ingest(misfiled.source, misfiled.study)
    flagged = [row["id"] for row in again.scan_rows if WRONG_PATIENT in row["flags"]]
    assert flagged == [misfiled.scan]


@pytest.mark.parametrize("whose", ["filed", "owner"])
def test_the_pages_of_both_patients_show_it(misfiled: Misfiled, whose: str) -> None:
    patient = misfiled.study.reports / getattr(misfiled, whose)
    other = misfiled.owner if whose == "filed" else misfiled.filed
    page = (patient / "report.html").read_text(encoding="utf-8")
    assert misfiled.scan in page
    assert other in page


def test_the_index_puts_the_two_patients_first(misfiled: Misfiled) -> None:
    index = json.loads((misfiled.study.reports / "cohort.json").read_text(encoding="utf-8"))
    first = [row["subject"] for row in index["rows"][:2]]
    assert set(first) == {misfiled.filed, misfiled.owner}


def test_the_flag_goes_when_the_scan_lies_with_its_patient(misfiled: Misfiled) -> None:
    embed(misfiled.study, misfiled.model, {})
    scored = stage_results.run_stage("score", RunRequest(misfiled.study, model=misfiled.model))
    assert (scored.facts["alarms"], scored.facts["wrong_patient"]) == (0, [])
    assert not any(WRONG_PATIENT in flags for flags in stages.scans(misfiled.study)["flags"])
