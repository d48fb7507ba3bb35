"""The sentences on a model, for every way its figures can come out."""

from __future__ import annotations

from typing import Any

import pytest

from siamese_med.reporting.model import metrics_file, statements
from siamese_med.study.model_metrics import ModelMetrics
from tests import trained


def measured(**parts: Any) -> metrics_file.ModelFigures:
    metrics = ModelMetrics.model_validate(trained.metrics_json("ncc_highpass") | parts)
    return metrics_file.read_model_figures(trained.model_info(), metrics)


def auc(value: float, low: float, high: float) -> dict[str, Any]:
    return {"auc": {"value": value, "low": low, "high": high}}


def audit(value: float, low: float, high: float, **parts: Any) -> dict[str, Any]:
    over = ["histogram"] if value > 0.6 else []
    return {"limit": 0.6, "patients": 8, "auc": {"histogram": auc(value, low, high)["auc"]}, "failed": over, **parts}


@pytest.mark.parametrize(
    ("network", "best", "words"),
    [
        ((0.998, 0.996, 0.999), "network", "better than every baseline: AUC 0.998 (0.996 to 0.999)"),
        (
            (0.998, 0.980, 0.999),
            "network",
            "does not exclude High-pass correlation (0.990): it is not shown to be better",
        ),
        ((0.9902, 0.960, 0.999), "ncc_highpass", "as well as the network: AUC 0.990 (0.970 to 0.995) and 0.990 (0.960"),
        ((0.970, 0.960, 0.980), "ncc_highpass", "The network reached 0.970 (0.960 to 0.980) and has no claim"),
    ],
)
def test_the_headline_says_no_more_than_the_intervals_bear(
    network: tuple[float, float, float], best: str, words: str
) -> None:
    test = {"network": auc(*network), "ncc": auc(0.9, 0.8, 0.95), "ncc_highpass": auc(0.99, 0.97, 0.995)}
    claim = statements.compose_model_headline(measured(test=test, best=best))
    assert words in claim.text
    assert not claim.withheld


def test_a_shortcut_withholds_the_headline_whatever_the_network_reached() -> None:
    test = {"network": auc(1.0, 1.0, 1.0), "ncc": auc(0.5, 0.4, 0.6)}
    claim = statements.compose_model_headline(measured(test=test, best="network", audit=audit(0.71, 0.66, 0.76)))
    assert claim.withheld
    assert claim.text == (
        "Identity can be told from the intensity histogram alone, AUC 0.710 (0.660 to 0.760), so the network's figures "
        "are not shown as a result."
    )


def test_a_shortcut_that_may_be_over_the_limit_by_chance_withholds_too_and_is_said_to_be_uncertain() -> None:
    claim = statements.compose_model_headline(measured(audit=audit(0.71, 0.42, 0.93)))
    assert claim.withheld
    assert claim.text == (
        "It cannot be excluded that identity is told from the intensity histogram alone, AUC 0.710 (0.420 to 0.930): "
        "8 test patients are too few to say. So the network's figures are not shown as a result."
    )


def test_of_two_shortcuts_each_is_told_as_certain_as_it_is() -> None:
    both = {"histogram": auc(0.71, 0.42, 0.93)["auc"], "thumbnail": auc(0.9, 0.85, 0.95)["auc"]}
    claim = statements.compose_model_headline(
        measured(audit=audit(0.71, 0.4, 0.9, auc=both, failed=["histogram", "thumbnail"]))
    )
    assert claim.text.startswith("Identity can be told from the image at 8 × 8 × 8 alone, AUC 0.900")
    assert claim.text.endswith(
        "Nor can it be excluded for the intensity histogram alone, AUC 0.710 (0.420 to 0.930): 8 test patients are too "
        "few to say."
    )


@pytest.mark.parametrize("recorded", [audit(0.71, 0.6, 0.8, failed=[]), audit(0.55, 0.5, 0.6, failed=["histogram"])])
def test_neither_the_list_of_failures_nor_the_figures_can_hide_the_other(recorded: dict[str, Any]) -> None:
    assert statements.compose_model_headline(measured(audit=recorded)).withheld


def test_a_passed_audit_on_few_patients_is_no_proof() -> None:
    note = statements.audit_note(measured(audit=audit(0.55, 0.31, 0.82)).audit)
    assert "With 8 test patients that is not proof: an interval reaches up to 0.82." in note
    assert "not proof" not in statements.audit_note(measured(audit=audit(0.51, 0.47, 0.56)).audit)


def test_what_was_not_recorded_is_said_to_be_so() -> None:
    nothing = metrics_file.read_model_figures(trained.model_info(), ModelMetrics())
    assert statements.compose_model_headline(nothing).text.startswith(
        "No measurement on test patients came with this model"
    )
    assert "not recorded" in statements.audit_note(nothing.audit)
    assert "not recorded" in statements.calibration_note(nothing.calibration)
    assert "not recorded" in statements.match_note(nothing)
    assert "was not recorded" in statements.compose_model_headline(measured(audit=None)).text


@pytest.mark.parametrize(("error", "said"), [(0.03, False), (0.031, True)])
def test_a_similarity_that_is_no_probability_is_called_a_rank(error: float, said: bool) -> None:
    calibration = measured(calibration={"ece": {"value": error, "low": 0.02, "high": 0.05}}).calibration
    assert ("read the similarity as a rank" in statements.calibration_note(calibration)) is said


@pytest.mark.parametrize(
    ("rate", "low", "words"),
    [
        (0.007, 0.0, "1 %."),
        (0.015, 0.012, "1 %."),
        (0.0152, 0.012, "That is off by more than a factor of 1.5."),
        (0.0152, 0.009, "The interval holds the nominal rate, and more patients would tell."),
    ],
)
def test_a_false_match_rate_far_from_the_nominal_one_is_named(rate: float, low: float, words: str) -> None:
    found = {"value": rate, "low": low, "high": 0.05}
    note = statements.match_note(measured(false_match_rate_test=found)).replace("\u00a0", " ")
    assert note.endswith(words)


@pytest.mark.parametrize(("pairs", "said"), [(499, True), (500, False)])
def test_few_pairs_of_two_persons_tell_nothing_of_their_rate(pairs: int, said: bool) -> None:
    found = {"value": 0.0, "low": 0.0, "high": 0.0}
    counts = {"same": 9, "different": pairs}
    note = statements.match_note(measured(false_match_rate_test=found, pairs_test=counts))
    assert (f"{pairs} such pairs are too few to tell one from the other." in note) is said
    assert ("off by more" in note) is not said


def test_few_pairs_cannot_resolve_one_in_a_thousand() -> None:
    assert "cannot resolve 0.1 %" in statements.size_note(measured(pairs_test={"same": 36, "different": 999}))
    assert "cannot resolve" not in statements.size_note(measured(pairs_test={"same": 36, "different": 1000}))


@pytest.mark.parametrize(("low", "said"), [(1.0, True), (0.99, False)])
def test_an_interval_without_width_is_no_certainty(low: float, said: bool) -> None:
    note = statements.size_note(measured(test={"network": auc(1.0, low, 1.0)}))
    assert ("a bootstrap cannot tell how rare errors are" in note) is said


@pytest.mark.parametrize(
    ("region", "words", "small"),
    [
        (None, "was not recorded", False),
        ({"ml": 899.1, "body_ml": 2700.0}, "899 ml, 33.3\u00a0% of the body", False),
        ({"ml": 167.0, "body_ml": 2700.0}, "167 ml, 6.19\u00a0% of the body", True),
        ({"ml": 400.0, "body_ml": 0.0}, "400 ml.", False),
    ],
)
def test_the_region_is_said_in_ml_and_a_small_one_with_a_warning(
    region: dict[str, float] | None, words: str, small: bool
) -> None:
    figures = metrics_file.read_model_figures(
        trained.model_info(region=region), ModelMetrics.model_validate(trained.metrics_json("network"))
    )
    note = statements.region_note(figures.region)
    assert words in note
    assert ("That is small" in note) is small
