"""Figures behind the charts, by hand."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from markupsafe import Markup

from siamese_med.reporting.charts import curves, whiskers
from siamese_med.reporting.charts.curves import compute_roc_points
from siamese_med.reporting.charts.histogram import draw_histogram
from siamese_med.reporting.charts.plot import AxisRange, choose_ticks
from siamese_med.reporting.data.report_content import ReportPair
from siamese_med.reporting.model import reference_figures
from siamese_med.reporting.model.reference_figures import ModelFolder
from siamese_med.study.config import ReportConfig
from siamese_med.study.model_metrics import Estimate, ModelMetrics
from siamese_med.study.pair_score import ReferencePairs
from tests import trained
from tests.reporting.conftest import HOSTILE, Inputs


def test_roc_points_by_hand_with_a_tie_and_a_missing_score() -> None:
    same = np.array([True, True, False, False, True])
    wrong, right = compute_roc_points(same, np.array([0.9, 0.5, 0.5, 0.1, np.nan]))
    assert wrong.tolist() == [0, 0, 0.5, 1]
    assert right.tolist() == [0, 0.5, 1, 1]


def test_roc_points_agree_with_scikit_learn() -> None:
    from sklearn.metrics import auc, roc_auc_score

    random = np.random.default_rng(1)
    same = random.random(400) < 0.3
    score = np.round(same + random.normal(0, 0.8, 400), 1)
    assert auc(*compute_roc_points(same, score)) == pytest.approx(roc_auc_score(same, score))


def test_roc_of_one_kind_alone_is_chance() -> None:
    assert [points.tolist() for points in compute_roc_points(np.array([True, True]), np.array([0.1, 0.2]))] == [
        [0, 1],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 8.6, [-2.5, 0, 2.5, 5, 7.5]), (2, 2, [2])]
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert choose_ticks(low, high) == ticks


def test_a_range_clips() -> None:
    assert [AxisRange(2, 4).share(value) for value in (1, 2, 3, 9)] == [0, 0, 0.5, 1]


def test_words_in_charts_are_escaped() -> None:
    chart = draw_histogram(HOSTILE, HOSTILE, [("s0", HOSTILE, [1.0, 2.0, float("nan")])])
    assert "<script>" not in chart
    assert "2 &lt;/script&gt;" in chart


def points(chart: Markup, style: str) -> list[tuple[float, float]]:
    """Corners of a chart's line of one style, in pixels."""
    (line,) = re.findall(f'<polyline class="{style}" points="([^"]*)"', chart)
    return [(float(x), float(y)) for x, y in (corner.split(",") for corner in line.split())]


def test_normally_distributed_scores_are_a_straight_line_on_det_axes() -> None:
    random = np.random.default_rng(0)
    same = np.repeat([True, False], 60_000)
    score = random.normal(0, 1, len(same)) + 2.0 * same
    corners = np.array(
        points(curves.draw_det_curves([("network", curves.compute_roc_points(same, score))]), "series s0")
    )
    inner = corners[(corners[:, 0] > 70) & (corners[:, 0] < 370) & (corners[:, 1] > 50) & (corners[:, 1] < 330)]
    slope, offset = np.polyfit(inner[:, 0], inner[:, 1], 1)
    assert np.abs(inner[:, 1] - (slope * inner[:, 0] + offset)).max() < 4
    assert 300 < len(corners) < 600


def test_det_keeps_the_detail_of_few_false_matches() -> None:
    same = np.r_[np.ones(4, bool), np.zeros(100_000, bool)]
    score = np.r_[4.0, 3.0, 2.0, 1.0, np.linspace(0, 3.5, 100_000)]
    corners = points(curves.draw_det_curves([("network", curves.compute_roc_points(same, score))]), "series s0")
    # misses of three, two, one and none of four lie at falling heights, and the axis ends at 60 %
    assert len({y for _, y in corners}) == 4


def test_det_without_errors_lies_on_the_edge() -> None:
    chart = curves.draw_det_curves(
        [("network", curves.compute_roc_points(np.array([True, False]), np.array([1.0, 0.0])))]
    )
    assert "nan" not in chart
    assert "inf" not in chart


def test_a_whisker_runs_from_the_low_to_the_high_end() -> None:
    rows = [
        whiskers.WhiskerRow(HOSTILE, Estimate(0.5, 0.25, 1.0), "s0", "circle", HOSTILE),
        whiskers.WhiskerRow("b", Estimate(), "s1", "diamond", ""),
    ]
    chart = whiskers.draw_whiskers("t", "x", rows, AxisRange(0.0, 1.0), [(0.5, "limit")])
    left, right = whiskers.WHISKER_MARGINS_PX[3], whiskers.WHISKER_WIDTH_PX - whiskers.WHISKER_MARGINS_PX[1]
    (line,) = re.findall(r'<line class="whisker s0" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', chart)
    assert [float(end) for end in line] == [left + 0.25 * (right - left), right]
    assert f"translate({(left + right) / 2}," in chart
    assert chart.count('class="point') == 1
    assert "<script>" not in chart


def test_the_reference_band_ends_where_a_further_pair_without_change_becomes_unlikely() -> None:
    strata = [
        {**recorded, "n": n, "z": [-1.0, 0.5, 1.0, *[0.0] * (n - 3)]}
        for n, recorded in zip((4, 12), trained.noise_floor().to_json_object()["strata"], strict=True)
    ]
    reference = reference_figures.build_reference(trained.model_info(change_reference={"strata": strata}))
    assert reference.strata[0].values_z == (-1, 0, 0.5, 1)
    # Student's t with two degrees of freedom leaves 3.5 % above 3.578, with ten above 2.028; one more pair widens it
    reaches = [band[1] for band in (one.band_z for one in reference.strata)]
    assert reaches == pytest.approx([3.578 * (5 / 4) ** 0.5, 2.028 * (13 / 12) ** 0.5], abs=1e-3)
    assert reference.band_z == reference.strata[0].band_z
    assert (
        reference_figures.build_reference(trained.model_info(change_reference={"strata": []})).band_z
        == reference_figures.NORMAL_BAND_Z
    )


def test_a_pair_held_against_its_own_rescans_names_them_and_their_band() -> None:
    reference = reference_figures.build_reference(trained.model_info(change_reference={"strata": []}), 0.05)
    own = SimpleNamespace(score=SimpleNamespace(reference=ReferencePairs("MR T2w, other scanner", "own", 8)))
    stratum = reference.of(cast(ReportPair, own))
    assert (stratum.name, stratum.source, stratum.n) == ("MR T2w, other scanner", "own", 8)
    assert stratum.band_z[1] == pytest.approx(2.201 * (1 + 1 / 8) ** 0.5, abs=1e-3)  # t with six degrees of freedom
    narrowed = reference.narrow([cast(ReportPair, own)])  # what the pages of the patient are drawn with
    assert (narrowed.strata, narrowed.band_z) == ((stratum,), stratum.band_z)


def test_a_model_without_metrics_claims_nothing(study: Inputs) -> None:
    for name in ("metrics.json", "reference.parquet", "gallery.npz", "training_log.csv"):
        (study.model / name).unlink()
    model = (study.write().parent / "model.html").read_text(encoding="utf-8")
    assert "nothing is claimed for its similarity" in model
    assert "Nothing was measured on test patients" in model


def test_provenance_names_the_seeds_and_digests(written: Inputs) -> None:
    facts = reference_figures.build_provenance(reference_figures.read_model_folder(written.model), ReportConfig())
    assert facts.seeds == {"pair": 5, "train": 3, "measured": 11}
    assert facts.weights_sha256 == "a7" * 32
    changed = trained.model_info(config={"train": {"seed": 4}})
    other = reference_figures.build_provenance(ModelFolder(written.model, changed, ModelMetrics()), ReportConfig())
    assert other.model_config_sha256 != facts.model_config_sha256


def test_the_histograms_of_the_index_say_that_rescans_are_in_them(written: Inputs) -> None:
    index = (written.reports / "index.html").read_text(encoding="utf-8")
    assert index.count("of all pairs of one patient, rescans too") == 2
