"""Columns of each table of a study, and their types. A table is checked once, where it is read.

After that a frame is used without looking again. A table that somebody edited, or that another version wrote, is
refused in one line that names the file and the column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.errors import InputError
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS
from siamese_med.study.score_columns import score_columns
from siamese_med.study.table_cells import CellKind
from siamese_med.study.tables import OWNER_COLUMNS, PAIR_COLUMNS, SCAN_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableSchema:
    """The columns of one table.

    Parameters
    ----------
    cells
        The type of the cells of each column. A table may have other columns too.
    filled
        Columns in which no cell may be missing.
    lacking
        Columns that a table may lack as a whole, since older versions did not write them.
    remedy
        What a user can do about a wrong table.
    """

    cells: Mapping[str, CellKind]
    filled: frozenset[str]
    remedy: str
    lacking: frozenset[str] = frozenset()

    def validate(self, frame: pd.DataFrame, called: str) -> pd.DataFrame:
        """Check a table that was read.

        Parameters
        ----------
        frame
            The table.
        called
            What an error calls it, such as its file's name.

        Returns
        -------
        pandas.DataFrame
            The same frame.

        Raises
        ------
        InputError
            A column is missing, a cell that has to be filled is empty, or cells are of another type. The message is one
            line and shows no cell.
        """
        for name, kind in self.cells.items():
            if name not in frame.columns:
                if name in self.lacking:
                    continue
                raise InputError(f"{called} lacks the column {name}: {self.remedy}")
            present = frame[name].dropna()
            if name in self.filled and len(present) < len(frame):
                raise InputError(f"{called} has an empty cell in the column {name}: {self.remedy}")
            if len(present) and not _are(present, kind):
                raise InputError(f"{called} has something else than {kind} in the column {name}: {self.remedy}")
        return frame


_INFERRED = {
    CellKind.TEXT: ("string",),
    CellKind.INTEGER: ("integer",),
    CellKind.NUMBER: ("integer", "floating", "mixed-integer-float"),
    CellKind.FLAG: ("boolean",),
}
"""Names that pandas gives to such cells."""


def _are(cells: pd.Series, kind: CellKind) -> bool:
    """Whether all cells, none of which is missing, are of one type."""
    import numpy as np
    from pandas.api.types import infer_dtype

    if kind is CellKind.LIST:
        return all(isinstance(cell, list | tuple | np.ndarray) for cell in cells)
    if kind is CellKind.RECORD:
        return all(isinstance(cell, dict) for cell in cells)
    return infer_dtype(cells) in _INFERRED[kind]


def _schema(
    columns: Iterable[str],
    default: CellKind,
    others: Mapping[CellKind, str],
    may_miss: str,
    remedy: str,
) -> TableSchema:
    """Build a schema whose columns are of the kind `default` but for `others`; names are separated by blanks.

    Cells of the columns in `may_miss` may be missing.
    """
    cells = dict.fromkeys(columns, default) | _by_name(others)
    return TableSchema(cells, frozenset(cells.keys() - set(may_miss.split())), remedy)


def _by_name(kinds: Mapping[CellKind, str]) -> dict[str, CellKind]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


SCANS = _schema(
    SCAN_COLUMNS,
    CellKind.TEXT,
    {
        CellKind.LIST: "shape spacing_mm affine flags",
        CellKind.INTEGER: "changed",
        CellKind.NUMBER: "contrast_confidence",
    },
    "date changed mask acquired contrast_confidence lesions difference since",
    "restore it, or ingest again into another --data",
)
PAIRS = _schema(
    PAIR_COLUMNS,
    CellKind.TEXT,
    {CellKind.INTEGER: "interval_days"},
    "interval_days",
    "run `siamese-med pair` again",
)
ALIGNMENTS = _schema(
    ALIGNMENT_COLUMNS,
    CellKind.TEXT,
    {CellKind.LIST: "matrix", CellKind.NUMBER: "quality coverage brain_ml ventricles_ml", CellKind.FLAG: "ok"},
    "brain brain_ml ventricles_ml",
    "remove data/prepared, and run `siamese-med prepare` again",
)
OWNERS = _schema(
    OWNER_COLUMNS,
    CellKind.TEXT,
    {CellKind.NUMBER: "evidence owner_evidence", CellKind.FLAG: "alarm"},
    "evidence owner owner_evidence",
    "run `siamese-med score` again",
)
REQUIRED_SCORE_COLUMNS = (
    *("scan_a", "scan_b", "subject_a", "subject_b", "kind", "split"),
    *("comparable", "reasons", "similarity", "distance"),
)
"""Columns that every version wrote, with a value for every pair. A table may lack any other one, or have gaps in it."""


def _build_score_schema() -> TableSchema:
    kinds = {one.name: one.type.kind for one in score_columns()}
    required = {name: kinds[name] for name in REQUIRED_SCORE_COLUMNS}
    return TableSchema(
        required | kinds,
        filled=frozenset(required) - {"similarity"},  # empty where a scan could not be placed on the template
        remedy="run `siamese-med score` again",
        lacking=frozenset(kinds.keys() - required.keys()),
    )


SCORES = _build_score_schema()
"""The score table: the columns of `PairScore`. A column that is added there is checked here too."""
