"""The machinery learns what the tutorials learn: three recipes on unseen images of scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import digits

LONG = ("bce", "contrastive")
"""Explicit pairs need more steps than a batch's."""


@pytest.mark.parametrize(
    "tutorial", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in digits.TUTORIALS]
)
def test_unseen_digits_are_told_apart(
    tutorial: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = digits.run(tutorial, 0, tmp_path)
    record_property("auc", round(outcome.auc, 4))
    assert outcome.auc >= 0.95
