"""The direction of imports, and what may be imported where."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.commands import ROOT

PACKAGE = ROOT / "siamese_med"
FLOWS = PACKAGE / "flows"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FLOW_LINES = 350, 150
NUMBERS = {"torch", "numpy", "pydicom", "nibabel", "monai", "pandas", "scipy", "sklearn"}
"""What a flow leaves to the stages."""

WHERE = {
    "prefect": {"flows"},
    "pydicom": {"ingestion", "simulation", "dicom_export"},
    "highdicom": {"dicom_export"},
    "gdcm": {"ingestion", "simulation"},
    "nibabel": {"imaging", "ingestion"},
}
"""Which folders of siamese_med may import what."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@cache
def imports(path: Path) -> frozenset[str]:
    """Top-level packages that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return frozenset(found)


def test_packages_are_imported_only_where_they_belong() -> None:
    strays = []
    for path in MODULES:
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        allowed = {package for package, homes in WHERE.items() if part in homes}
        strays += [f"{named(path)} imports {package}" for package in imports(path) & WHERE.keys() - allowed]
    assert strays == []


def test_flows_are_thin() -> None:
    files = sorted(FLOWS.glob("*.py"))
    assert files
    assert [named(path) for path in files if lines(path) >= FLOW_LINES] == []
    assert [f"{named(path)} imports {package}" for path in files for package in imports(path) & NUMBERS] == []


def test_modules_are_short() -> None:
    assert [f"{named(path)}: {lines(path)} lines" for path in MODULES if lines(path) > MODULE_LINES] == []


def test_modules_are_named_by_what_they_hold() -> None:
    assert [named(path) for path in MODULES if path.stem in {"utils", "helpers", "common", "misc"}] == []


def test_modules_are_imported_inwards_from_modules() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py" and path.parent not in (PACKAGE, FLOWS)]
    assert packages
    for path in packages:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in statements), f"{named(path)} holds more than a docstring"
