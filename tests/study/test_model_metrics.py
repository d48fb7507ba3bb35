"""metrics.json as a typed object: missing figures are None, and what no metrics are is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siamese_med.errors import ModelError
from siamese_med.runtime import files
from siamese_med.study.model_metrics import METRICS_FILE, Estimate, ModelMetrics, read_model_metrics
from tests import trained


def test_what_is_read_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    labels = {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}, "changed": 4, "unchanged": 6, "patients": 8}
    for content in (trained.metrics_json("ncc", ("header",)), {"change_labels": labels}, {"change_labels": None}):
        files.write_json_file(tmp_path / METRICS_FILE, content)
        files.write_json_file(tmp_path / "again.json", read_model_metrics(tmp_path).to_json_object())
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / METRICS_FILE).read_bytes()


def test_a_folder_without_the_file_has_no_figures(tmp_path: Path) -> None:
    assert read_model_metrics(tmp_path) == ModelMetrics()
    assert ModelMetrics().to_json_object() == {}


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (0.9, Estimate(0.9)),
        (None, Estimate()),
        ({"value": 0.9}, Estimate(0.9)),
        ({"value": None, "low": None, "high": None}, Estimate()),
    ],
)
def test_a_figure_may_come_without_its_interval(recorded: object, expected: Estimate) -> None:
    metrics = ModelMetrics.model_validate({"test": {"network": {"auc": recorded}}})
    assert metrics.test["network"].auc == expected


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"test": []}, "test"),
        ({"test": {"network": {"auc": "high"}}}, "test.network.auc"),
        ({"test": {"network": {"auc": {"value": "0.9"}}}}, "test.network.auc.value"),
        ({"audit": 3}, "audit"),
        ({"audit": {"limit": 6}}, "audit.limit"),
        ({"audit": {"failed": "header"}}, "audit.failed"),
        ({"strata": {"scanner": [{"group": "x"}]}}, "strata.scanner.0.kind"),
        ({"calibration": {"bins": [None]}}, "calibration.bins.0"),
        ({"patients": {"test": -1}}, "patients.test"),
        ({"scans": {"test": 1.5}}, "scans.test"),
        ({"seed": "3"}, "seed"),
        ([1], ""),
    ],
)
def test_what_no_metrics_are_is_refused_by_its_place(tmp_path: Path, content: Any, place: str) -> None:
    (tmp_path / METRICS_FILE).write_text(json.dumps(content))
    with pytest.raises(ModelError) as caught:
        read_model_metrics(tmp_path)
    assert "\n" not in str(caught.value)
    assert f"'{place}'" in str(caught.value) or not place
