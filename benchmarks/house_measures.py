"""Measure how the code is arranged: files and folders, imports, names, types, lengths, docstrings.

The limits that tests/architecture/test_house.py holds are measured here. Works on any checkout, of other commits too:

    git worktree add ../before 40e29ec
    python -m benchmarks.house_measures ../before
    python -m benchmarks.house_measures
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.import_graph import ImportGraph, Layers, read_contracts, read_graph, read_layers, read_packages

ROOT = Path(__file__).parents[1]
UNTYPED_OBJECT = "dict[str, Any]"
SECTIONS = re.compile(r"^ *(Parameters|Returns|Yields)\n *-{3,}$|^ *(Args|Returns):$", re.MULTILINE)
EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


@dataclass(frozen=True)
class House:
    """The packages of one checkout, parsed."""

    root: Path

    @property
    def pyproject(self) -> Path:
        """The file that names packages and layers."""
        return self.root / "pyproject.toml"

    @cached_property
    def packages(self) -> list[str]:
        """The packages that are measured, as pyproject.toml names them for import-linter."""
        return [name for name in read_packages(self.pyproject) if (self.root / name).is_dir()]

    @cached_property
    def graph(self) -> ImportGraph:
        """All imports."""
        return read_graph(self.root, self.packages)

    @cached_property
    def layers(self) -> Layers:
        """The order of imports that pyproject.toml states."""
        return read_layers(self.pyproject)

    @cached_property
    def sources(self) -> dict[Path, str]:
        """Every file with its text."""
        return {path: path.read_text(encoding="utf-8") for path in self.graph.modules.values()}

    @cached_property
    def trees(self) -> dict[Path, ast.Module]:
        """Every file, parsed."""
        return {path: ast.parse(text) for path, text in self.sources.items()}

    def named(self, path: Path) -> str:
        """A file's path from the root of the checkout."""
        return path.relative_to(self.root).as_posix()

    def top_modules(self) -> list[str]:
        """Files at the top of the first package, `__init__` and `__main__` among them."""
        return sorted(self.named(path) for path in self.sources if path.parent == self.root / self.packages[0])

    def top_folders(self) -> list[str]:
        """Folders with code at the top of the first package."""
        package = self.root / self.packages[0]
        inside = (path.relative_to(package).parts for path in self.sources if path.is_relative_to(package))
        return sorted({parts[0] for parts in inside if len(parts) > 1})

    def folders(self) -> list[str]:
        """All folders with code, the packages themselves among them."""
        return sorted({self.named(path.parent) for path in self.sources})

    def untyped_lines(self) -> list[str]:
        """Lines with `dict[str, Any]`."""
        return [
            f"{self.named(path)}:{number}"
            for path, text in self.sources.items()
            for number, line in enumerate(text.splitlines(), 1)
            if UNTYPED_OBJECT in line
        ]

    def repeated_classes(self) -> dict[str, list[str]]:
        """Names of classes that are defined more than once, with the files."""
        found: dict[str, list[str]] = {}
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(self.named(path))
        return {name: files for name, files in sorted(found.items()) if len(files) > 1}

    def public_functions(self) -> list[str]:
        """Names of public functions at the top of modules."""
        return [node.name for tree in self.trees.values() for node in _public_functions(tree.body)]

    def public_methods(self) -> list[str]:
        """Names of public methods, properties among them."""
        classes = [node for tree in self.trees.values() for node in tree.body if isinstance(node, ast.ClassDef)]
        return [node.name for one in classes for node in _public_functions(one.body)]

    def function_lengths(self) -> dict[str, int]:
        """Lines of every function and method without its decorators."""
        return {
            f"{self.named(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
            for path, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, Function)
        }

    def docstrings(self) -> list[str]:
        """Docstrings of all modules, classes and functions."""
        nodes = (node for tree in self.trees.values() for node in ast.walk(tree))
        texts = (ast.get_docstring(node) for node in nodes if isinstance(node, ast.Module | Documented))
        return [text for text in texts if text]


def one_word_names(names: Sequence[str]) -> list[str]:
    """Names without an underscore.

    >>> one_word_names(["write", "write_table"])
    ['write']
    """
    return [name for name in names if "_" not in name]


def _public_functions(body: Sequence[ast.stmt]) -> Iterator[Function]:
    return (node for node in body if isinstance(node, Function) and not node.name.startswith("_"))


def measure_house(root: Path) -> list[tuple[str, str]]:
    """Measure a checkout.

    Parameters
    ----------
    root
        Folder with pyproject.toml and the packages.

    Returns
    -------
    list of (str, str)
        What was measured, and the figure.
    """
    house = House(root)
    return [*_measure_layout(house), *_measure_imports(house), *_measure_names(house), *_measure_docstrings(house)]


def _measure_layout(house: House) -> list[tuple[str, str]]:
    lines = [len(text.splitlines()) for text in house.sources.values()]
    longest = max(house.function_lengths().items(), key=lambda one: one[1])
    return [
        ("packages", ", ".join(house.packages)),
        ("files, and lines in them", f"{len(lines)}, {sum(lines)}"),
        ("longest file, lines", str(max(lines))),
        (f"modules at the top of {house.packages[0]}", str(len(house.top_modules()))),
        (f"folders at the top of {house.packages[0]}", str(len(house.top_folders()))),
        ("folders with code, all", str(len(house.folders()))),
        ("longest function, lines", f"{longest[1]} ({longest[0]})"),
        (f"lines with {UNTYPED_OBJECT}", str(len(house.untyped_lines()))),
    ]


def _measure_imports(house: House) -> list[tuple[str, str]]:
    contracts = read_contracts(house.pyproject)
    return [
        ("import contracts", str(len(contracts))),
        ("layers in the first of them", str(len(house.layers)) if house.layers else "none stated"),
        ("imports between modules", str(len(house.graph.edges))),
        ("imports upwards", str(len(house.graph.upward_imports(house.layers))) if house.layers else "no order stated"),
        ("modules that no layer names", str(len(house.graph.without_layer(house.layers))) if house.layers else "all"),
        ("cycles of modules", _sizes(house.graph.cycles)),
        ("cycles of files and folders at the top", _sizes(house.graph.cycles_of_rooms())),
    ]


def _sizes(groups: Sequence[Sequence[str]]) -> str:
    return f"{len(groups)} (of {', '.join(str(len(one)) for one in groups)})" if groups else "0"


def _measure_names(house: House) -> list[tuple[str, str]]:
    functions, methods = house.public_functions(), house.public_methods()
    repeated = [name for name, count in Counter(functions).items() if count > 1]
    return [
        ("classes of one name defined twice", str(len(house.repeated_classes()))),
        ("public functions of one word", _share(len(one_word_names(functions)), len(functions))),
        ("public methods of one word", _share(len(one_word_names(methods)), len(methods))),
        ("both together", _share(len(one_word_names([*functions, *methods])), len(functions) + len(methods))),
        ("names of public functions defined twice", str(len(repeated))),
    ]


def _measure_docstrings(house: House) -> list[tuple[str, str]]:
    texts = house.docstrings()
    words = [len(text.split()) for text in texts] or [0]
    return [
        ("docstrings", str(len(texts))),
        ("words in them, mean and median", f"{statistics.mean(words):.1f}, {statistics.median(words):.0f}"),
        ("with Parameters, Returns or Yields", str(sum(bool(SECTIONS.search(text)) for text in texts))),
        ("with an example", str(sum(bool(EXAMPLE.search(text)) for text in texts))),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(whole, 1):.0%})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of one checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="a checkout; default: this one")
    for name, figure in measure_house(parser.parse_args(arguments).root.resolve()):
        sys.stdout.write(f"{name:42}{figure}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
