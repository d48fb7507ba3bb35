"""Which module of a package imports which, read from the source: at the top, inside functions, under TYPE_CHECKING."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Layers = tuple[frozenset[str], ...]


@dataclass(frozen=True)
class ImportGraph:
    """The modules of some packages by dotted name, and the edges between them.

    modules: dotted name to file. edges: (importing module, imported module), both among `modules`.
    """

    modules: Mapping[str, Path]
    edges: frozenset[tuple[str, str]]

    @cached_property
    def cycles(self) -> list[tuple[str, ...]]:
        """Groups of modules each of which reaches every other one, sorted."""
        return find_cycles(self.edges)

    def cycles_of_rooms(self) -> list[tuple[str, ...]]:
        """As `cycles`, where everything below one file or folder at the top of a package counts as one."""
        rooms = {(room_of(one), room_of(other)) for one, other in self.edges}
        return find_cycles((one, other) for one, other in rooms if one != other)

    def upward_imports(self, layers: Layers) -> list[str]:
        """Imports from a lower layer to a higher one, or between two members of one layer: `low imports high`."""
        found = []
        for one, other in sorted(self.edges):
            mine, theirs = place_of(one, layers), place_of(other, layers)
            if mine is not None and theirs is not None and mine[1] != theirs[1] and mine[0] >= theirs[0]:
                found.append(f"{one} imports {other}")
        return found

    def without_layer(self, layers: Layers) -> list[str]:
        """Modules that no layer names, but for the `__init__` of a package itself."""
        return sorted(name for name in self.modules if "." in name and place_of(name, layers) is None)


def read_graph(root: Path, packages: Sequence[str]) -> ImportGraph:
    """Parse all modules of packages that lie in `root`.

    Parameters
    ----------
    root
        A checkout.
    packages
        Names of folders in it.
    """
    modules = {_dotted(path, root): path for package in packages for path in sorted((root / package).rglob("*.py"))}
    edges = {
        (name, imported)
        for name, path in modules.items()
        for imported in imported_modules(path.read_text(encoding="utf-8"), name, path.stem == "__init__", modules)
        if imported != name
    }
    return ImportGraph(modules, frozenset(edges))


def imported_modules(source: str, name: str, is_package: bool, known: Iterable[str]) -> set[str]:
    """The known modules that a module imports, wherever in it: `from a import b` is `a.b` where that is a module.

    >>> sorted(imported_modules("from a import b, c", "a.d", False, {"a", "a.b", "a.d"}))
    ['a', 'a.b']
    """
    known = set(known)
    found = set()
    for node in ast.walk(ast.parse(source)):
        for base, member in _imports_of(node, name, is_package):
            found.add(f"{base}.{member}" if f"{base}.{member}" in known else base)
    return found & known


def _imports_of(node: ast.AST, name: str, is_package: bool) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = name.split(".")
        above = parts[: len(parts) - node.level + is_package] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield from ((base, alias.name) for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
            yield node.args[0].value, ""


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The file or folder at the top of the package that a module lies in: `a.b` of `a.b.c`."""
    return ".".join(module.split(".")[:2])


def place_of(module: str, layers: Layers) -> tuple[int, str] | None:
    """The number of a module's layer, from the top, and the member of the layer that it is or lies in."""
    found = [
        (number, member)
        for number, members in enumerate(layers)
        for member in members
        if module == member or module.startswith(f"{member}.")
    ]
    return max(found, key=lambda one: len(one[1])) if found else None


def find_cycles(edges: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Groups of nodes each of which reaches every other one of its group; a group has at least two.

    >>> find_cycles([("a", "b"), ("b", "a"), ("b", "c")])
    [('a', 'b')]
    """
    below: dict[str, set[str]] = {}
    for one, other in edges:
        below.setdefault(one, set()).add(other)
    reach = {node: _reached_from(node, below) for node in below}
    groups = {tuple(sorted(n for n in reach[node] if node in reach.get(n, set()))) for node in below}
    return sorted(group for group in groups if len(group) > 1)


def _reached_from(node: str, below: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        fresh = below.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def read_contracts(pyproject: Path) -> list[dict[str, Any]]:
    """The import contracts in a pyproject.toml; none where there is no such file."""
    return list(_importlinter(pyproject).get("contracts", []))


def read_layers(pyproject: Path) -> Layers:
    """The order of imports from the top, of the first contract of the type `layers`."""
    for contract in read_contracts(pyproject):
        if contract["type"] == "layers":
            prefix = "".join(f"{one}." for one in contract.get("containers", [])[:1])
            return tuple(frozenset(_members(layer, prefix)) for layer in contract["layers"])
    return ()


def _members(layer: str, prefix: str) -> list[str]:
    return [prefix + member.strip(" ()") for member in layer.replace(":", "|").split("|")]


def read_packages(pyproject: Path) -> list[str]:
    """The packages that the contracts are about; `siamese_med` and `flows` where nothing says so."""
    found = _importlinter(pyproject)
    named = found.get("root_packages") or [found[key] for key in ("root_package",) if key in found]
    return list(named) or ["siamese_med", "flows"]


def _importlinter(pyproject: Path) -> dict[str, Any]:
    if not pyproject.is_file():
        return {}
    tools = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
    return dict(tools.get("importlinter", {}))
