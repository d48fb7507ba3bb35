"""The machinery learns what the tutorials learn: three recipes on unseen images of scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import digits


@pytest.mark.long
@pytest.mark.parametrize("tutorial", digits.TUTORIALS)
def test_unseen_digits_are_told_apart(
    tutorial: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = digits.run(tutorial, 0, tmp_path)
    record_property("auc", round(outcome.auc, 4))
    assert outcome.auc >= 0.95
