"""The tables of scores below data/scores: they are filed by the model's id, whatever its folder is called.

Two models may have the same id, such as a copy of which something was edited. A file beside the tables records of which
of them they are.
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
"""Columns of the score table that become part of paths, or are paths: they are checked before use."""
OWNER_NAME_COLUMNS = ("scan", "subject", "owner")
"""The same of the owner table."""


def remove_tables_of_other_model(study: Study, info: ModelInfo) -> None:
    """Remove the tables of another model with the same id, so that they are made anew.

    What was measured of single pairs and scans stays, since it is looked up by what it was measured with.
    """
    mark = _mark(study, info)
    if mark.is_file() and mark.read_text(encoding="utf-8") == info.compute_digest():
        return
    for path in (study.scores(info.id), study.owners(info.id)):
        path.unlink(missing_ok=True)
    files.write_text_file(mark, info.compute_digest())


def read_score_tables(study: Study, info: ModelInfo) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the score table and the owner table of a model.

    Returns
    -------
    tuple of pandas.DataFrame
        One row a pair, with the columns of `PairScore`; one row a scan, with tables.OWNER_COLUMNS.

    Raises
    ------
    EmptyInputError
        The model has no scores yet.
    InputError
        A table was edited, or written by an unknown version.
    """
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
