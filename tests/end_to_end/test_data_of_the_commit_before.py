"""A study that commit d648ceb left, from ingest to scores: what still holds is read as it lies there, the rest refused.

benchmarks/freeze_study.py says how `study_of_d648ceb.tar.xz` was made. Everything in it is simulated.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest

from siamese_med.pairing.patient_splits import SPLITS_FILE
from tests import results
from tests.commands import siamese_med

ARCHIVE = Path(__file__).with_name("study_of_d648ceb.tar.xz")
NOTE_OF_INPUT = '{"value": ""}'
"""That the input has no name space of its own, which an earlier version has not written."""
PATIENTS, SCANS, PAIRS = 6, 12, 15
MODEL = "supcon-ca3cae1e7fc3"
PLACES = ("--data", "data", "--reports", "reports", "--config", "study.toml")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked study, under its own secret."""
    subprocess.run(["tar", "--extract", "--file", ARCHIVE], cwd=tmp_path, check=True)  # tarfile's filter needs 3.11.4
    monkeypatch.setenv("SIAMESE_MED_SECRET_FILE", str(tmp_path / "secret"))
    return tmp_path


def run(study: Path, verb: str, *arguments: str) -> CompletedProcess[str]:
    options = () if verb == "status" else ("--no-prefect",)
    ended = siamese_med(verb, *arguments, "--json", *PLACES, *options, cwd=study)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def stamps(folder: Path) -> dict[str, int]:
    """When each file was written, but for the catalogue and locks."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths if path.suffix != ".lock"}


def frames(data: Path) -> dict[str, pd.DataFrame]:
    """The tables of scores and owners: a later version may add columns to them."""
    return {path.name: pd.read_parquet(path) for path in sorted((data / "scores").glob("*.parquet"))}


def without_scores(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if not re.fullmatch(r"scores/[^/]+\.parquet", name)}


def rows_of_catalogue(data: Path) -> dict[str, list[str]]:
    """All rows, but for those that say where a file lies: the study lies elsewhere than where it was made."""
    rows = results.of_catalogue(f"sqlite:///{data / 'catalogue.sqlite'}")
    noted = {name: found for name, found in rows.items() if name != "path"}
    return noted | {"meta": [row for row in noted["meta"] if row != NOTE_OF_INPUT]}


def test_status_reads_catalogue_and_model(study: Path) -> None:
    found = json.loads(run(study, "status").stdout)
    counts = [found[name] for name in ("patients", "scans", "aligned", "pairs", "models")]
    assert counts == [PATIENTS, SCANS, SCANS, PAIRS, 1]
    assert found["current_model"] == MODEL


@pytest.mark.slow
def test_ingest_and_pair_find_nothing_new(study: Path) -> None:
    data = study / "data"
    files, rows, written = results.of_files(data), rows_of_catalogue(data), stamps(data)
    run(study, "ingest", "input")
    run(study, "pair")
    found = results.of_files(data)
    assert {name: found[name] for name in files} == files
    assert found.keys() - files.keys() <= {SPLITS_FILE}, "what an earlier version has not written"
    assert rows_of_catalogue(data) == rows
    costly = re.compile(r"scans/sub-.*\.nii\.gz|models/.*|prepared/.*|scores/.*")
    kept = {name: when for name, when in written.items() if costly.fullmatch(name)}
    assert len(kept) > 3 * SCANS + PAIRS
    assert {name: stamps(data)[name] for name in kept} == kept


@pytest.mark.parametrize("verb", ["score", "report"])
def test_a_model_whose_noise_floors_mean_nothing_any_more_is_refused_in_one_line(study: Path, verb: str) -> None:
    ended = siamese_med(verb, *PLACES, "--no-prefect", cwd=study)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("siamese-med: ")]
    assert "has model format 4, this version reads 6: train it again" in line
