"""The direction of imports, and what may be imported where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

PACKAGE = ROOT / "siamese_med"
FLOWS = ROOT / "flows"
MODULES = sorted(PACKAGE.rglob("*.py"))

WHERE = {
    "prefect": set(),
    "flows": {"orders", "service"},
    "pydicom": {"ingestion", "phantom", "archive"},
    "highdicom": {"archive"},
    "gdcm": {"ingestion", "phantom"},
    "nibabel": {"volume", "ingestion"},
}
"""Who may import what: the top-level name of a module or folder of siamese_med."""


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_is_imported_only_where_it_belongs(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    strays = {package for package, homes in WHERE.items() if package in imports(path) and part not in homes}
    assert not strays


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_stages_meet_only_in_stages() -> None:
    folders = {"ingestion", "preparation", "pairing", "network", "scoring", "reporting"}
    for folder in folders:
        for path in (PACKAGE / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            others = {other for other in folders - {folder} if f"siamese_med.{other}" in text}
            assert not others, f"{path.relative_to(ROOT)} knows {others}"


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*.py")), ids=lambda path: path.name)
def test_flows_are_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert not imports(path) & {"torch", "numpy", "pydicom", "nibabel", "monai", "pandas", "scipy", "sklearn"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_named_by_what_they_hold(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    if path.name == "__init__.py" and path.parent != PACKAGE:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        assert not [node for node in statements if not isinstance(node, ast.Expr)], (
            "import modules inwards, from modules"
        )
