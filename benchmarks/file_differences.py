"""How two files differ: byte for byte, or by their content without fields that are allowed to differ.

Nothing here imports siamese-med, so files of any two commits can be compared.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_DIFFERENCES = 3
SHOWN_CHARACTERS = 60
ALLOWED = "<allowed to differ>"
COMPRESSION = "compression"
"""Named where two .gz files differ, but not in what they hold: igzip may take another of two matches as long."""


@dataclass(frozen=True)
class Exemption:
    """Fields of some files that are allowed to differ.

    files: pattern that the whole path must match, with `/`, from the demo folder. fields: dotted keys of JSON (`*`
    stands for any key or place), columns of CSV or TSV, `table.column` of SQLite, patterns of anything else. reason:
    why they must differ.
    """

    files: str
    fields: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Finding:
    """What became of one pair of files: what was left out of the comparison, and the first differences in the rest."""

    ignored: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def compare_files(before: Path, after: Path, fields: Sequence[str], renamed: Mapping[str, str]) -> Finding:
    """Compare two files that are to be equal.

    Parameters
    ----------
    before, after
        The two files; the suffix of `after` says what they hold.
    fields
        What may differ, in the form that `Exemption.fields` describes.
    renamed
        Names that changed on purpose, old to new: replaced in texts, keys, columns and rows of `before`.

    Returns
    -------
    Finding
        Empty where the files are equal byte for byte.
    """
    old, new = before.read_bytes(), after.read_bytes()
    if old == new and after.suffix != ".sqlite":
        return Finding()
    try:
        return _compare_contents(before, after, fields, renamed)
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, sqlite3.Error) as error:
        return Finding((), (f"one cannot be read ({type(error).__name__}): {_first_byte(old, new)}",))


def _compare_contents(before: Path, after: Path, fields: Sequence[str], renamed: Mapping[str, str]) -> Finding:
    suffix = after.suffix
    if suffix == ".sqlite":
        return _compare_tables(_read_sqlite(before, renamed), _read_sqlite(after, {}), fields)
    if suffix == ".parquet":
        return Finding((), _parquet_differences(before, after, renamed))
    if suffix in {".npy", ".npz"}:
        return Finding((), _array_differences(before, after))
    old, new = before.read_bytes(), after.read_bytes()
    if suffix == ".gz":
        return _compare_compressed(old, new)
    if _is_text(old) and _is_text(new):
        return _compare_texts(rename(old.decode(), renamed), new.decode(), suffix, fields)
    return Finding((), (_first_byte(old, new),))


def rename(text: str, renamed: Mapping[str, str]) -> str:
    """Replace old names by new ones, each as a whole word only.

    >>> rename("subject subject_a", {"subject": "patient"})
    'patient subject_a'
    """
    for old, new in renamed.items():
        text = re.sub(rf"(?<![A-Za-z0-9_]){re.escape(old)}(?![A-Za-z0-9_])", new, text)
    return text


def rename_path(path: str, renamed: Mapping[str, str]) -> str:
    """Replace old names of files and folders by new ones, also where more follows after `_` or `.`.

    >>> rename_path("scores/m-1/a.json scores/m-1_owners.parquet", {"m-1": "m-2"})
    'scores/m-2/a.json scores/m-2_owners.parquet'
    """
    for old, new in renamed.items():
        path = re.sub(rf"(?<=/){re.escape(old)}(?![A-Za-z0-9])", new, path)
    return path


def _compare_texts(old: str, new: str, suffix: str, fields: Sequence[str]) -> Finding:
    if suffix == ".json":
        return _compare_json(json.loads(old), json.loads(new), fields, old == new)
    if suffix in {".csv", ".tsv"}:
        separator = "\t" if suffix == ".tsv" else ","
        tables = [{"": list(csv.DictReader(io.StringIO(text), delimiter=separator))} for text in (old, new)]
        found = _compare_tables(tables[0], tables[1], [f".{field}" for field in fields])
        if found.differences or found.ignored or old == new:
            return Finding(tuple(field.removeprefix(".") for field in found.ignored), found.differences)
        return Finding((), ("other header or line ends",))
    used = []
    for field in fields:
        both = re.sub(field, ALLOWED, old), re.sub(field, ALLOWED, new)
        used += [field] if re.findall(field, old) != re.findall(field, new) else []
        old, new = both
    return Finding(tuple(used), _text_differences(old, new))


def _text_differences(old: str, new: str) -> tuple[str, ...]:
    """The first lines that differ, each cut to where it does; pages hold lines of many kilobytes."""
    found = []
    for number, (one, other) in enumerate(zip_longest(old.splitlines(), new.splitlines(), fillvalue=""), 1):
        if one != other:
            place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), -1)
            start = max(place - SHOWN_CHARACTERS // 2, 0)
            cut = slice(start, start + SHOWN_CHARACTERS)
            found.append(f"line {number}: {one[cut]!r} became {other[cut]!r}")
    if not found and old != new:
        found.append("other line ends")
    return _first(found)


def _compare_json(old: object, new: object, fields: Sequence[str], same_text: bool) -> Finding:
    values = [dict(_flatten(one)) for one in (old, new)]
    changed = [key for key in {**values[0], **values[1]} if values[0].get(key) != values[1].get(key)]
    ignored = sorted({field for field in fields for key in changed if _names(field, key)})
    rest = [key for key in changed if not any(_names(field, key) for field in fields)]
    found = [f"{key}: {_shown(values[0].get(key))} became {_shown(values[1].get(key))}" for key in sorted(rest)]
    if not changed and not same_text:
        found.append("equal values, written otherwise (order of keys, or spaces)")
    return Finding(tuple(ignored), _first(found))


def _flatten(value: object, key: str = "") -> list[tuple[str, str]]:
    """Every leaf by its dotted key, as JSON."""
    if isinstance(value, dict) and value:
        return [leaf for name, one in value.items() for leaf in _flatten(one, f"{key}.{name}" if key else str(name))]
    if isinstance(value, list) and value:
        return [leaf for place, one in enumerate(value) for leaf in _flatten(one, f"{key}.{place}".lstrip("."))]
    return [(key, json.dumps(value))]


def _names(field: str, key: str) -> bool:
    """Whether a dotted pattern names a key or something below it."""
    pattern = r"\.".join("[^.]+" if part == "*" else re.escape(part) for part in field.split("."))
    return re.match(rf"{pattern}(\.|$)", key) is not None


def _read_sqlite(path: Path, renamed: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            rename(name, renamed): [
                {rename(key, renamed): rename(repr(row[key]), renamed) for key in row.keys()}  # noqa: SIM118
                for row in connection.execute(f'SELECT * FROM "{name}"')
            ]
            for name in names
        }


def _compare_tables(
    old: Mapping[str, Sequence[Mapping[str, str]]],
    new: Mapping[str, Sequence[Mapping[str, str]]],
    fields: Sequence[str],
) -> Finding:
    """Compare tables row by row in an order of their own, without the columns that may differ."""
    found = [f"table {name} is only in one" for name in sorted(old.keys() ^ new.keys())]
    ignored = set()
    for name in sorted(old.keys() & new.keys()):
        free = {field.rpartition(".")[2] for field in fields if field.rpartition(".")[0] == name}
        rows = [sorted(str(_without(row, free)) for row in table[name]) for table in (old, new)]
        for column in free:
            values = [sorted(str(row.get(column)) for row in table[name]) for table in (old, new)]
            ignored |= {f"{name}.{column}"} if values[0] != values[1] else set()
        gone, come = (sorted(set(rows[place]) - set(rows[1 - place])) for place in (0, 1))
        if rows[0] != rows[1]:
            sizes = f"{len(rows[0])} rows became {len(rows[1])}, {len(gone)} of the old ones are not there"
            found.append(f"{name or 'table'}: {sizes}; {_row_difference(gone, come)}")
    return Finding(tuple(sorted(ignored)), _first(found))


def _without(row: Mapping[str, str], free: set[str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in free}


def _row_difference(gone: Sequence[str], come: Sequence[str]) -> str:
    """The first differing row, cut to where it differs from the one in its place."""
    return _text_differences(gone[0] if gone else "", come[0] if come else "")[0] if gone or come else "repeated rows"


def _compare_compressed(old: bytes, new: bytes) -> Finding:
    plain = gzip.decompress(old), gzip.decompress(new)
    if plain[0] == plain[1]:
        return Finding((COMPRESSION,))
    return Finding((), (f"unpacked: {_first_byte(*plain)}",))


def _parquet_differences(before: Path, after: Path, renamed: Mapping[str, str]) -> tuple[str, ...]:
    """Columns, types and cells; equal frames in other bytes are a difference too."""
    from pyarrow import parquet

    old, new = parquet.read_table(before), parquet.read_table(after)
    names = [rename(name, renamed) for name in old.column_names]
    followed = names != old.column_names
    old = old.rename_columns(names)
    kinds = [{field.name: str(field.type) for field in table.schema} for table in (old, new)]
    found = [
        f"column {name}: {kinds[0].get(name)} became {kinds[1].get(name)}"
        for name in sorted({*kinds[0], *kinds[1]})
        if kinds[0].get(name) != kinds[1].get(name)
    ]
    if old.num_rows != new.num_rows:
        found.append(f"{old.num_rows} rows became {new.num_rows}")
    for name in [name for name in old.column_names if name in new.column_names]:
        was, now = (list(map(repr, table[name].to_pylist())) for table in (old, new))
        asked = [rename(cell, renamed) for cell in was]
        followed |= asked != was
        places = [place for place, (one, other) in enumerate(zip(asked, now, strict=False)) if one != other]
        if places:
            first = f"{_shown(asked[places[0]])} became {_shown(now[places[0]])}"
            found.append(f"column {name}: {len(places)} cells, first in row {places[0]}: {first}")
    if not found and not followed:
        found.append("equal frames in other bytes (metadata or order)")
    return _first(found)


def _array_differences(before: Path, after: Path) -> tuple[str, ...]:
    import numpy as np

    found = []
    old, new = (_arrays(np.load(path, allow_pickle=False)) for path in (before, after))
    for name in sorted({*old, *new}):
        one, other = old.get(name), new.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            found.append(f"array {name}: {_kind(one)} became {_kind(other)}")
        elif one.tobytes() != other.tobytes():
            found.append(f"array {name}: {int(np.sum(one != other))} of {one.size} values")
    return _first(found or ["equal arrays in other bytes"])


def _arrays(loaded: object) -> dict[str, NDArray[np.generic]]:
    return dict(loaded) if hasattr(loaded, "files") else {"": loaded}  # type: ignore[call-overload,dict-item]


def _kind(array: NDArray[np.generic] | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {array.shape}"


def _first_byte(old: bytes, new: bytes) -> str:
    place = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return f"{len(old)} bytes became {len(new)}, the first difference at byte {place}"


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _shown(value: str | None) -> str:
    text = "nothing" if value is None else value
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _first(found: Sequence[str]) -> tuple[str, ...]:
    more = len(found) - SHOWN_DIFFERENCES
    return (*found[:SHOWN_DIFFERENCES], *([f"and {more} more"] if more > 0 else []))
