"""A night with new scans leaves what a full run over everything does, byte for byte."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.pipeline.stage_results import RunRequest, run_stages_in_order, select_stages
from siamese_med.study.tables import Study
from tests.end_to_end.conftest import CONFIG, Tracked

LATE = ("p1", "p6")
"""Patients whose second visit comes later."""
OF_A_RUN = re.compile(r"reports/run\.json|data/(\.ingest\.lock|catalogue\.sqlite)|data/scores/.*/pair-\w+\.json")
"""When it was, what the catalogue looks like inside, and what was measured of pairs that are drawn no more."""


def run(manifest: Path, folder: Path, model: Path) -> Study:
    """All stages but training."""
    study = Study(folder / "data", folder / "reports", CONFIG)
    run_stages_in_order(select_stages(model), RunRequest(study, manifest, model))
    return study


def contents(folder: Path) -> dict[str, bytes]:
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not OF_A_RUN.fullmatch(name)}


def difference(name: str, nightly: bytes, full: bytes) -> str:
    """What differs, for the message: of a compressed file perhaps its bytes alone, which is another fault."""
    if not name.endswith(".gz"):
        return name
    same = gzip.decompress(nightly) == gzip.decompress(full)
    return f"{name}: {'compressed otherwise, its content is equal' if same else 'its content differs'}"


def pages(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("reports/sub-*/report.html")}


def page_of(subject: str) -> str:
    return f"reports/{subject}/report.html"


@pytest.fixture(scope="module")
def yesterday(tracked: Tracked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study without the late scans."""
    folder = tmp_path_factory.mktemp("nightly")
    rows = pd.read_csv(tracked.export / "manifest.csv")
    early = tracked.export / "yesterday.csv"
    rows[~(rows.subject.isin(LATE) & (rows.session == 1))].to_csv(early, index=False)
    run(early, folder, tracked.model)
    return folder


@pytest.mark.long
def test_a_night_leaves_what_a_full_run_does(tracked: Tracked, yesterday: Path, tmp_path: Path) -> None:
    before, was = pages(yesterday), contents(yesterday)
    run(tracked.export / "manifest.csv", yesterday, tracked.model)
    run(tracked.export / "manifest.csv", tmp_path, tracked.model)
    nightly, full = contents(yesterday), contents(tmp_path)
    assert nightly.keys() == full.keys()
    assert [difference(name, nightly[name], full[name]) for name in full if nightly[name] != full[name]] == []
    after = pages(yesterday)
    written = {subject for subject, when in before.items() if after[subject] != when}
    differing = {subject for subject in before if nightly[page_of(subject)] != was[page_of(subject)]}
    assert written == differing  # what a late scan changes: its patient's page, and that of an alarm that it ends
    assert len(LATE) <= len(written) < len(before)
