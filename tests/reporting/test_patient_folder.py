"""What lies in a patient's folder: pages for many visits, what is asked for besides, and nothing of former runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from siamese_med.runtime import files
from tests.reporting.conftest import Inputs, add_images, pseudonym


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_with_more_than_four_visits_every_earlier_step_has_a_page_of_its_own(written: Inputs) -> None:
    folder = written.reports / pseudonym("changed")
    assert names(folder) == {
        "report.html",
        "report.json",
        "report.txt",
        "pairs.tsv",
        *(f"pair-{n}.html" for n in range(3, 7)),
    }
    summary = (folder / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="(pair-\d+\.html)"', summary)) == {f"pair-{n}.html" for n in range(3, 7)}
    assert re.findall(r'<section class="pair" id="pair-(\d+)"', summary) == ["1", "2"]
    newest_step = (folder / "pair-3.html").read_text(encoding="utf-8")
    assert newest_step.count("<figure>") == 4 * written.config.pictures_per_pair
    assert '<a href="pair-4.html">Step before</a>' in newest_step
    assert "Step after" not in newest_step
    assert "Step before" not in (folder / "pair-6.html").read_text(encoding="utf-8")


def test_with_fewer_visits_everything_is_on_one_page(written: Inputs) -> None:
    folder = written.reports / pseudonym("stable")
    assert names(folder) == {"report.html", "report.json", "report.txt", "pairs.tsv"}
    assert len(re.findall('<section class="pair"', (folder / "report.html").read_text(encoding="utf-8"))) == 3


def test_what_is_asked_for_comes_and_goes_again_when_it_is_not(study: Inputs) -> None:
    study = replace(study, extras=replace(study.extras, viewer=True)).only("mixed")
    add_images(study, "mixed")
    study.write()
    folder = study.reports / pseudonym("mixed")
    left = {"report.html", "report.json", "report.txt", "pairs.tsv"}
    maps = {name for name in names(folder) if name.startswith("ses-2/anat/")}
    assert len(maps) == 2
    assert names(folder) == {*left, *maps, "viewer-1.html"}
    assert 'href="viewer-1.html"' in (folder / "report.html").read_text(encoding="utf-8")
    (study.data / study.scores["map"].iloc[0]).unlink()
    (folder / "notes.txt").write_text("mine")
    study.write()
    assert names(folder) == {*left, "notes.txt"}
    assert "viewer-1.html" not in (folder / "report.html").read_text(encoding="utf-8")


def test_a_linked_file_takes_no_room_and_follows_its_source(tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "there" / "copy"
    files.write_text_file(source, "first")
    files.link_or_copy_file(source, other)
    assert other.samefile(source)
    files.write_text_file(source, "second")  # another file under the same name: the link keeps what it had
    assert other.read_text() == "first"
    files.link_or_copy_file(source, other)
    assert other.read_text() == "second"


def test_where_nothing_can_be_linked_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    source = tmp_path / "source"
    files.write_text_file(source, "first")
    files.link_or_copy_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "first"
    assert names(tmp_path) == {"source", "copy"}
