"""The columns of a score are listed once: everything else is made of the fields of `PairScore`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from siamese_med.reporting.data.report_content import ReportPair
from siamese_med.reporting.write import json_schema, json_tsv
from siamese_med.runtime import files
from siamese_med.study import score_columns
from siamese_med.study.component import Component
from siamese_med.study.pair_score import MeasuredPair, PairScore, ReferencePairs, ScoreColumn
from siamese_med.study.tables import PAIR_COLUMNS, SCORE_COLUMNS
from siamese_med.study.vocabulary import NotComparable, PairKind, Split, Verdict
from tests.commands import ROOT

PART = Component("new", 1.25, -1, 0.003, (1.0, 2.0, -3.5), (4.0, 5.0, 6.0), region="brain stem", finding=4)
TURNED = ((0.0, -1.0, 0.0, 3.0), (1.0, 0.0, 0.0, 0.5), (0.0, 0.0, 1.0, -2.0), (0.0, 0.0, 0.0, 1.0))
FOLLOW_UP = PairScore(
    scan_a="sub-a_ses-01_T1w",
    scan_b="sub-a_ses-02_T1w",
    subject_a="sub-a",
    subject_b="sub-a",
    interval_days=182,
    kind=PairKind.FOLLOW_UP,
    split=Split.TEST,
    similarity=0.5,
    distance=0.25,
    change_z=3.5,
    change_p=0.001,
    change_p_adjusted=0.003,
    change_sign=-1,
    volume_ml=1.25,
    growth_ml=-0.5,
    growth_p=0.125,
    components=(PART,),
    smallest_detectable_ml=0.75,
    reference=ReferencePairs("MR T1w, same scanner", "rescans", 8),
    verdict=Verdict.CHANGED,
    ncc=0.5,
    ncc_highpass=0.25,
    mutual_information=1.5,
    ssim=0.75,
    pair_quality=0.875,
    transform=TURNED,
    map="scores/m/pair_change.nii.gz",
    pictures="scores/m/pair.npz",
)
UNJUDGED = PairScore(
    scan_a="sub-a_ses-02_T1w",
    scan_b="sub-a_ses-03_T2w",
    subject_a="sub-a",
    subject_b="sub-a",
    kind=PairKind.FOLLOW_UP,
    comparable=False,
    reasons=(NotComparable.OTHER_CONTRAST,),
    verdict=Verdict.NOT_COMPARABLE,
)
TWO_PATIENTS = PairScore(scan_a="a", scan_b="b", subject_a="sub-a", subject_b="sub-b", kind=PairKind.DIFFERENT, ncc=0.5)


def report_of(score: PairScore) -> ReportPair:
    return ReportPair(1, "newest", score, "ses-01", "ses-02", "T1w", "T1w", "T1", "changed", (), identity_judged=True)


def test_the_table_has_the_fields_as_columns_and_the_pair_table_the_first_of_them() -> None:
    names = tuple(field.name for field in fields(PairScore))
    assert names == SCORE_COLUMNS
    assert names[: len(PAIR_COLUMNS)] == PAIR_COLUMNS
    assert tuple(score_columns.score_table([FOLLOW_UP]).columns) == names


@pytest.mark.parametrize("scores", [[FOLLOW_UP, UNJUDGED, TWO_PATIENTS], [TWO_PATIENTS], [UNJUDGED], []])
def test_a_table_comes_back_from_parquet_as_it_was(scores: list[PairScore], tmp_path: Path) -> None:
    table = score_columns.score_table(scores)
    files.write_parquet_file(tmp_path / "scores.parquet", table, score_columns.parquet_schema(table))
    assert score_columns.read_scores(pd.read_parquet(tmp_path / "scores.parquet")) == scores


def test_types_in_parquet_do_not_depend_on_the_pairs_that_are_there(tmp_path: Path) -> None:
    def types(name: str, *scores: PairScore) -> dict[str, Any]:
        table = score_columns.score_table(scores)
        files.write_parquet_file(tmp_path / name, table, score_columns.parquet_schema(table))
        return {field.name: field.type for field in pq.read_schema(tmp_path / name)}

    every, one = types("every", FOLLOW_UP, UNJUDGED, TWO_PATIENTS), types("one", FOLLOW_UP)
    assert {name for name in every if every[name] != one[name]} == {"reasons"}  # of which the second table has none
    assert str(one["change_sign"]) == "double"  # although every sign in it is a whole number


def test_words_are_written_bare() -> None:
    (row,) = score_columns.score_table([UNJUDGED]).to_dict("records")
    assert [type(row[name]) for name in ("kind", "verdict")] == [str, str]
    assert [(word, type(word)) for word in row["reasons"]] == [("other_contrast", str)]


@pytest.mark.parametrize(
    "pair",
    [
        MeasuredPair(FOLLOW_UP, detection_curve=((0.5, 0.03), (1.0, 0.012))),
        MeasuredPair(UNJUDGED),
        MeasuredPair(TWO_PATIENTS, one_patient=False),
    ],
)
def test_a_measured_pair_comes_back_from_json_but_for_whose_it_is(pair: MeasuredPair) -> None:
    kept = json.loads(json.dumps(score_columns.pair_to_json(pair)))
    back = score_columns.pair_from_json(kept, pair.one_patient)
    nameless = {name: getattr(PairScore(), name) for name in (*PAIR_COLUMNS, "similarity", "distance")}
    assert back == replace(pair, score=pair.score.with_values(nameless))
    assert ("change_z" in kept) is pair.one_patient


def test_a_measured_pair_without_a_column_has_to_be_measured_anew() -> None:
    kept = dict(score_columns.pair_to_json(MeasuredPair(FOLLOW_UP)))
    del kept["growth_p"]
    assert score_columns.pair_from_json(kept, one_patient=True) is None


def test_an_older_table_without_a_column_is_read_with_its_default() -> None:
    table = score_columns.score_table([FOLLOW_UP]).drop(columns=["growth_p"])
    assert score_columns.read_scores(table) == [replace(FOLLOW_UP, growth_p=None)]


def test_the_documentation_of_the_columns_is_made_from_them() -> None:
    made = score_columns.document_columns()
    told = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    assert told == made, "run `python -m siamese_med.study.score_columns > docs/columns.md`"


@dataclass(frozen=True, kw_only=True)
class Extended(PairScore):
    """A score with one more column, as a commit would add it."""

    noise_sd: Annotated[float | None, ScoreColumn("noise of the difference", "mL")] = None


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have `PairScore` one column more."""
    cached = (
        score_columns.score_columns,
        score_columns.kept_columns,
        json_tsv.pair_fields,
        json_tsv.pair_columns,
    )
    monkeypatch.setattr(score_columns, "PairScore", Extended)
    for function in cached:
        function.cache_clear()
    yield
    monkeypatch.undo()
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("one_more")
def test_one_more_field_is_in_everything_that_is_made_of_the_columns(tmp_path: Path) -> None:
    score = Extended(**{**vars(FOLLOW_UP), "noise_sd": 0.5})
    table = score_columns.score_table([score, Extended(scan_a="x", scan_b="y")])
    files.write_parquet_file(tmp_path / "scores.parquet", table, score_columns.parquet_schema(table))
    assert str(pq.read_schema(tmp_path / "scores.parquet").field("noise_sd").type) == "double"
    assert [one.noise_sd for one in score_columns.read_scores(table)] == [0.5, None]  # type: ignore[attr-defined]
    assert score_columns.pair_to_json(MeasuredPair(score))["noise_sd"] == 0.5
    header, line = json_tsv.format_pairs_tsv([report_of(score)]).splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True))["noise_sd"] == "0.5"
    assert json_tsv.build_pairs_dictionary()["noise_sd"] == {"Description": "noise of the difference", "Units": "mL"}
    assert json_tsv.pair_values(report_of(score))["noise_sd"] == 0.5
    published = json_schema.build_json_schema("report")["$defs"]["Pair"]
    assert published["properties"]["noise_sd"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert "noise_sd" in published["required"]
    assert "| `noise_sd` | `noise_sd` | number | mL |" in score_columns.document_columns()
