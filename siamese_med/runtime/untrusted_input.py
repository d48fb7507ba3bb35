"""What is read from a file that somebody else may have written: names that are no paths, numbers that are numbers.

A model folder, a table or a report may come from another place. A name in it must not lead out of the folder that it
is looked up in, and NaN would pass every comparison as false, so it would read as 'no change'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from siamese_med.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAX_NAME_BYTES = 200
"""File systems allow 255, and suffixes are added."""


class NotFiniteError(ValueError):
    """A number in a file is NaN or infinite."""


def is_safe_name(text: Any) -> bool:
    """Whether this can be the name of a file or folder that is not hidden, and is no path."""
    if not isinstance(text, str) or not text.isprintable() or text.startswith(".") or set(text) & set("/\\"):
        return False
    return 0 < len(text.encode()) <= MAX_NAME_BYTES


def is_safe_relative_path(text: Any) -> bool:
    """Whether this is a path that stays in the folder that it counts from."""
    if not isinstance(text, str) or not text or "\0" in text or "\\" in text:
        return False
    path = PurePosixPath(text)
    return not path.is_absolute() and ".." not in path.parts


def read_untrusted_json(path: Path) -> Any:
    """The value in a JSON file; raises OSError, and ValueError also for a number that is NaN or infinite."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant, parse_float=_parse_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_untrusted_table(path: Path, names: Sequence[str], paths: Sequence[str] = ()) -> pd.DataFrame:
    """A Parquet table; raises InputError where a cell of `names` is no name, or one of `paths` leads out of its folder.

    Either may be missing.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        found = {column: table[column].dropna().unique() for column in (*names, *paths)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the table {path.name} cannot be read: remove it, and make it again") from error
    for column, cells in found.items():
        if not all(map(is_safe_name if column in names else is_safe_relative_path, cells)):
            raise InputError(f"the table {path.name} has a path where none may be ({column}): make it again")
    return table


def _refuse_constant(constant: str) -> NoReturn:
    raise NotFiniteError(f"it holds {constant}")


def _parse_finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise NotFiniteError(f"it holds {text}")
    return number
