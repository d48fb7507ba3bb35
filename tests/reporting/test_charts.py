"""Figures behind the charts, by hand, and how numbers are written."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med import wording
from siamese_med.config import ReportConfig
from siamese_med.reporting import references
from siamese_med.reporting.charts.curves import roc_points
from siamese_med.reporting.charts.histogram import histogram
from siamese_med.reporting.charts.plot import Range, nice_ticks
from siamese_med.reporting.references import ModelFolder
from tests.reporting.conftest import HOSTILE, Inputs


def test_roc_points_by_hand_with_a_tie_and_a_missing_score() -> None:
    same = np.array([True, True, False, False, True])
    wrong, right = roc_points(same, np.array([0.9, 0.5, 0.5, 0.1, np.nan]))
    assert wrong.tolist() == [0, 0, 0.5, 1]
    assert right.tolist() == [0, 0.5, 1, 1]


def test_roc_points_agree_with_scikit_learn() -> None:
    from sklearn.metrics import auc, roc_auc_score

    random = np.random.default_rng(1)
    same = random.random(400) < 0.3
    score = np.round(same + random.normal(0, 0.8, 400), 1)
    assert auc(*roc_points(same, score)) == pytest.approx(roc_auc_score(same, score))


def test_roc_of_one_kind_alone_is_chance() -> None:
    assert [points.tolist() for points in roc_points(np.array([True, True]), np.array([0.1, 0.2]))] == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 8.6, [-2.5, 0, 2.5, 5, 7.5]), (2, 2, [2])]
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == ticks


def test_a_range_clips() -> None:
    assert [Range(2, 4).share(value) for value in (1, 2, 3, 9)] == [0, 0, 0.5, 1]


def test_words_in_charts_are_escaped() -> None:
    chart = histogram(HOSTILE, HOSTILE, [("s0", HOSTILE, [1.0, 2.0, float("nan")])])
    assert "<script>" not in chart
    assert "2 &lt;/script&gt;" in chart


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.fixed(None), "–"),
        (wording.fixed(float("nan")), "–"),
        (wording.fixed(-0.001), "0.00"),
        (wording.fixed(-1.26, 1), "−1.3"),
        (wording.measure(None, after=" ml"), "–"),
        (wording.measure(1.5, 1, "z "), "z 1.5"),
        (wording.probability(0.99999), "> 0.999"),
        (wording.probability(0.0001), "< 0.001"),
        (wording.probability(0.0512), "0.051"),
        (wording.percent(0.01), "1\u00a0%"),
        (wording.interval(1), "1 day"),
        (wording.interval(float("nan")), "unknown"),
        (wording.sizes([1, None]), "1.0 × –"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_the_reference_band_ends_where_a_further_pair_without_change_becomes_unlikely() -> None:
    change = {"n": 3, "source": "rescans", "mean": 5.0, "sd": 2.0, "values": [3, 5, 7]}
    reference = references.reference({"change_reference": change})
    assert reference.values_z == (-1, 0, 1)
    # Student's t with two degrees of freedom leaves 5 % above 2.920; one more pair adds its own spread
    assert reference.band_z == pytest.approx((-2.920 * (4 / 3) ** 0.5, 2.920 * (4 / 3) ** 0.5), abs=1e-3)
    assert references.reference({}).band_z == references.NORMAL_BAND


def test_a_model_without_metrics_claims_nothing(study: Inputs) -> None:
    for name in ("metrics.json", "reference.parquet", "gallery.npz", "training_log.csv"):
        (study.model / name).unlink()
    model = (study.write().parent / "model.html").read_text(encoding="utf-8")
    assert "nothing is claimed for its similarity" in model
    assert "Nothing was measured on test patients" in model


def test_provenance_names_the_seeds_and_digests(written: Inputs) -> None:
    facts = references.provenance(references.read(written.model), ReportConfig())
    assert facts.seeds == {"pair": 5, "train": 3, "measured": 11}
    assert facts.weights_sha256 == "a7" * 32
    changed = {"config": {"train": {"seed": 4}}}
    other = references.provenance(ModelFolder(written.model, changed, {}), ReportConfig())
    assert other.model_config_sha256 != facts.model_config_sha256
