"""The examples in docstrings of the study's words and columns say what is so."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from siamese_med.scoring.change import comparability
from siamese_med.study import pair_score, vocabulary


@pytest.mark.parametrize("module", [comparability, pair_score, vocabulary], ids=lambda module: module.__name__)
def test_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
