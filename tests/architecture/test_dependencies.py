"""What the project stands on: pinned by name and version alone, and free of licences that bind those who use it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.commands import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
CHOICE_OF_LICENCE = {"pyphen", "text-unidecode"}
"""May be used under the Mozilla Public License, or the Artistic License, instead of the GPL."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS_OF_PROJECT: dict[str, list[str]] = PROJECT["optional-dependencies"]
LATER = ("bench", "docs")
"""Extras that `make install` leaves out."""
INSTALLED = [Requirement(text) for name, texts in EXTRAS_OF_PROJECT.items() if name not in LATER for text in texts]
"""What `make install` installs beside the core; extras that only name other extras of ours are among it."""
BENCH = {canonical(Requirement(text).name) for text in EXTRAS_OF_PROJECT["bench"]}
"""What benchmarks compare with or are judged by: not installed with the project or its tests."""
DOCS = [Requirement(text) for text in EXTRAS_OF_PROJECT["docs"]]
FOR_DOCS_ALONE = {
    "babel", "backrefs", "ghp-import", "mergedeep", "mkdocs", "mkdocs-autorefs", "mkdocs-get-deps", "mkdocs-material",
    "mkdocs-material-extensions", "mkdocstrings", "mkdocstrings-python", "paginate", "pymdown-extensions",
    "pyyaml-env-tag", "watchdog",
}  # fmt: skip
"""What `make docs` pulls in and nothing else does."""
BELOW_3_11_3 = {"async-timeout"}
"""What is pulled in on the first patch versions of Python 3.11 alone, which Debian has."""


@cache
def needed() -> set[str]:
    """Every distribution that the project and its tests pull in, by canonical name."""
    asked_for = [*map(Requirement, PROJECT["dependencies"]), *INSTALLED]
    return pulled_in(one for one in asked_for if one.name != PROJECT["name"])


def pulled_in(asked_for: Iterable[Requirement]) -> set[str]:
    waiting = list(asked_for)
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (canonical(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        found.add(key)
        extras = requirement.extras or {""}
        for child in map(Requirement, metadata.distribution(requirement.name).requires or []):
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(child)
    return {name for name, _ in found}


def test_pins_are_names_and_versions() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []


def test_everything_that_is_pulled_in_is_pinned() -> None:
    assert needed() - {pin.split("==")[0] for pin in PINS} == set()


def test_nothing_is_pinned_that_is_not_pulled_in() -> None:
    assert {pin.split("==")[0] for pin in PINS} - needed() - BENCH - FOR_DOCS_ALONE - BELOW_3_11_3 == set()


def test_what_the_benchmarks_compare_with_is_pinned() -> None:
    assert BENCH - {pin.split("==")[0] for pin in PINS} == set()


def test_what_builds_the_documentation_is_pinned_and_free() -> None:
    pytest.importorskip("mkdocs", reason="`make docs` installs mkdocs")
    found = pulled_in(DOCS)
    assert found - {pin.split("==")[0] for pin in PINS} == set()
    assert found >= FOR_DOCS_ALONE
    assert [name for name in sorted(found) if is_under_the_gpl(name)] == []


def is_under_the_gpl(name: str) -> bool:
    about = metadata.metadata(name)
    words = [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
    words += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return bool(re.search(r"\bA?GPL|GNU (Affero )?General Public", " ".join(words)))


def test_no_dependency_is_under_the_gpl() -> None:
    assert [name for name in sorted(needed() - CHOICE_OF_LICENCE) if is_under_the_gpl(name)] == []
    assert is_under_the_gpl("text-unidecode")  # the check sees one where there is one
