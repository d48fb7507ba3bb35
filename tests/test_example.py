"""The example study in the repository is whole, says that it is simulated, and names no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands import ROOT

EXAMPLE = ROOT / "reports" / "example"
PAGES = sorted(EXAMPLE.rglob("*.html"))


def test_there_is_an_index_a_model_page_an_ingest_page_and_a_page_a_patient() -> None:
    names = [page.relative_to(EXAMPLE).as_posix() for page in PAGES]
    assert [re.sub(r"sub-\w+", "sub", name) for name in names] == [
        "index.html",
        "ingest.html",
        "model.html",
        "sub/report.html",
        "sub/report.html",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = set(re.findall(r'(?:href|src)="([^"#][^"]*)"', page.read_text(encoding="utf-8")))
    files = {link.partition("#")[0] for link in links if not link.startswith("data:")}
    assert files
    assert sorted(link for link in files if not (page.parent / link).is_file()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_says_that_its_patients_are_simulated(page: Path) -> None:
    assert "simulated patients" in page.read_text(encoding="utf-8").partition("<main")[2].partition("<h1")[0]


def test_the_readme_leads_to_it() -> None:
    assert "(reports/example/index.html)" in (ROOT / "README.md").read_text(encoding="utf-8")
