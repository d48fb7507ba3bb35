"""Everything that follows from the columns of `PairScore`: rows, Parquet types, what is kept of a pair, documentation.

`python -m siamese_med.study.score_columns` prints docs/columns.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from siamese_med.study import table_cells
from siamese_med.study.component import Component
from siamese_med.study.pair_score import Matrix, MeasuredPair, Origin, PairScore, ReferencePairs, ScoreColumn
from siamese_med.study.table_cells import CellKind
from siamese_med.study.vocabulary import NotComparable

if TYPE_CHECKING:
    import pandas as pd

CURVE = "seen"
"""The key of MeasuredPair.detection_curve in what is kept of a pair."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class CellType:
    """Rules for values of one Python type: how they are read from a cell, written to a cell, and shown in the report.

    Parameters
    ----------
    words
        What the documentation calls the type.
    kind
        What the cells of such a column are, by which a table is checked.
    read
        From a cell, which may be missing, NaN or an array, to the value.
    write
        From the value to a cell or a JSON value.
    published
        The type in report.json.
    publish
        From the value to the one in report.json.
    rank
        In the report plain values come first, then paths, matrices and lists of objects.
    """

    words: str
    kind: CellKind
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = _same
    published: Any = None
    publish: Callable[[Any], Any] = _same
    rank: int = 0


def _words(cell: Any) -> tuple[str, ...]:
    return tuple(NotComparable.find_member(word) or word for word in table_cells.parse_words(cell))


def _matrix(cell: Any) -> Matrix:
    return tuple(table_cells.parse_numbers(line) for line in table_cells.parse_items(cell))


def _components(cell: Any) -> tuple[Component, ...]:
    return tuple(Component.from_json(part) for part in table_cells.parse_items(cell) if isinstance(part, dict))


def _sorted_json(value: Component | ReferencePairs) -> Mapping[str, Any]:
    return dict(sorted(value.to_json().items()))


CELL_TYPES: Mapping[Any, CellType] = {
    str: CellType("text", CellKind.TEXT, str, str, str),
    str | None: CellType(
        "text",
        CellKind.TEXT,
        table_cells.parse_text,
        lambda text: None if text is None else str(text),
        published=str | None,
    ),
    bool: CellType("true or false", CellKind.FLAG, table_cells.parse_flag, published=bool),
    int | None: CellType("whole number", CellKind.INTEGER, table_cells.parse_integer, published=int | None),
    float | None: CellType("number", CellKind.NUMBER, table_cells.parse_number, published=float | None),
    tuple[str, ...]: CellType(
        "list of words",
        CellKind.LIST,
        _words,
        lambda words: [str(word) for word in words],
        published=tuple[str, ...],
    ),
    ReferencePairs | None: CellType(
        "object",
        CellKind.RECORD,
        ReferencePairs.from_json,
        lambda pairs: pairs and _sorted_json(pairs),
        published=str | None,
        publish=lambda pairs: pairs and pairs.stratum,
    ),
    Matrix: CellType(
        "matrix",
        CellKind.LIST,
        _matrix,
        lambda matrix: [list(line) for line in matrix] or None,
        published=Matrix,
        rank=2,
    ),
    tuple[Component, ...]: CellType(
        "list of objects",
        CellKind.LIST,
        _components,
        lambda parts: [_sorted_json(part) for part in parts],
        published=tuple[Component, ...],
        publish=lambda parts: parts,
        rank=3,
    ),
}
"""A column of another type needs an entry here."""


@dataclass(frozen=True)
class Column:
    """A column of the score table: its name, its meaning, and what its type decides."""

    name: str
    meaning: ScoreColumn
    type: CellType
    default: Any

    @property
    def report_name(self) -> str:
        """The column's key in report.json; empty where the report leaves it out."""
        reported = self.meaning.reported
        return reported if isinstance(reported, str) else self.name * reported


@cache
def score_columns() -> tuple[Column, ...]:
    """Return the columns of `PairScore`, in the order of the table."""
    hints = get_type_hints(PairScore, include_extras=True)
    found = []
    for field in fields(PairScore):
        hint = hints[field.name]
        found.append(Column(field.name, hint.__metadata__[0], CELL_TYPES[hint.__origin__], field.default))
    return tuple(found)


def names_of(*origins: Origin) -> tuple[str, ...]:
    """Return the names of the columns with one of these origins, or of all columns, in the order of the table.

    Examples
    --------
    >>> names_of(Origin.NETWORK)
    ('similarity', 'distance')
    """
    return tuple(column.name for column in score_columns() if not origins or column.meaning.origin in origins)


def read_row(row: Mapping[str, Any]) -> PairScore:
    """Read a row of a score table without trust; columns that an older table lacks have their default."""
    return PairScore(**{one.name: one.type.read(row[one.name]) for one in score_columns() if one.name in row})


def read_scores(table: pd.DataFrame) -> list[PairScore]:
    """Read every row of a score table."""
    return [read_row({str(name): cell for name, cell in row.items()}) for row in table.to_dict("records")]


def score_table(scores: Sequence[PairScore]) -> pd.DataFrame:
    """Return the scores as a frame with one row a pair and the columns of `PairScore`."""
    import pandas as pd

    columns = score_columns()
    rows = [{one.name: one.type.write(getattr(score, one.name)) for one in columns} for score in scores]
    return pd.DataFrame(rows, columns=[one.name for one in columns]).astype({"interval_days": "Int64"})


def parquet_schema(table: pd.DataFrame) -> Any:
    """Return the pyarrow schema in which a score table is written.

    Every column has the type that `PairScore` declares. Only texts and lists of which no cell of the whole table shows
    a value (no pair has a reason, say) stay open, so that the bytes of such tables are what they were.
    """
    import pyarrow as pa

    declared = _arrow_types()
    inferred = pa.Schema.from_pandas(table, preserve_index=False)
    types = {
        one.name: inferred.field(one.name).type
        if _is_open(inferred.field(one.name).type) and declared[one.type] != pa.float64()
        else declared[one.type]
        for one in score_columns()
    }
    return pa.schema(list(types.items()))


@cache
def _arrow_types() -> Mapping[CellType, Any]:
    import pyarrow as pa

    places = pa.list_(pa.float64())
    component = {"earlier_mm": places, "finding": pa.int64(), "kind": pa.string(), "p": pa.float64()}
    component |= {"position_mm": places, "region": pa.string(), "sign": pa.int64(), "volume_ml": pa.float64()}
    reference = {"n": pa.int64(), "source": pa.string(), "stratum": pa.string()}
    types = {
        str: pa.large_string(),
        str | None: pa.large_string(),
        bool: pa.bool_(),
        int | None: pa.int64(),
        float | None: pa.float64(),
        tuple[str, ...]: pa.list_(pa.string()),
        ReferencePairs | None: pa.struct(list(reference.items())),
        Matrix: pa.list_(places),
        tuple[Component, ...]: pa.list_(pa.struct(list(component.items()))),
    }
    return {CELL_TYPES[python]: arrow for python, arrow in types.items()}


def _is_open(arrow: Any) -> bool:
    """Whether pyarrow saw no value that would tell the type."""
    import pyarrow as pa

    return pa.types.is_null(arrow) or (pa.types.is_list(arrow) and _is_open(arrow.value_type))


def pair_to_json(pair: MeasuredPair) -> Mapping[str, Any]:
    """Return what is kept of a measured pair; without the columns of change for two patients."""
    kept = {
        one.name: one.type.write(getattr(pair.score, one.name))
        for one in score_columns()
        if one.name in kept_columns(pair.one_patient)
    }
    return {**kept, CURVE: [list(point) for point in pair.detection_curve]} if pair.one_patient else kept


def pair_from_json(stored: Mapping[str, Any], one_patient: bool) -> MeasuredPair | None:
    """Read what `pair_to_json` returned; None where a column is missing, so that it has to be measured anew."""
    if not kept_columns(one_patient) <= stored.keys():
        return None
    curve = tuple((float(volume_ml), float(p)) for volume_ml, p in stored.get(CURVE, ()))
    return MeasuredPair(read_row(stored), one_patient, curve)


@cache
def kept_columns(one_patient: bool) -> frozenset[str]:
    """Return the columns that are kept of a measured pair, of one patient or of two."""
    return frozenset(names_of(Origin.EVERY_PAIR, *([Origin.CHANGE] if one_patient else [])))


def reported_columns() -> tuple[Column, ...]:
    """Return what the report says of every pair beyond its identity and its verdict, plain values first."""
    own = {"verdict", "reasons", *names_of(Origin.PAIR)}
    found = (one for one in score_columns() if one.report_name and one.name not in own)
    return tuple(sorted(found, key=lambda one: 1 if one.name in PATHS else one.type.rank))


PATHS = ("map", "pictures")
"""Columns that name a file below the study's data folder."""


def _lines() -> Iterator[str]:
    yield "# Columns of the scores"
    yield ""
    yield "This page is made from `siamese_med/study/pair_score.py` by `python -m siamese_med.study.score_columns`."
    yield "The score table is `data/scores/<model id>.parquet`; the report's names are those in `pairs.tsv` and"
    yield "`report.json`. Columns of change are missing for pairs of two patients."
    yield ""
    yield "| Score table | Report | Type | Unit | Comes from | Meaning |"
    yield "|---|---|---|---|---|---|"
    yield from (_line(one) for one in score_columns())
    yield ""
    yield "## Reasons for no verdict"
    yield ""
    yield "| Reason | Meaning |"
    yield "|---|---|"
    yield from (f"| `{word}` | {word.explanation} |" for word in NotComparable)


def _line(column: Column) -> str:
    meaning = column.meaning
    report = f"`{column.report_name}`" if column.report_name else "–"
    report += "" if meaning.tabulated or not column.report_name else " (JSON only)"
    text = f"{meaning.description}; {meaning.detail}" if meaning.detail else meaning.description
    unit = meaning.unit or "–"
    return f"| `{column.name}` | {report} | {column.type.words} | {unit} | {meaning.origin.value} | {text} |"


def document_columns() -> str:
    """Return docs/columns.md."""
    return "".join(f"{line}\n" for line in _lines())


if __name__ == "__main__":
    sys.stdout.write(document_columns())
