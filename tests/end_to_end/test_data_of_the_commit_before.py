"""A study that commit d648ceb left, from ingest to scores: it is read as it lies there, and nothing is done anew.

benchmarks/freeze_study.py says how `study_of_d648ceb.tar.xz` was made. Everything in it is simulated.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest

from tests import results
from tests.commands import siamese_med

ARCHIVE = Path(__file__).with_name("study_of_d648ceb.tar.xz")
PATIENTS, SCANS, PAIRS = 6, 12, 15
MODEL = "supcon-ca3cae1e7fc3"
PLACES = ("--data", "data", "--reports", "reports", "--config", "study.toml")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked study, under its own secret."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
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
    return {name: found for name, found in rows.items() if name != "path"}


def test_status_reads_catalogue_and_model(study: Path) -> None:
    found = json.loads(run(study, "status").stdout)
    counts = [found[name] for name in ("patients", "scans", "aligned", "pairs", "models")]
    assert counts == [PATIENTS, SCANS, SCANS, PAIRS, 1]
    assert found["current_model"] == MODEL


@pytest.mark.slow
def test_every_step_again_does_nothing_anew(study: Path) -> None:
    data = study / "data"
    files, rows = without_scores(results.of_files(data)), rows_of_catalogue(data)
    written, tables = stamps(data), frames(data)
    run(study, "ingest", "input")
    for verb in ("prepare", "pair", "train", "score", "report"):
        run(study, verb)
    assert without_scores(results.of_files(data)) == files
    assert rows_of_catalogue(data) == rows
    costly = re.compile(r"scans/sub-.*\.nii\.gz|models/.*|prepared/.*/volumes/.*|scores/.*/(pair|embeddings)-.*")
    kept = {name: when for name, when in written.items() if costly.fullmatch(name)}
    assert len(kept) > 3 * SCANS + PAIRS
    assert {name: stamps(data)[name] for name in kept} == kept
    for name, before in tables.items():
        pd.testing.assert_frame_equal(frames(data)[name][list(before.columns)], before)
    assert len(list((study / "reports").glob("sub-*/report.html"))) == PATIENTS


@pytest.mark.slow
def test_the_model_gives_the_scores_that_it_gave(study: Path) -> None:
    before = frames(study / "data")
    shutil.rmtree(study / "data" / "scores")
    run(study, "score")
    after = frames(study / "data")
    assert before.keys() == after.keys()
    for name, table in before.items():  # another processor rounds otherwise
        pd.testing.assert_frame_equal(after[name][list(table.columns)], table, rtol=1e-3, atol=1e-5)


def test_two_scans_of_one_scanner_are_compared_as_such(study: Path) -> None:
    """`compare` reads the scanner from the side-cars, as `run` has it in the catalogue."""
    scans = sorted(study.glob("data/scans/*/*/*_FLAIR.nii.gz"))[:2]
    for scan in scans:
        scan.with_name(scan.name.replace(".nii.gz", ".json")).write_text(json.dumps({"Scanner": "scanner-a"}))
    options = ("--model", str(study / "data" / "models" / MODEL), "--config", "study.toml", "--json")
    ended = siamese_med("compare", *map(str, scans), *options, cwd=study)
    assert json.loads(ended.stdout)["reference"]["stratum"] == "MR FLAIR, same scanner"
