"""Docstrings of the package: there is one wherever a reader looks for it, and its examples are true."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.commands import ROOT

PACKAGE = ROOT / "siamese_med"
MODULES = sorted(PACKAGE.rglob("*.py"))
WITH_EXAMPLES = [path for path in MODULES if ">>>" in path.read_text(encoding="utf-8")]
IMPERATIVE_FOLDERS = (
    "cli", "dicom_export", "flows", "imaging", "ingestion", "network", "pairing", "pipeline", "preparation",
    "reporting", "runtime", "scoring", "simulation", "study", "training",
)  # fmt: skip
"""Folders whose public functions have to say what they do in the imperative. Add a folder once all of its own do."""
NO_VERB = re.compile(
    r"(?!embed\b|feed\b|need\b|speed\b|bring\b)(\w+ed|\w+ing|\w*[^s\W]s"
    r"|an?|the|this|all|one|each|every|what|where|which|who|whose|how|why|when|whether|about|if|in|of|for|from|to)\b",
    re.IGNORECASE,
)
"""A first word that is no verb in the imperative: a participle, a third person or plural, an article and the like."""

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def public(path: Path) -> Iterator[Named]:
    """The functions and classes at the top of a module that others may use."""
    for node in tree(path).body:
        if isinstance(node, Named) and not node.name.startswith("_"):
            yield node


def starts_with_a_verb(docstring: str) -> bool:
    return NO_VERB.match(docstring) is None


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_name)
def test_examples_are_true(path: Path) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    tests = doctest.DocTestFinder().find(importlib.import_module(module_name(path)))
    for one in tests:
        runner.run(one, out=said.append)
    assert said == []
    written = len(re.findall(r"^ *>>>", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert sum(len(one.examples) for one in tests) == written, "an example is in no docstring of the module's own"


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) >= 10


def test_an_example_that_is_wrong_is_told() -> None:
    said: list[str] = []
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    doctest.DocTestRunner(verbose=False).run(wrong, out=said.append)
    assert "Expected:\n    3\nGot:\n    2" in "".join(said)


def test_every_module_has_a_docstring() -> None:
    assert [module_name(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    bare = [
        f"{module_name(path)}.{node.name}" for path in MODULES for node in public(path) if not ast.get_docstring(node)
    ]
    assert bare == []


def test_public_functions_say_what_they_do_in_the_imperative() -> None:
    strays = []
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] not in IMPERATIVE_FOLDERS:
            continue
        for node in public(path):
            docstring = ast.get_docstring(node) or ""
            if not isinstance(node, ast.ClassDef) and not starts_with_a_verb(docstring):
                strays.append(f"{module_name(path)}.{node.name}: {docstring.splitlines()[0]}")
    assert strays == []


@pytest.mark.parametrize(
    "first", ["Reads a file.", "Aligned scans.", "The scans.", "What a scan shows.", "Scans, sorted."]
)
def test_a_docstring_without_a_verb_is_seen(first: str) -> None:
    assert not starts_with_a_verb(first)


@pytest.mark.parametrize("first", ["Read a file.", "Compress it.", "Align scans.", "Embed it.", "Set it.", "Raise it."])
def test_a_docstring_with_a_verb_is_accepted(first: str) -> None:
    assert starts_with_a_verb(first)
