"""Reading a model's figures, also from a folder that was made elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from siamese_med.reporting.model import metrics_file
from siamese_med.study.model_metrics import Estimate, ModelMetrics
from tests import trained


def read(metrics: dict[str, Any]) -> metrics_file.ModelFigures:
    return metrics_file.read_model_figures(trained.model_info(), ModelMetrics.model_validate(metrics))


def test_every_part_of_the_metrics_is_read() -> None:
    measured = metrics_file.read_model_figures(trained.model_info(), trained.model_metrics("network", ("outline",)))
    assert [method.key for method in measured.methods] == list(metrics_file.METHOD_NAMES)
    assert all(None not in vars(figure).values() for method in measured.methods for figure in method.figures.values())
    assert measured.network is measured.best
    assert measured.best_baseline
    assert measured.best_baseline.key == "ncc_highpass"
    assert measured.audit
    assert [shortcut.key for shortcut in measured.audit.failed] == ["outline"]
    assert measured.audit.shortcuts[0].in_scans.value == 0.734
    assert len(measured.calibration.bins) == 10
    assert [len(groups) for groups in measured.strata.values()] == [3, 4, 4]
    similarity = measured.strata["contrast"][2].similarity
    assert (similarity.value, similarity.low, similarity.high) == pytest.approx((0.71, 0.41, 0.99))


@pytest.mark.parametrize(
    "partial",
    [
        {},
        {"test": {}, "calibration": {}, "patients": {}, "pairs_test": {}, "strata": {}, "training": {}},
        {"test": {"network": {"auc": None}, "ncc": {}}, "audit": {"limit": None, "auc": {"header": 0.7}}},
        {"strata": {"scanner": []}, "audit": {"limit": 0.6}, "change_labels": None, "another version": 4},
    ],
)
def test_figures_that_are_missing_are_what_was_not_recorded(partial: dict[str, Any]) -> None:
    measured = read(partial)
    assert all(method.auc.value is None for method in measured.methods)
    assert measured.audit is None
    assert measured.calibration.bins == ()
    assert measured.calibration.error.value is None


def test_a_shortcut_of_another_version_is_shown_under_its_own_name() -> None:
    recorded = {"limit": 0.6, "auc": {"histogram": 0.5, "smell": {"value": 0.9, "low": 0.8, "high": 1.0}}, "failed": []}
    audit = read({"audit": recorded}).audit
    assert audit
    assert [(shortcut.name, shortcut.failed) for shortcut in audit.shortcuts] == [
        ("the intensity histogram", False),
        ("smell", True),
    ]


def test_a_shortcut_with_nothing_to_look_at_neither_passes_nor_fails() -> None:
    nothing = {"value": None, "low": None, "high": None}
    audit = read({"audit": {"limit": 0.6, "auc": {"background": nothing, "header": 0.5}}}).audit
    assert audit
    assert [(shortcut.key, shortcut.outcome) for shortcut in audit.shortcuts] == [
        ("header", "within the limit"),
        ("background", "nothing to look at"),
    ]
    assert [shortcut.key for shortcut in audit.measured] == ["header"]
    assert audit.failed == ()


def test_a_bare_number_is_a_figure_without_an_interval() -> None:
    measured = read({"calibration": {"ece": 0.02}})
    assert measured.calibration.error == Estimate(0.02)
