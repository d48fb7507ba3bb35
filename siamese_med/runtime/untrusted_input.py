"""Checks of files that may come from another source: models, tables and reports.

A name in such a file must not lead out of the folder that it is looked up in. Numbers must be finite: every comparison
with NaN is false, so NaN would read as 'no change'.
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
"""Longest name in bytes of UTF-8. File systems allow 255; suffixes are added to names."""


class NotFiniteError(ValueError):
    """A number in a file that is NaN or infinite."""


def is_safe_name(text: Any) -> bool:
    """Tell whether a value can be used as the name of a file or folder: printable, not hidden, not a path.

    Examples
    --------
    >>> is_safe_name("sub-0001"), is_safe_name("../secret"), is_safe_name(".hidden"), is_safe_name(7)
    (True, False, False, False)
    """
    if not isinstance(text, str) or not text.isprintable() or text.startswith(".") or set(text) & set("/\\"):
        return False
    return 0 < len(text.encode()) <= MAX_NAME_BYTES


def is_safe_relative_path(text: Any) -> bool:
    """Tell whether a value is a relative path that stays inside the folder it is relative to.

    Examples
    --------
    >>> is_safe_relative_path("maps/pair.nii.gz"), is_safe_relative_path("maps/../../x"), is_safe_relative_path("/etc")
    (True, False, False)
    """
    if not isinstance(text, str) or not text or "\0" in text or "\\" in text:
        return False
    path = PurePosixPath(text)
    return not path.is_absolute() and ".." not in path.parts


def read_untrusted_json(path: Path) -> Any:
    """Read a JSON file whose numbers have to be finite.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not UTF-8 or not JSON, is nested too deeply, or holds NaN or an infinite number (NotFiniteError).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant, parse_float=_parse_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_untrusted_table(path: Path, names: Sequence[str], paths: Sequence[str] = ()) -> pd.DataFrame:
    """Read a Parquet table and check the cells that name files.

    Parameters
    ----------
    names
        Columns whose cells must be safe names (`is_safe_name`) or missing.
    paths
        Columns whose cells must be safe relative paths (`is_safe_relative_path`) or missing.

    Raises
    ------
    InputError
        The table cannot be read, lacks one of the columns, or has an unsafe cell.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        found = {column: table[column].dropna().unique() for column in (*names, *paths)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the table {path.name} cannot be read: remove it, and make it again") from error
    for column, cells in found.items():
        if not all(map(is_safe_name if column in names else is_safe_relative_path, cells)):
            raise InputError(f"the table {path.name} has an unsafe name or path in {column}: make it again")
    return table


def _refuse_constant(constant: str) -> NoReturn:
    raise NotFiniteError(f"it holds {constant}")


def _parse_finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise NotFiniteError(f"it holds {text}")
    return number
