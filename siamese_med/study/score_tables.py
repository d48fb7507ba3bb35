"""Whose the tables below data/scores are: they are filed by a model's id, whatever its folder is called.

Two models may go by one id: a copy of which something was edited. The tables are of one of them, and a mark says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import EmptyInputError
from siamese_med.runtime import files, untrusted_input
from siamese_med.study import table_schema
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.tables import Study

if TYPE_CHECKING:
    import pandas as pd

SCORE_NAME_COLUMNS, SCORE_PATH_COLUMNS = ("scan_a", "scan_b", "subject_a", "subject_b"), ("map", "pictures")
OWNER_NAME_COLUMNS = ("scan", "subject", "owner")


def remove_tables_of_other_model(study: Study, info: ModelInfo) -> None:
    """Make sure that tables under a model's id are this model's: those of another one are removed, to be made anew.

    What was measured of single pairs and scans stays, since it is looked up by what it was measured with.
    """
    mark = _mark(study, info)
    if mark.is_file() and mark.read_text(encoding="utf-8") == info.compute_digest():
        return
    for path in (study.scores(info.id), study.owners(info.id)):
        path.unlink(missing_ok=True)
    files.write_text_file(mark, info.compute_digest())


def read_score_tables(study: Study, info: ModelInfo) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The score table and the owner table of a model; raises EmptyInputError where it has none, and InputError."""
    scores, owners, mark = study.scores(info.id), study.owners(info.id), _mark(study, info)
    foreign = mark.is_file() and mark.read_text(encoding="utf-8") != info.compute_digest()
    if foreign or not (scores.is_file() and owners.is_file()):
        raise EmptyInputError(f"no scores of the model {info.id}: run `siamese-med score` first")
    scored, owned = (
        untrusted_input.read_untrusted_table(scores, SCORE_NAME_COLUMNS, SCORE_PATH_COLUMNS),
        untrusted_input.read_untrusted_table(owners, OWNER_NAME_COLUMNS),
    )
    table_schema.SCORES.validate(scored, f"the table {scores.name}")
    table_schema.OWNERS.validate(owned, f"the table {owners.name}")
    return scored, owned


def _mark(study: Study, info: ModelInfo) -> Path:
    return study.scores(info.id).with_suffix("") / "model.sha256"
