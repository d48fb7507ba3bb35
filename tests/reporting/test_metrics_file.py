"""Reading a model's figures, also from a folder that was made elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from siamese_med.reporting.model import metrics_file
from siamese_med.reporting.model.metrics_file import IntervalEstimate
from tests import trained


def test_every_part_of_the_metrics_is_read() -> None:
    measured = metrics_file.read_model_figures(trained.about(), trained.metrics("network", ("outline",)))
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
    assert measured.strata["contrast"][2].similarity == IntervalEstimate(0.71, pytest.approx(0.41), 0.99)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"test": [], "audit": 3, "strata": "x", "calibration": None, "patients": 4, "pairs_test": None},
        {"test": {"network": {"auc": None}, "ncc": 1}, "audit": {"limit": None, "auc": {"header": 0.7}}},
        {"calibration": {"bins": [None, {"predicted": "x"}]}, "strata": {"interval": [None, {}], "scanner": {}}},
        {"test": {"network": {"auc": {"value": float("nan")}}}, "false_match_rate_test": "high"},
    ],
)
def test_odd_metrics_become_what_was_not_recorded(broken: dict[str, Any]) -> None:
    measured = metrics_file.read_model_figures({"config": None, "threshold": "x"}, broken)
    assert all(method.auc.value is None for method in measured.methods)
    assert measured.audit is None
    assert measured.calibration.bins == ()
    assert measured.calibration.threshold is None


def test_a_shortcut_of_another_version_is_shown_under_its_own_name() -> None:
    recorded = {"limit": 0.6, "auc": {"histogram": 0.5, "smell": {"value": 0.9, "low": 0.8, "high": 1.0}}, "failed": []}
    audit = metrics_file.read_model_figures({}, {"audit": recorded}).audit
    assert audit
    assert [(shortcut.name, shortcut.failed) for shortcut in audit.shortcuts] == [
        ("the intensity histogram", False),
        ("smell", True),
    ]


def test_a_shortcut_with_nothing_to_look_at_neither_passes_nor_fails() -> None:
    nothing = {"value": None, "low": None, "high": None}
    audit = metrics_file.read_model_figures(
        {}, {"audit": {"limit": 0.6, "auc": {"background": nothing, "header": 0.5}}}
    ).audit
    assert audit
    assert [(shortcut.key, shortcut.outcome) for shortcut in audit.shortcuts] == [
        ("header", "within the limit"),
        ("background", "nothing to look at"),
    ]
    assert [shortcut.key for shortcut in audit.measured] == ["header"]
    assert audit.failed == ()


def test_a_bare_number_is_a_figure_without_an_interval() -> None:
    measured = metrics_file.read_model_figures({}, {"calibration": {"ece": 0.02}})
    assert measured.calibration.error == IntervalEstimate(0.02)
