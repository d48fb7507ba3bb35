"""Whether a candidate may replace the current model.

It may if none of its figures is lower, by more than `promote.max_auc_loss`, than the best that a current model reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.training.current_model_record import (
    CurrentModel,
    PromotionDecision,
    format_time_now,
    locate_recorded_model,
)

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.training.head_to_head import AucComparison, ComparedModels

COMPARED_FIGURES = {"identity": "telling persons apart", "change": "seeing planted changes"}
"""Meaning of each figure of a comparison, for the reason of a decision."""
AUC_ROUNDING_TOLERANCE = 1e-9
"""Differences of AUC below this are rounding."""


def compare_with_current_model(
    study: Study,
    record: CurrentModel,
    candidate: Path,
    scans: pd.DataFrame,
    pairs: pd.DataFrame,
    prepare: Callable[[Path], PreparedStudy],
) -> tuple[CurrentModel, PromotionDecision]:
    """Compare a candidate with the current model.

    Parameters
    ----------
    record
        What was decided so far.
    candidate
        The candidate's model folder.
    prepare
        Aligns the study's scans to the template of the model folder that it is given.

    Returns
    -------
    tuple
        The record, with the fixed patients and the best figures that are used from now on, and the decision. A decision
        under the same terms as an earlier one is that one. A current model that cannot be loaded is replaced.
    """
    from siamese_med.network.model_folder import load_model
    from siamese_med.plugins import trusted_plugins
    from siamese_med.training import head_to_head

    trusted = trusted_plugins(study.config)
    new = load_model(candidate, trusted)
    if not record.model:
        return record, PromotionDecision(True, "the first model of the study", None, format_time_now())
    try:
        old = load_model(locate_recorded_model(study, record.model), trusted)
    except (ModelError, MissingFileError):
        why = f"{record.model}, which spoke before, cannot be loaded any more"
        return record, PromotionDecision(True, why, record.model, format_time_now())
    contenders = {
        name: head_to_head.ComparedModel(one, prepare(one.folder))
        for name, one in ((head_to_head.INCUMBENT_MODEL, old), (head_to_head.CANDIDATE_MODEL, new))
    }
    return _compare_contenders(study, record, candidate.name, scans, pairs, contenders)


def _compare_contenders(
    study: Study,
    record: CurrentModel,
    candidate: str,
    scans: pd.DataFrame,
    pairs: pd.DataFrame,
    contenders: ComparedModels,
) -> tuple[CurrentModel, PromotionDecision]:
    """Compare two models on the fixed patients, unless they were compared under the same terms before."""
    from siamese_med.training import head_to_head

    fixed, mine = _fixed(study, record, scans, contenders)
    terms, rule = (
        head_to_head.digest_comparison_terms(study, mine, pairs, contenders),
        study.config.promote.fingerprint(),
    )
    known = record.decisions.get(candidate)
    if known and (known.against, known.terms, known.rule) == (record.model, terms, rule):
        return record, known
    decision = PromotionDecision(
        False,
        "",
        record.model,
        format_time_now(),
        patients=mine.subject.nunique(),
        scans=len(mine),
        terms=terms,
        rule=rule,
    )
    if decision.patients < study.config.promote.min_patients:
        return record, replace(decision, why=_too_few(decision, study))
    figures = head_to_head.compare_model_auc(study, mine, pairs, contenders)
    return _judged(study, replace(record, fixed=fixed), replace(decision, figures=figures))


def _fixed(
    study: Study, record: CurrentModel, scans: pd.DataFrame, contenders: ComparedModels
) -> tuple[list[str], pd.DataFrame]:
    """The fixed scans, and those of them that can be used now; chosen anew where these are too few patients."""
    from siamese_med.training import head_to_head

    mine = head_to_head.select_eligible_scans(scans, contenders, record.fixed)
    if record.fixed and mine.subject.nunique() >= study.config.promote.min_patients:
        return record.fixed, mine
    fixed = head_to_head.choose_fixed_scans(scans, contenders)
    return fixed, head_to_head.select_eligible_scans(scans, contenders, fixed)


def _judged(study: Study, record: CurrentModel, decision: PromotionDecision) -> tuple[CurrentModel, PromotionDecision]:
    """Compared with the best current model so far, not only with the last: small steps must not lead far down."""
    from siamese_med.training.head_to_head import CANDIDATE_MODEL, INCUMBENT_MODEL

    best = dict(record.best) if record.terms == decision.terms else {}
    for name, figure in decision.figures.items():
        best[name] = max(best.get(name, 0.0), figure[INCUMBENT_MODEL])
    margin = study.config.promote.max_auc_loss
    worse = [
        name
        for name, figure in decision.figures.items()
        if figure[CANDIDATE_MODEL] < best[name] - margin - AUC_ROUNDING_TOLERANCE
    ]
    words = "; ".join(_sentence(name, decision.figures[name], best[name]) for name in worse or decision.figures)
    verdict = "worse" if worse else "not worse"
    decision = replace(
        decision, promoted=not worse, why=f"{verdict} on {decision.patients} fixed validation patients: {words}"
    )
    if decision.promoted:
        best = {name: max(best[name], figure[CANDIDATE_MODEL]) for name, figure in decision.figures.items()}
    return replace(record, best=best, terms=decision.terms), decision


def _sentence(name: str, figure: AucComparison, best: float) -> str:
    from siamese_med.training.head_to_head import CANDIDATE_MODEL, INCUMBENT_MODEL

    apart = figure["difference"]
    beyond = f", best so far {best:.3f}" if best > figure[INCUMBENT_MODEL] + AUC_ROUNDING_TOLERANCE else ""
    return (
        f"{COMPARED_FIGURES[name]}, AUC {figure[CANDIDATE_MODEL]:.3f} against {figure[INCUMBENT_MODEL]:.3f}{beyond} "
        f"(difference {apart['value']:+.3f}, 95 % {apart['low']:+.3f} to {apart['high']:+.3f})"
    )


def _too_few(decision: PromotionDecision, study: Study) -> str:
    return (
        f"{decision.patients} fixed validation patients with two scans are too few to compare models on, "
        f"{study.config.promote.min_patients} are needed: ingest more, or decide by `siamese-med promote`"
    )
