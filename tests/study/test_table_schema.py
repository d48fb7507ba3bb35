"""A table that is not what it should be is refused where it is read, in one line that names file and column."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.errors import InputError
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.study import score_tables
from siamese_med.study.model_info import read_model_info
from siamese_med.study.table_schema import ALIGNMENTS, OWNERS, PAIRS, SCANS, SCORES, TableSchema
from siamese_med.study.tables import SCORE_COLUMNS, Study
from tests.studies import Made


def read(study: Study, which: TableSchema) -> pd.DataFrame:
    """A table of a study as it is read."""
    if which is SCANS:
        return StudyTables(study).read_scans()
    if which is PAIRS:
        return StudyTables(study).read_pairs()
    if which is ALIGNMENTS:
        return pd.read_parquet(next(study.prepared.glob("*/alignments.parquet")))
    (model,) = study.models.glob("*/model.json")
    return score_tables.read_score_tables(study, read_model_info(model.parent))[which is OWNERS]


@pytest.mark.parametrize("which", [SCANS, PAIRS, ALIGNMENTS, SCORES, OWNERS])
def test_the_tables_of_a_study_are_what_the_schemas_say(made_study: Made, which: TableSchema) -> None:
    study = Study(made_study.whole / "data", made_study.whole / "reports")
    table = read(study, which)
    assert which.validate(table, "it") is table
    assert which.cells.keys() <= set(table.columns)
    for name in which.cells:
        if name not in which.lacking:
            with pytest.raises(InputError, match=f"^it lacks the column {name}: "):
                which.validate(table.drop(columns=name), "it")
        wrong = table.assign(**{name: pd.Series([object()] * len(table), dtype=object)})
        with pytest.raises(InputError, match=f"^it has something else than .* in the column {name}: ") as caught:
            which.validate(wrong, "it")
        assert "\n" not in str(caught.value)
        if name in which.filled:
            with pytest.raises(InputError, match=f"^it has an empty cell in the column {name}: "):
                which.validate(table.assign(**{name: pd.Series([None] * len(table), dtype=object)}), "it")


def test_every_column_of_the_score_table_is_checked_without_being_listed_anew() -> None:
    assert set(SCORES.cells) == set(SCORE_COLUMNS)
    assert SCORES.filled | SCORES.lacking | {"similarity"} == set(SCORE_COLUMNS)
    assert {name: str(kind) for name, kind in SCORES.cells.items() if name in ("growth_ml", "transform", "map")} == {
        "growth_ml": "number",
        "transform": "list",
        "map": "text",
    }


@pytest.mark.parametrize("column", sorted(SCORES.lacking))
def test_a_score_table_of_an_older_version_may_lack_what_is_measured(made_study: Made, column: str) -> None:
    scores = read(Study(made_study.whole / "data"), SCORES).drop(columns=column)
    assert SCORES.validate(scores, "it") is scores


def test_a_wrong_pair_table_is_named(made_study: Made, tmp_path: Path) -> None:
    study = Study(made_study.copy(tmp_path) / "data")
    pairs = pd.read_parquet(study.pairs)
    pairs.assign(kind=range(len(pairs))).to_parquet(study.pairs)
    with pytest.raises(InputError, match=r"pairs\.parquet has something else than text in the column kind: run"):
        StudyTables(study).read_pairs()


def test_a_wrong_score_table_is_named(made_study: Made, tmp_path: Path) -> None:
    study = Study(made_study.copy(tmp_path) / "data")
    path = study.scores(made_study.model.name)
    pd.read_parquet(path).assign(comparable="yes").to_parquet(path)
    with pytest.raises(
        InputError, match=f"{re.escape(path.name)} has something else than yes or no in the column comparable"
    ):
        read(study, SCORES)
