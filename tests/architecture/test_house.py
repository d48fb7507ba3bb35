"""The limits of how the code is arranged: what `python -m benchmarks.house_measures` prints may not get worse."""

from __future__ import annotations

import pytest

from benchmarks.house_measures import House, one_word_names
from tests.commands import ROOT

MAX_TOP_MODULES, MAX_TOP_FOLDERS = 5, 16
MAX_FUNCTION_LINES = 45
MAX_UNTYPED_LINES = 25
MAX_SHARE_OF_ONE_WORD = 0.25


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def test_few_modules_and_folders_lie_at_the_top(house: House) -> None:
    assert "siamese_med/__init__.py" in house.top_modules()
    assert len(house.top_modules()) <= MAX_TOP_MODULES, house.top_modules()
    assert 1 < len(house.top_folders()) <= MAX_TOP_FOLDERS, house.top_folders()


def test_every_module_has_its_place_in_the_order_of_imports(house: House) -> None:
    assert len(house.layers) > 1
    assert house.graph.without_layer(house.layers) == []


def test_no_import_runs_upwards_whether_in_a_function_or_for_types_alone(house: House) -> None:
    assert house.graph.edges
    assert house.graph.upward_imports(house.layers) == []


def test_no_imports_run_in_a_circle_whether_in_a_function_or_for_types_alone(house: House) -> None:
    assert house.graph.cycles == []
    assert house.graph.cycles_of_rooms() == []


def test_no_class_name_is_defined_twice(house: House) -> None:
    assert house.repeated_classes() == {}


def test_few_lines_hold_objects_without_a_type(house: House) -> None:
    lines = house.untyped_lines()
    assert len(lines) <= MAX_UNTYPED_LINES, lines


def test_public_functions_say_what_they_act_on(house: House) -> None:
    names = house.public_functions()
    assert len(one_word_names(names)) <= MAX_SHARE_OF_ONE_WORD * len(names), sorted(one_word_names(names))


def test_functions_are_short(house: House) -> None:
    lengths = house.function_lengths()
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}
