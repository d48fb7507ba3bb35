"""Folders that would come out as they lie there are left alone, and no others."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from siamese_med.reporting.write import up_to_date
from siamese_med.study.tables import ReportExtras
from tests.commands import ROOT
from tests.reporting.conftest import Inputs, add_images, pseudonym

NAMES = ("changed", "mixed", "stable")


@pytest.fixture(scope="module")
def written_three(written: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Three patients with their pages written, one of them with a change map; only to be read."""
    folder = tmp_path_factory.mktemp("three")
    data = shutil.copytree(written.data, folder / "data")
    three = replace(written, reports=folder / "reports", data=data, model=data / "models" / "m").only(*NAMES)
    add_images(three, "mixed")
    three.write()
    return three


@pytest.fixture
def three(written_three: Inputs, tmp_path: Path) -> Inputs:
    """The three patients in a folder of this test's own; copies keep the times of the files."""
    data = shutil.copytree(written_three.data, tmp_path / "data")
    reports = shutil.copytree(written_three.reports, tmp_path / "reports")
    return replace(written_three, reports=reports, data=data, model=data / "models" / "m").only(*NAMES)


def stamps(study: Inputs) -> dict[str, int]:
    """When each patient's page was written."""
    return {name: (study.reports / pseudonym(name) / "report.html").stat().st_mtime_ns for name in NAMES}


def renewed(study: Inputs) -> set[str]:
    """Write again; whose pages were written."""
    before = stamps(study)
    study.write()
    return {name for name, stamp in stamps(study).items() if stamp != before[name]}


def test_nothing_new_leaves_every_patients_folder_alone(three: Inputs) -> None:
    assert renewed(three) == set()


def test_one_score_writes_one_patients_pages(three: Inputs) -> None:
    three.scores.loc[three.scores.subject_a == pseudonym("stable"), "similarity"] = 0.123
    assert renewed(three) == {"stable"}
    assert "0.123" in (three.reports / pseudonym("stable") / "pairs.tsv").read_text()
    assert renewed(three) == set()


def test_what_is_on_every_page_writes_all(three: Inputs) -> None:
    assert renewed(replace(three, config=three.config.model_copy(update={"title": "Another title"}))) == set(NAMES)
    about = json.loads((three.model / "model.json").read_text())
    about |= {"threshold": 0.5, "calibration": {**about["calibration"], "threshold": 0.5}}
    (three.model / "model.json").write_text(json.dumps(about))
    assert renewed(three) == set(NAMES)


def test_what_is_asked_for_besides_writes_all(three: Inputs) -> None:
    assert renewed(replace(three, extras=ReportExtras(viewer=True))) == set(NAMES)
    assert (three.reports / pseudonym("mixed") / "viewer-1.html").is_file()
    assert renewed(three) == set(NAMES)
    assert not (three.reports / pseudonym("mixed") / "viewer-1.html").exists()


def test_another_version_writes_all(three: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_to_date, "_code", lambda: "another version")
    assert renewed(three) == set(NAMES)


def page(study: Inputs) -> Path:
    return study.reports / pseudonym("mixed") / "report.html"


def edit(study: Inputs) -> None:
    page(study).write_text(page(study).read_text().replace("patient", "client"))


def remove(study: Inputs) -> None:
    (study.reports / pseudonym("mixed") / "report.json").unlink()


def add(study: Inputs) -> None:
    page(study).with_name("pair-9.html").write_text("left by a run that was killed")


@pytest.mark.parametrize("meddle", [edit, remove, add])
def test_a_folder_that_was_meddled_with_is_put_right(three: Inputs, meddle: Callable[[Inputs], None]) -> None:
    content = {path: path.read_bytes() for path in page(three).parent.rglob("*") if path.is_file()}
    meddle(three)
    assert renewed(three) == {"mixed"}
    assert {path: path.read_bytes() for path in page(three).parent.rglob("*") if path.is_file()} == content


def test_a_map_that_was_made_again_is_linked_again(three: Inputs) -> None:
    add_images(three, "mixed")
    assert renewed(three) == {"mixed"}


@pytest.mark.parametrize("record", ["", "[]", "{", '{"folders": {"a": 1}}', '{"folders": [1]}'])
def test_without_a_readable_record_all_are_written(three: Inputs, record: str) -> None:
    (three.reports / "run.json").write_text(record)
    assert renewed(three) == set(NAMES)


def test_pages_of_a_run_that_was_killed_before_its_record_are_written(three: Inputs) -> None:
    record = (three.reports / "run.json").read_bytes()
    scores = three.scores.copy()
    three.scores.loc[three.scores.subject_a == pseudonym("stable"), "similarity"] = 0.123
    three.write()
    (three.reports / "run.json").write_bytes(record)
    three.scores = scores
    assert renewed(three) == {"stable"}
    assert "0.123" not in (three.reports / pseudonym("stable") / "pairs.tsv").read_text()


def test_every_file_that_makes_a_page_counts() -> None:
    counted = {path.relative_to(ROOT / "siamese_med").as_posix() for path in up_to_date.list_rendering_files()}
    assert {"reporting/render/pages.py", "reporting/render/templates/patient.html.j2", "study/tables.py"} <= counted
    modules = [ast.parse(path.read_text()) for path in (ROOT / "siamese_med/reporting").rglob("*.py")]
    imported = {node.module for tree in modules for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    folders = {name.split(".")[1] for name in imported if name and name.startswith("siamese_med.")} - {"errors"}
    assert folders <= set(up_to_date.RENDERING_FOLDERS)
