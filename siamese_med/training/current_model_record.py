"""The record of a study's current model: `current_model.json` in the data folder, written atomically and whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import ModelError
from siamese_med.network import starter_model
from siamese_med.runtime import files, untrusted_input
from siamese_med.study.model_info import MODEL_FILE
from siamese_med.study.tables import Study

if TYPE_CHECKING:
    from siamese_med.training.head_to_head import AucComparison

CURRENT_MODEL_FILE = "current_model.json"
"""The file's name, in the data folder."""


@dataclass(frozen=True)
class PromotionDecision:
    """Decision on a candidate.

    Parameters
    ----------
    promoted
        Whether it became the current model.
    why
        The reason, in words.
    against
        The model that was current; None where there was none.
    at
        When, ISO 8601 in UTC.
    by_hand
        Whether a person replaced the model; it is not compared again then.
    patients, scans
        The fixed validation patients, and their scans, that both models were measured on.
    figures
        See `head_to_head.compare_model_auc`.
    terms
        See `head_to_head.digest_comparison_terms`.
    rule
        Fingerprint of the `promote` section of the configuration.
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
    """The current model, and what the next candidate is compared with.

    Parameters
    ----------
    model, since, why
        The name of its folder, or STARTER_NAME; when it became current (ISO 8601, UTC), and the reason in words.
    fixed
        SHA-256 of the scans of the fixed validation patients.
    best
        The highest AUC that a current model has reached, by figure, under `terms`.
    decisions
        The last decision on each model, by name.
    """

    model: str
    since: str
    why: str
    fixed: list[str] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    terms: str = ""
    decisions: dict[str, PromotionDecision] = field(default_factory=dict)


def locate_recorded_model(study: Study, name: str) -> Path:
    """Return the folder of a model that a record names: one of the study, or the starter model.

    A folder of the study that is itself called `starter` comes first: somebody has put it there.

    Raises
    ------
    ModelError
        The starter model is named, and this installation lacks it.
    """
    own = study.models / name
    if name == starter_model.STARTER_NAME and not (own / MODEL_FILE).is_file():
        return starter_model.find_starter_model()
    return own


def read_current_record(study: Study) -> CurrentModel | None:
    """Read the record of the current model; None where nothing was decided yet.

    Raises
    ------
    ModelError
        The file is damaged or was not written by siamese-med.
    """
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
        raise ModelError(f"{path} cannot be read: remove it, and the newest model is used") from error


def write_current_record(study: Study, record: CurrentModel) -> None:
    """Write the record, atomically: after a kill it is the old one or the new one."""
    files.write_json_file(study.data / CURRENT_MODEL_FILE, asdict(record))


def format_time_now() -> str:
    """Return the time now, as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
