"""Whose the tables below data/scores are: they are filed by a model's id, whatever its folder is called.

Two models may go by one id: a copy of which something was edited. The tables are of one of them, and a mark says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med import files, untrusted
from siamese_med.errors import EmptyInputError
from siamese_med.network import description
from siamese_med.records import Study

if TYPE_CHECKING:
    import pandas as pd

SCORE_NAMES, SCORE_PATHS = ("scan_a", "scan_b", "subject_a", "subject_b"), ("map", "pictures")
OWNER_NAMES = ("scan", "subject", "owner")


def take(study: Study, about: Mapping[str, Any]) -> None:
    """Make sure that tables under a model's id are this model's: those of another one are removed, to be made anew.

    What was measured of single pairs and scans stays, since it is looked up by what it was measured with.
    """
    mark = _mark(study, about)
    if mark.is_file() and mark.read_text(encoding="utf-8") == description.digest(about):
        return
    for path in (study.scores(about["id"]), study.owners(about["id"])):
        path.unlink(missing_ok=True)
    files.write_text(mark, description.digest(about))


def read(study: Study, about: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The score table and the owner table of a model; raises EmptyInputError where there are none of this one."""
    scores, owners, mark = study.scores(about["id"]), study.owners(about["id"]), _mark(study, about)
    foreign = mark.is_file() and mark.read_text(encoding="utf-8") != description.digest(about)
    if foreign or not (scores.is_file() and owners.is_file()):
        raise EmptyInputError(f"no scores of the model {about['id']}: run `siamese-med score` first")
    return untrusted.read_table(scores, SCORE_NAMES, SCORE_PATHS), untrusted.read_table(owners, OWNER_NAMES)


def _mark(study: Study, about: Mapping[str, Any]) -> Path:
    return study.scores(about["id"]).with_suffix("") / "model.sha256"
