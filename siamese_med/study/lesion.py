"""State of one lesion on one scan, as the lesion table keeps it and the report shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.runtime import untrusted_input
from siamese_med.study import table_cells
from siamese_med.study.vocabulary import UNKNOWN, LesionFate

if TYPE_CHECKING:
    import pandas as pd

LESION_NAME_COLUMNS = ("subject", "scan", "session")
"""Columns of the lesion table that become part of paths: they are checked before use."""
FATE_ORDER = (
    LesionFate.NEW,
    LesionFate.RETURNED,
    LesionFate.ENLARGING,
    LesionFate.SPLIT,
    LesionFate.SHRINKING,
    LesionFate.VANISHED,
    LesionFate.MERGED,
    LesionFate.FIRST,
    LesionFate.STABLE,
)
"""Order of lesions by what became of them since the first date: what a reader looks for comes first."""


@dataclass(frozen=True, kw_only=True)
class LesionState:
    """One row of the lesion table: a lesion on one scan of its patient.

    Examples
    --------
    >>> LesionState(subject="sub-1", contrast="FLAIR", scan="s", session="ses-01", fate="new", lesion=3).lesion
    3
    """

    subject: str
    contrast: str  # of the time line: scans of different contrasts have lesions of their own
    scan: str
    session: str
    fate: str  # a word of vocabulary.LesionFate: since the date before
    fate_since_first: str = UNKNOWN  # the same since the first date, one for all rows of a lesion
    lesion: int | None = None  # its number, the same in every run; None in rows of a whole scan (total, unplaced)
    other: int | None = None  # the lesion that it merged with or split from
    volume_ml: float | None = None  # None where it is not marked any more
    error_ml: float | None = None  # one standard deviation
    centre_mm: tuple[float | None, ...] = ()  # RAS+ mm of the scan
    region: str | None = None  # of the brain, in words; None outside the brain, and where no brain was found

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {**vars(self), "fate": str(self.fate), "fate_since_first": str(self.fate_since_first),
                "centre_mm": list(self.centre_mm)}  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LesionState:
        """Read what `to_json` returned, also after a table has made arrays of the lists."""
        texts = ("subject", "contrast", "scan", "session", "fate", "fate_since_first")
        return cls(
            **{name: table_cells.parse_text(row.get(name)) or UNKNOWN for name in texts},
            lesion=table_cells.parse_integer(row.get("lesion")),
            other=table_cells.parse_integer(row.get("other")),
            volume_ml=table_cells.parse_number(row.get("volume_ml")),
            error_ml=table_cells.parse_number(row.get("error_ml")),
            centre_mm=table_cells.parse_numbers(row.get("centre_mm")),
            region=table_cells.parse_text(row.get("region")),
        )


def rank_fate(fate: str) -> int:
    """Return the place of a fate in FATE_ORDER; words that are not known come last.

    Examples
    --------
    >>> rank_fate("new"), rank_fate("whatever")
    (0, 9)
    """
    found = LesionFate.find_member(fate)
    return FATE_ORDER.index(found) if found in FATE_ORDER else len(FATE_ORDER)


LESION_COLUMNS = tuple(field.name for field in fields(LesionState))
"""Columns of the lesion table, one row for each lesion and scan, and one for each scan as a whole."""


def locate_lesion_slices(data: Path, subject: str) -> Path:
    """Return the file that keeps slices through a patient's marked lesions, written by scoring, for the report."""
    return data / "lesions" / f"{subject}.npz"


def build_lesion_table(states: Iterable[LesionState]) -> pd.DataFrame:
    """Build the lesion table, in the order of the given rows."""
    import pandas as pd

    table = pd.DataFrame([state.to_json() for state in states], columns=list(LESION_COLUMNS))
    return table.astype({"lesion": "Int64", "other": "Int64", "volume_ml": "float64", "error_ml": "float64"})


def read_lesion_table(path: Path) -> list[LesionState]:
    """Read a lesion table without trust; an empty list where there is none.

    Raises InputError where it cannot be read, or a name in it is unsafe.
    """
    if not path.is_file():
        return []
    table = untrusted_input.read_untrusted_table(path, LESION_NAME_COLUMNS)
    return [LesionState.from_json({str(name): cell for name, cell in row.items()}) for row in table.to_dict("records")]
