"""What a stage's result is said to mean."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from siamese_med import outcomes, stages
from siamese_med.outcomes import Order
from siamese_med.records import Prepared, Study


@pytest.mark.parametrize(
    ("aligned", "model", "advised"),
    [((False, False, True), Path("model"), True), ((False, True, True), Path("model"), False), ((False,), None, False)],
)
def test_scans_that_mostly_do_not_fit_a_models_template_come_with_advice(
    aligned: tuple[bool, ...], model: Path | None, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"scan": [f"scan-{n}" for n in range(len(aligned))], "quality": 0.01, "ok": aligned})
    monkeypatch.setattr(stages, "prepare", lambda *_: Prepared(table, Path("template.nii.gz")))
    (problem,) = outcomes.perform("prepare", Order(Study(), model=model)).unfinished
    assert "not aligned" in problem
    assert ("train on this study" in problem) is advised
