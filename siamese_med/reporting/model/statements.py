"""Sentences about a model; the model page and the model card use the same ones.

If identity can be told from a shortcut alone (header, histogram, ...), the headline is withheld: the network may have
learned the shortcut, and then its figures say nothing about anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.study.thresholds import (
    MAX_CALIBRATION_ERROR,
    MAX_FALSE_MATCH_FACTOR,
    MIN_EXPECTED_FALSE_MATCHES,
    MIN_PAIRS_FOR_PER_MILLE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.reporting.model.metrics_file import (
        AuditResult,
        MethodPerformance,
        ModelCalibration,
        ModelFigures,
        ShortcutFigures,
    )
    from siamese_med.study.model_info import RecordedRegion
    from siamese_med.study.model_metrics import Estimate

INTENDED_USE = (
    "Research on scans of the kind the model was trained on: quality control of longitudinal studies (mixed-up "
    "patients), and pointing at pairs and places worth a look. A trained reader decides."
)
"""Intended use, as the model page and the model card state it."""

LIMITS = (
    "Not for diagnosis, treatment or triage; no clinical validation was made.",
    "Scans of another modality, contrast or body part, or from a very different scanner, are outside this range: their "
    "pairs get no verdict, or an unreliable one.",
    "The error rates hold for patients like the test patients; with few of them the intervals are wide.",
    "Where a baseline is as good as the network, the network's score has no claim of its own.",
    "Identity and change are separate questions. A high similarity says nothing about change.",
    "The wrong-patient alarm weighs pictures. It moves nothing, misses some, and can be wrong: check the records.",
)
"""Limitations, as the model page and the model card list them."""


@dataclass(frozen=True)
class ModelHeadline:
    """The headline of a model, or why there is none."""

    text: str
    withheld: bool


def compose_model_headline(appraisal: ModelFigures) -> ModelHeadline:
    """Compose the headline of a model: how well the network tells patients apart, compared with the best baseline.

    It is withheld where a shortcut of the confound audit is over the limit. The network counts as better only where the
    lower end of its AUC's interval is above the AUC of every baseline; a baseline with the same AUC (to three decimals)
    or a higher one is named first.
    """
    if appraisal.audit and appraisal.audit.failed:
        return ModelHeadline(_withheld(appraisal.audit), withheld=True)
    if not appraisal.network:
        return ModelHeadline(
            "No measurement on test patients came with this model, so nothing is claimed for its similarity.", False
        )
    unaudited = "" if appraisal.audit else " Whether identity can be told from a shortcut alone was not recorded."
    return ModelHeadline(_beside_baselines(appraisal, appraisal.network) + unaudited, withheld=False)


def _withheld(audit: AuditResult) -> str:
    certain = [shortcut for shortcut in audit.failed if not _may_be_chance(shortcut, audit.limit)]
    uncertain = [shortcut for shortcut in audit.failed if _may_be_chance(shortcut, audit.limit)]
    doubt = f"{_named(uncertain)}: {_test_patients(audit)} are too few to say."
    if not certain:
        return (
            f"It cannot be excluded that identity is told from {doubt} So the network's figures are not shown as a "
            "result."
        )
    text = f"Identity can be told from {_named(certain)}, so the network's figures are not shown as a result."
    return f"{text} Nor can it be excluded for {doubt}" if uncertain else text


def _named(shortcuts: Sequence[ShortcutFigures]) -> str:
    return " and ".join(f"{shortcut.name} alone, AUC {ends(shortcut.auc)}" for shortcut in shortcuts)


def _may_be_chance(shortcut: ShortcutFigures, limit: float) -> bool:
    return shortcut.auc.low is not None and shortcut.auc.low <= limit


def _test_patients(audit: AuditResult) -> str:
    return "the test patients" if audit.patients is None else f"{audit.patients} test patients"


def _beside_baselines(appraisal: ModelFigures, network: MethodPerformance) -> str:
    best, rival = appraisal.best, appraisal.best_baseline
    if not rival:
        return f"On the test patients the network reached an AUC of {ends(network.auc)}; no baseline stands beside it."
    if (
        best
        and best.key != network.key
        and formatting.fixed(best.auc.value, 3) == formatting.fixed(network.auc.value, 3)
    ):
        return (
            f"On the test patients {best.name}, which learns nothing, told persons apart as well as the network: AUC "
            f"{ends(best.auc)} and {ends(network.auc)}. The network has no claim to be better."
        )
    if best and best.key != network.key:
        return (
            f"On the test patients {best.name}, which learns nothing, told persons apart best: AUC {ends(best.auc)}. "
            f"The network reached {ends(network.auc)} and has no claim to be better."
        )
    if network.auc.low is not None and rival.auc.value is not None and network.auc.low > rival.auc.value:
        return (
            "On the test patients the network told persons apart better than every baseline: AUC "
            f"{ends(network.auc)}. The best of them, {rival.name}, reached {ends(rival.auc)}."
        )
    return (
        f"On the test patients the network told persons apart best of all methods: AUC {ends(network.auc)}. "
        f"Its interval does not exclude {rival.name} ({formatting.fixed(rival.auc.value, 3)}): "
        "it is not shown to be better."
    )


def audit_note(audit: AuditResult | None) -> str:
    """Describe what the confound audit found, and whether an interval reaches over the limit."""
    if audit is None:
        return "The confound audit was not recorded with this model."
    if audit.failed:
        names = " and ".join(shortcut.name for shortcut in audit.failed)
        return f"Over the limit of {audit.limit:.2f}: {names}. The network may have learned the same thing."
    text = f"No shortcut alone tells the test patients apart with an AUC over {audit.limit:.2f}."
    highest = max((one.auc.high for one in audit.shortcuts if one.auc.high is not None), default=0.0)
    if highest > audit.limit:
        text += (
            f" With {_test_patients(audit)} that is not proof: an interval reaches up to {formatting.fixed(highest)}."
        )
    return text


def region_note(region: RecordedRegion | None) -> str:
    r"""State how large the region is that the network looks at, with a warning if it is small.

    Examples
    --------
    >>> from siamese_med.study.model_info import RecordedRegion
    >>> region_note(RecordedRegion(ml=850, body_ml=2500))
    'The network looks at 850 ml, 34\xa0% of the body that half of the training scans show.'
    """
    if region is None:
        return "How large the region is that the network looks at was not recorded."
    text = f"The network looks at {formatting.fixed(region.ml, 0)} ml"
    if region.body_ml:
        share = formatting.percent(region.ml / region.body_ml)
        text += f", {share} of the body that half of the training scans show"
    if not region.is_small:
        return f"{text}."
    return (
        f"{text}. That is small: anatomy outside it cannot tell persons apart. The usual causes are scans of very "
        "different fields of view, and scans that lie wrong on the template."
    )


def calibration_note(calibration: ModelCalibration) -> str:
    """Describe the calibration error of the similarity; above MAX_CALIBRATION_ERROR with a warning.

    A calibrated similarity of 0.8 is right in 80 of 100 pairs.
    """
    error = calibration.error
    if error.value is None:
        return "The expected calibration error was not recorded."
    text = f"Expected calibration error on test pairs: {ends(error)}."
    if error.value > MAX_CALIBRATION_ERROR:
        return f"{text} That is over {MAX_CALIBRATION_ERROR:.2f}: read the similarity as a rank, not as a probability."
    return text


def match_note(appraisal: ModelFigures) -> str:
    """Compare the false-match rate on test pairs with the nominal one, for which the threshold was set.

    A difference is stated as such only if it is more than a factor of MAX_FALSE_MATCH_FACTOR, if the interval excludes
    the nominal rate, and if at least MIN_EXPECTED_FALSE_MATCHES false matches were to be expected.
    """
    calibration, pairs = appraisal.calibration, appraisal.counts["pairs_test"]["different"]
    found, nominal = calibration.false_match_rate, calibration.nominal
    if found.value is None or not nominal:
        return "The false-match rate on test patients was not recorded."
    text = (
        f"Of the test pairs of two persons {format_percent_with_interval(found)} are at or over the threshold of "
        f"{formatting.fixed(calibration.threshold, 3)}; "
        f"nominal, from validation patients: {formatting.percent(nominal)}."
    )
    if pairs is not None and pairs * nominal < MIN_EXPECTED_FALSE_MATCHES:
        return f"{text} {formatting.count(pairs)} such pairs are too few to tell one from the other."
    if nominal / MAX_FALSE_MATCH_FACTOR <= found.value <= nominal * MAX_FALSE_MATCH_FACTOR:
        return text
    if found.low is not None and found.high is not None and found.low <= nominal <= found.high:
        return f"{text} The interval holds the nominal rate, and more patients would tell."
    return f"{text} That is off by more than a factor of {MAX_FALSE_MATCH_FACTOR:g}."


def size_note(appraisal: ModelFigures) -> str:
    """State the numbers of patients, scans and pairs behind the figures, and what they are too few for."""
    measured, pairs = appraisal.counts["measured"], appraisal.counts["pairs_test"]
    text = (
        f"{formatting.count(measured['patients'])} test patients with {formatting.count(measured['scans'])} scans; "
        f"{formatting.count(pairs['same'])} pairs of one person, {formatting.count(pairs['different'])} of two. "
        "95 % intervals by a bootstrap over patients, never pairs"
    )
    text += "." if appraisal.seed is None else f", seed {appraisal.seed}."
    if pairs["different"] is not None and pairs["different"] < MIN_PAIRS_FOR_PER_MILLE:
        text += " So few pairs of two persons cannot resolve 0.1 %: that column allows no false match at all."
    if any(figure.low == figure.high is not None for one in appraisal.methods for figure in one.figures.values()):
        text += " Where no error was seen the interval closes: a bootstrap cannot tell how rare errors are."
    return text


def ends(figure: Estimate, digits: int = 3) -> str:
    """Format a figure with the ends of its 95 % interval.

    Examples
    --------
    >>> from siamese_med.study.model_metrics import Estimate
    >>> ends(Estimate(0.91, 0.87, 0.94)), ends(Estimate(0.91), 2)
    ('0.910 (0.870 to 0.940)', '0.91')
    """
    value = formatting.fixed(figure.value, digits)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({formatting.fixed(figure.low, digits)} to {formatting.fixed(figure.high, digits)})"


def format_percent_with_interval(figure: Estimate) -> str:
    """Format a share of one with the ends of its 95 % interval, in per cent."""
    value = formatting.percent(figure.value)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({formatting.percent(figure.low)} to {formatting.percent(figure.high)})"
