"""Every number on a page is in the JSON beside it, under the key that the place on the page stands for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.reporting import figures
from tests.reporting.conftest import Inputs, pseudonym

PATIENTS = ("changed", "stable", "mixed", "unlike", "single", "bare")
Check = Callable[[str, dict[str, Any]], list[str]]


def read(written: Inputs, name: str, page: str = "report") -> tuple[Check, str, dict[str, Any]]:
    """What checks a page, its text and its JSON."""
    index = name == "index"
    folder = written.reports if index else written.reports / pseudonym(name)
    text = (folder / f"{'index' if index else page}.html").read_text(encoding="utf-8")
    value = json.loads((folder / f"{'cohort' if index else 'report'}.json").read_text(encoding="utf-8"))
    check = figures.of_index if index else figures.of_patient if page == "report" else figures.of_step
    return check, text, value


@pytest.mark.parametrize(
    ("name", "page"),
    [("index", ""), *((name, "report") for name in PATIENTS), ("changed", "pair-3"), ("changed", "pair-4")],
)
def test_every_number_on_a_page_is_in_its_json(written: Inputs, name: str, page: str) -> None:
    check, text, value = read(written, name, page)
    assert check(text, value) == []


def places(value: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, container, place) of every number that a page may write."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, item in items:
        name = place if isinstance(place, str) and place in figures.FORMS else key
        if place in figures.UNWRITTEN:
            continue
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            yield name, value, place
        yield from places(item, name)


def test_a_number_that_differs_is_found_whatever_its_key(written: Inputs) -> None:
    found, hidden = set(), set()
    pages = [("index", ""), *((name, "report") for name in PATIENTS), ("changed", "pair-3"), ("changed", "pair-4")]
    for name, page in pages:
        check, text, value = read(written, name, page)
        for key, number in sorted({(key, holder[place]) for key, holder, place in places(value)}):
            if key not in found and check(text, _with_another(value, key, number)):
                found.add(key)
            if [holder[place] for _, holder, place in places(value)].count(number) > 1:
                hidden.add(key)  # another number of the page is the same one
    assert set(figures.FORMS) - found - hidden == {"normal_z"}  # the band of a model without pairs
    assert len(found) > len(figures.FORMS) - 5


def _with_another(value: dict[str, Any], key: str, number: float) -> dict[str, Any]:
    """The JSON with another number wherever this one stands under this key."""
    other = deepcopy(value)
    for name, holder, place in places(other):
        if (name, holder[place]) == (key, number):
            holder[place] = number + 1000 if isinstance(number, int) else number / 2 + 0.1234
    return other


def test_a_number_that_is_in_no_json_is_found(written: Inputs) -> None:
    check, text, value = read(written, "changed")
    assert check(text.replace("</main>", "<p>About 7.25 ml.</p></main>"), value)[0].startswith("7.25 in: ")
    assert check(text.replace("Would have been seen", "Would have been seen by 9"), value)[0].startswith("9 in: ")
