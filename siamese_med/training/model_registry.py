"""Which model of a study speaks: `current_model.json` in the data folder, written atomically and whole.

Without that file the newest finished model speaks. Who trains by hand, or names a model, decides by that. A model that
was trained as a candidate speaks only when it is not worse than the one that does, on the fixed validation patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.training.head_to_head import AucComparison, ComparedModels

CURRENT_MODEL_FILE, CURRENT_MODEL_LOCK = "current_model.json", ".current_model.lock"
COMPARED_FIGURES = {"identity": "telling persons apart", "change": "seeing planted changes"}
AUC_ROUNDING_TOLERANCE = 1e-9


@dataclass(frozen=True)
class PromotionDecision:
    """What became of one model that asked to speak instead of `against`; `by_hand` ones are not asked again.

    figures: see head_to_head.measure; terms: see head_to_head.terms; rule: fingerprint of the `promote` section.
    """

    promoted: bool
    why: str
    against: str | None
    at: str
    by_hand: bool = False
    patients: int = 0
    scans: int = 0
    figures: dict[str, AucComparison] = field(default_factory=dict)
    terms: str = ""
    rule: str = ""


@dataclass(frozen=True)
class CurrentModel:
    """The model that speaks, and what the next candidate is held against.

    fixed: SHA-256 of the scans of the fixed validation patients; best: under `terms`, the highest figures that a model
    reached that spoke; decisions: the last one on each model.
    """

    model: str
    since: str
    why: str
    fixed: list[str] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    terms: str = ""
    decisions: dict[str, PromotionDecision] = field(default_factory=dict)


def read_current_record(study: Study) -> CurrentModel | None:
    """Who speaks since when; None where nothing was decided yet. Raises ModelError where the file is not ours."""
    path = study.data / CURRENT_MODEL_FILE
    if not path.is_file():
        return None
    try:
        stored = untrusted_input.read_untrusted_json(path)
        decisions = {name: PromotionDecision(**one) for name, one in stored.pop("decisions").items()}
        found = CurrentModel(**stored, decisions=decisions)
        if found.model and not untrusted_input.is_safe_name(found.model):
            raise ValueError("the model is no name")
        return found
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: remove it, and the newest model speaks") from error


def find_current_model(study: Study) -> Path:
    """The model that speaks; raises ModelError where there is none."""
    record = read_current_record(study)
    if record is None:
        return _newest(study)
    if not _finished(folder := study.models / record.model):
        raise ModelError(
            f"the model that speaks, {record.model}, is not there any more: name another with `siamese-med promote`"
        )
    return folder


def record_current_model(study: Study) -> None:
    """Write down who speaks before a candidate is trained, which would be the newest then."""
    with _alone(study):
        if read_current_record(study) is None and _all_finished(study):
            _write(study, CurrentModel(_newest(study).name, _now(), "the newest when the first candidate was trained"))


def set_current_model(study: Study, model: str, why: str, renew: bool = False) -> CurrentModel:
    """Let a model of this study speak because a person wants it; the one it replaces does not come back by itself.

    `model` is its folder's name, or its id where the folder was renamed.
    `renew`: the validation patients are chosen anew at the next comparison. Raises MissingFileError.
    """
    model = _folder_of(study, model)
    with _alone(study):
        before = read_current_record(study) or CurrentModel("", "", "")
        decisions = {name: one for name, one in before.decisions.items() if name != model}
        record = replace(before, fixed=[] if renew else before.fixed, decisions=decisions)
        if before.model != model:
            record = CurrentModel(model, _now(), why, record.fixed, decisions=decisions)
            if before.model:
                decisions[before.model] = PromotionDecision(
                    False, f"a person chose {model}", model, record.since, by_hand=True
                )
        if record != before:
            _write(study, record)
    return record


def decide_promotion(
    study: Study, candidate: Path, scans: pd.DataFrame, pairs: pd.DataFrame, prepare: Callable[[Path], PreparedStudy]
) -> tuple[Path, PromotionDecision]:
    """Let a candidate speak if it is not worse than the model that does; returns the one that speaks then.

    `prepare` gives the scans on a model's template. Nothing is measured twice under the same terms.
    """
    with _alone(study):
        record = read_current_record(study) or CurrentModel("", "", "")
        if record.model == candidate.name:
            return candidate, PromotionDecision(
                True, "it speaks already: nothing new to learn from", None, record.since
            )
        known = record.decisions.get(candidate.name)
        if known and known.by_hand:
            return find_current_model(study), known
        record, decision = _held_against(study, record, candidate, scans, pairs, prepare)
        if decision.promoted:
            record = replace(record, model=candidate.name, since=decision.at, why=decision.why)
        _write(study, replace(record, decisions={**record.decisions, candidate.name: decision}))
    return study.models / record.model, decision


def list_refused_models(study: Study) -> dict[str, PromotionDecision]:
    """The models that were refused, in the order of time; those that a person replaced are not among them."""
    decisions = record.decisions if (record := read_current_record(study)) else {}
    refused = {name: one for name, one in decisions.items() if not (one.promoted or one.by_hand)}
    return dict(sorted(refused.items(), key=lambda item: item[1].at))


def _held_against(
    study: Study,
    record: CurrentModel,
    candidate: Path,
    scans: pd.DataFrame,
    pairs: pd.DataFrame,
    prepare: Callable[[Path], PreparedStudy],
) -> tuple[CurrentModel, PromotionDecision]:
    from siamese_med.network.model_folder import load_model
    from siamese_med.plugins import trusted_plugins
    from siamese_med.training import head_to_head

    trusted = trusted_plugins(study.config)
    new = load_model(candidate, trusted)
    if not record.model:
        return record, PromotionDecision(True, "the first model of the study", None, _now())
    try:
        old = load_model(study.models / record.model, trusted)
    except (ModelError, MissingFileError):
        why = f"{record.model}, which spoke before, cannot be loaded any more"
        return record, PromotionDecision(True, why, record.model, _now())
    contenders = {
        name: head_to_head.ComparedModel(one, prepare(one.folder))
        for name, one in ((head_to_head.INCUMBENT_MODEL, old), (head_to_head.CANDIDATE_MODEL, new))
    }
    fixed, mine = _fixed(study, record, scans, contenders)
    terms, rule = (
        head_to_head.digest_comparison_terms(study, mine, pairs, contenders),
        study.config.promote.fingerprint(),
    )
    known = record.decisions.get(candidate.name)
    if known and (known.against, known.terms, known.rule) == (record.model, terms, rule):
        return record, known
    decision = PromotionDecision(
        False, "", record.model, _now(), patients=mine.subject.nunique(), scans=len(mine), terms=terms, rule=rule
    )
    if decision.patients < study.config.promote.min_patients:
        return record, replace(decision, why=_too_few(decision, study))
    figures = head_to_head.compare_model_auc(study, mine, pairs, contenders)
    return _judged(study, replace(record, fixed=fixed), replace(decision, figures=figures))


def _fixed(
    study: Study, record: CurrentModel, scans: pd.DataFrame, contenders: ComparedModels
) -> tuple[list[str], pd.DataFrame]:
    """What is fixed, and of it what can be used now; chosen anew where that is too little, since sides changed."""
    from siamese_med.training import head_to_head

    mine = head_to_head.select_eligible_scans(scans, contenders, record.fixed)
    if record.fixed and mine.subject.nunique() >= study.config.promote.min_patients:
        return record.fixed, mine
    fixed = head_to_head.choose_fixed_scans(scans, contenders)
    return fixed, head_to_head.select_eligible_scans(scans, contenders, fixed)


def _judged(study: Study, record: CurrentModel, decision: PromotionDecision) -> tuple[CurrentModel, PromotionDecision]:
    """Held against the best that ever spoke, not only against the last: small steps must not lead far down."""
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


def _folder_of(study: Study, model: str) -> str:
    """The name of a finished model's folder, by that name or by the model's id."""
    from siamese_med.study.model_info import read_model_info

    if untrusted_input.is_safe_name(model) and _finished(study.models / model):
        return model
    for folder in _all_finished(study):
        with suppress(ModelError):
            if read_model_info(folder).id == model:
                return folder.name
    raise MissingFileError(f"no finished model {model} in {study.models}: `promote` takes one of this study")


def _newest(study: Study) -> Path:
    found = list(_all_finished(study))
    if not found:
        raise ModelError(f"no model under {study.models}: run `siamese-med train`, or name one with --model")
    return max(found, key=lambda folder: (folder / "model.json").stat().st_mtime)


def _all_finished(study: Study) -> list[Path]:
    return [path.parent for path in study.models.glob("*/model.json") if _finished(path.parent)]


def _finished(folder: Path) -> bool:
    return not folder.name.startswith(".") and (folder / "model.json").is_file()


def _write(study: Study, record: CurrentModel) -> None:
    files.write_json_file(study.data / CURRENT_MODEL_FILE, asdict(record))


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """One decision at a time, so that none is made against a model that no longer speaks."""
    with files.hold_exclusive_lock(study.data / CURRENT_MODEL_LOCK):
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
