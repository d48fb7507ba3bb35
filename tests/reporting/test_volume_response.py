"""Response categories by volume: the limits of the criteria, the error of the volumes, and what the page says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamese_med.reporting.data.volume_response import VOLUME_RULES, assess_volume_response
from siamese_med.study.config import ReportConfig
from tests.reporting.conftest import build
from tests.reporting.test_lesions_page import LESIONS, SUBJECT, section
from tests.reporting.test_pages import Reader

RANO, RECIST = VOLUME_RULES["rano"], VOLUME_RULES["recist"]


@pytest.mark.parametrize(
    ("volumes", "rano", "recist"),
    [
        ((10, 13.9), "stable", "stable"),
        ((10, 14.1), "progression", "stable"),
        ((10, 17.4), "progression", "progression"),
        ((10, 3.6), "stable", "stable"),
        ((10, 3.45), "partial response", "stable"),
        ((10, 3.4), "partial response", "partial response"),
        ((10, 0), "complete response", "complete response"),
        ((0, 0), "stable", "stable"),
        ((0, 0.1), "progression", "progression"),
        ((10, 3, 4.5), "progression", "stable"),  # against the smallest, not the first
        ((10, 2, 2.2), "partial response", "partial response"),  # against the first
    ],
)
def test_the_limits_are_those_of_the_criteria(volumes: tuple[float, ...], rano: str, recist: str) -> None:
    given = [(volume, 0.01 * volume) for volume in volumes]
    assert assess_volume_response(given, RANO).category == rano
    assert assess_volume_response(given, RECIST).category == recist


@pytest.mark.parametrize(
    ("volumes", "certain"),
    [
        ([(10, 1), (14.5, 1.45)], False),
        ([(10, 0.1), (14.5, 0.145)], True),
        ([(10, 1), (13, 1.3)], False),  # stable, but progression is not out of the question
        ([(10, 0.2), (10.5, 0.2)], True),
        ([(10, 1), (3.2, 0.4)], False),
        ([(10, 1), (1, 0.1)], True),
    ],
)
def test_a_category_is_beyond_the_error_where_the_volumes_say_so(
    volumes: list[tuple[float, float]], certain: bool
) -> None:
    assert assess_volume_response(volumes, RANO).beyond_error is certain


def test_the_page_and_the_json_say_it_if_it_was_asked_for(tmp_path: Path) -> None:
    inputs = build(tmp_path / "asked", ReportConfig(response="rano")).only("stable")
    inputs.lesions = LESIONS
    inputs.write()
    foot = " ".join(Reader(section(inputs).partition("<tfoot>")[2].partition("</tfoot>")[0]).text.split())
    said = "Response by volume (RANO) first date progression within the error 47 % from the smallest 1 new"
    assert foot.endswith(said)
    report = json.loads((inputs.reports / SUBJECT / "report.json").read_text(encoding="utf-8"))
    (line,) = report["lesions"]
    assert line["rule"] == {"name": "RANO", "least_decrease_percent": 65.0, "least_increase_percent": 40.0}
    assert [load["response"] and load["response"]["from_smallest_percent"] for load in line["loads"]] == [None, 46.6]


def test_it_is_not_on_a_page_that_nobody_asked_to_have_it(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.lesions = LESIONS
    inputs.write()
    assert "Response" not in section(inputs)
