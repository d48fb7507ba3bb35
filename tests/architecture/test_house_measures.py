"""What the limits stand on: a small package with one of each fault, whose measures are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import house_measures, import_graph
from benchmarks.house_measures import House
from benchmarks.import_graph import find_cycles, imported_modules

PYPROJECT = """
[tool.importlinter]
root_packages = ["demo"]
[[tool.importlinter.contracts]]
name = "downwards"
type = "layers"
layers = ["demo.top", "demo.left | demo.right", "demo.low"]
"""
FILES = {
    "__init__.py": "",
    "top.py": "from demo import left\nclass Pair: ...\ndef score_pair() -> None: ...\ndef score() -> None: ...\n",
    "left/__init__.py": "",
    "left/one.py": "def _f():\n    from demo.left.two import Pair\n    x: dict[str, Any]\n",
    "left/two.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import demo.left.one\nclass Pair: ...\n",
    "right.py": "from demo.left import two\n",
    "low.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .top import Pair\n",
    "loose.py": 'from importlib import import_module\nimport_module("demo.low")\n',
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for name, text in FILES.items():
        path = tmp_path / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return House(tmp_path)


def test_imports_are_found_in_functions_under_type_checking_and_by_name(house: House) -> None:
    assert house.graph.edges == {
        ("demo.top", "demo.left"),
        ("demo.left.one", "demo.left.two"),
        ("demo.left.two", "demo.left.one"),
        ("demo.right", "demo.left.two"),
        ("demo.low", "demo.top"),
        ("demo.loose", "demo.low"),
    }


def test_imports_upwards_and_between_members_of_a_layer_are_told(house: House) -> None:
    assert house.graph.upward_imports(house.layers) == ["demo.low imports demo.top", "demo.right imports demo.left.two"]
    assert house.graph.without_layer(house.layers) == ["demo.loose"]


def test_circles_are_told_of_modules_and_of_folders(house: House) -> None:
    assert house.graph.cycles == [("demo.left.one", "demo.left.two")]
    assert house.graph.cycles_of_rooms() == []
    assert find_cycles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]) == [("a", "b", "c")]


def test_a_relative_import_is_found_from_a_module_and_from_a_package() -> None:
    known = {"a", "a.b", "a.b.c", "a.d"}
    assert imported_modules("from . import c", "a.b", True, known) == {"a.b.c"}
    assert imported_modules("from ..d import x", "a.b.c", False, known) == {"a.d"}


def test_names_and_sizes_are_counted(house: House) -> None:
    assert house.repeated_classes() == {"Pair": ["demo/left/two.py", "demo/top.py"]}
    assert house.public_functions() == ["score_pair", "score"]
    assert house.untyped_lines() == ["demo/left/one.py:3"]
    assert (len(house.top_modules()), house.top_folders()) == (5, ["left"])
    assert house.function_lengths()["demo/left/one.py:1 _f"] == 3


def test_a_layer_may_name_its_container_and_members_that_know_each_other(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(PYPROJECT.replace("demo.", "").replace("left | right", "left : right") + 'containers = ["demo"]\n')
    assert import_graph.read_layers(path) == ({"demo.top"}, {"demo.left", "demo.right"}, {"demo.low"})


def test_the_figures_are_printed_for_any_checkout(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house_measures.main([str(house.root)]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in ("imports upwards 2", "cycles of modules 1 (of 2)", "public functions of one word 1 of 2 (50%)"):
        assert line in printed
