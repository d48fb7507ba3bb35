"""Choice of the model that a study uses: its current model, as `current_model.json` in the data folder records it.

Without that file the newest finished model is the current one, and where the study has none, the starter model that
comes with siamese-med (`network.starter_model`). A model that is trained by hand, or named, is used. A model
that was trained as a candidate becomes current only if it is not worse than the current model on the fixed validation
patients, see `promotion_rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.network import starter_model
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.training.current_model_record import (
    CurrentModel,
    PromotionDecision,
    format_time_now,
    locate_recorded_model,
    read_current_record,
    write_current_record,
)
from siamese_med.training.promotion_rule import compare_with_current_model

if TYPE_CHECKING:
    import pandas as pd


CURRENT_MODEL_LOCK = ".current_model.lock"
"""The lock file in the data folder; one process at a time decides."""
STARTER_REASON = "it comes with siamese-med, and serves until a model of this study is not worse"
"""Reason why the starter model is the current one, for the record and for `status`."""


def find_current_model(study: Study) -> Path:
    """Return the folder of the study's current model, which is the starter model where the study has none of its own.

    Raises
    ------
    ModelError
        There is no finished model and no starter model, or the current one is not there any more.
    """
    record = read_current_record(study)
    if record is None:
        return _newest(study)
    if not _finished(folder := locate_recorded_model(study, record.model)):
        raise ModelError(
            f"the current model, {record.model}, is not there any more: name another with `siamese-med promote`"
        )
    return folder


def has_current_model(study: Study) -> bool:
    """Return whether there is a model that a candidate has to be compared with."""
    try:
        find_current_model(study)
    except ModelError:
        return False
    return True


def record_current_model(study: Study) -> None:
    """Record the current model before a candidate is trained, which would otherwise be the newest one then."""
    with _alone(study):
        if read_current_record(study) is not None:
            return
        if _all_finished(study):
            name, why = _newest(study).name, "the newest when the first candidate was trained"
        elif has_model(study):
            name, why = starter_model.STARTER_NAME, STARTER_REASON
        else:
            return
        write_current_record(study, CurrentModel(name, format_time_now(), why))


def has_model(study: Study) -> bool:
    """Return whether the study has a finished model of its own, or may begin with the starter model."""
    begins = study.config.promote.starter_model and starter_model.is_starter_installed()
    return begins or bool(_all_finished(study))


def set_current_model(study: Study, model: str, why: str, renew: bool = False) -> CurrentModel:
    """Make a model current because a person wants it. The model that it replaces does not come back by itself.

    Parameters
    ----------
    model
        The name of its folder, its id where the folder was renamed, or `starter` for the starter model.
    why
        The reason, in words, for the record.
    renew
        Whether the fixed validation patients are chosen anew at the next comparison.

    Returns
    -------
    CurrentModel
        The record as it is now.

    Raises
    ------
    MissingFileError
        The study has no such finished model.
    """
    model = _folder_of(study, model)
    with _alone(study):
        before = read_current_record(study) or CurrentModel("", "", "")
        decisions = {name: one for name, one in before.decisions.items() if name != model}
        record = replace(before, fixed=[] if renew else before.fixed, decisions=decisions)
        if before.model != model:
            record = CurrentModel(model, format_time_now(), why, record.fixed, decisions=decisions)
            if before.model:
                decisions[before.model] = PromotionDecision(
                    False, f"a person chose {model}", model, record.since, by_hand=True
                )
        if record != before:
            write_current_record(study, record)
    return record


def decide_promotion(
    study: Study, candidate: Path, scans: pd.DataFrame, pairs: pd.DataFrame, prepare: Callable[[Path], PreparedStudy]
) -> tuple[Path, PromotionDecision]:
    """Make a candidate current if it is not worse than the current model, and record the decision.

    Nothing is measured twice under the same terms. A model that a person replaced is not compared again.

    Parameters
    ----------
    candidate
        Its model folder.
    prepare
        Aligns the study's scans to the template of the model folder that it is given.

    Returns
    -------
    tuple
        The folder of the model that is current now, and the decision on the candidate.
    """
    with _alone(study):
        record = read_current_record(study) or CurrentModel("", "", "")
        if record.model == candidate.name:
            return candidate, PromotionDecision(
                True, "it is the current model already: nothing new to learn from", None, record.since
            )
        known = record.decisions.get(candidate.name)
        if known and known.by_hand:
            return find_current_model(study), known
        record, decision = compare_with_current_model(study, record, candidate, scans, pairs, prepare)
        if decision.promoted:
            record = replace(record, model=candidate.name, since=decision.at, why=decision.why)
        write_current_record(study, replace(record, decisions={**record.decisions, candidate.name: decision}))
    return locate_recorded_model(study, record.model), decision


def list_refused_models(study: Study) -> dict[str, PromotionDecision]:
    """List the decisions on the models that were refused, by name, in the order of time.

    Models that a person replaced are not among them.
    """
    decisions = record.decisions if (record := read_current_record(study)) else {}
    refused = {name: one for name, one in decisions.items() if not (one.promoted or one.by_hand)}
    return dict(sorted(refused.items(), key=lambda item: item[1].at))


def _folder_of(study: Study, model: str) -> str:
    """The name of a finished model's folder, by that name or by the model's id."""
    from siamese_med.study.model_info import read_model_info

    if untrusted_input.is_safe_name(model) and _finished(study.models / model):
        return model
    for folder in _all_finished(study):
        with suppress(ModelError):
            if read_model_info(folder).id == model:
                return folder.name
    if model == starter_model.STARTER_NAME:
        starter_model.find_starter_model()  # raises where there is none
        return model
    raise MissingFileError(f"no finished model {model} in {study.models}: `promote` takes one of this study")


def _newest(study: Study) -> Path:
    """The newest model of the study; the starter model where there is none."""
    found = list(_all_finished(study))
    if not found and study.config.promote.starter_model:
        return starter_model.find_starter_model()
    if not found:
        raise ModelError(f"no model under {study.models}: run `siamese-med train`, or name one with --model")
    return max(found, key=lambda folder: (folder / "model.json").stat().st_mtime)


def _all_finished(study: Study) -> list[Path]:
    return [path.parent for path in study.models.glob("*/model.json") if _finished(path.parent)]


def _finished(folder: Path) -> bool:
    return not folder.name.startswith(".") and (folder / "model.json").is_file()


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """One decision at a time, so that none is made against a model that is no longer current."""
    with files.hold_exclusive_lock(study.data / CURRENT_MODEL_LOCK):
        yield
