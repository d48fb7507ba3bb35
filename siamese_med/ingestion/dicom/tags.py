"""Reading values of hostile DICOM headers: whatever is missing, malformed or endless becomes None or an empty word."""

from __future__ import annotations

import math
import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion.dicom.fast_header import NotPlainError, PlainHeader

if TYPE_CHECKING:
    from pydicom import Dataset

    DicomHeader = Dataset | PlainHeader

MAX_TAG_TEXT_CHARS = 256
EARLIEST_YEAR = 1895
DICOM_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")


def get_tag_value(dataset: DicomHeader | None, key: Any) -> Any:
    """The value of a keyword or (group, element), or None."""
    if dataset is None:
        return None
    try:
        found = dataset.get(key)
        return getattr(found, "value", found) if isinstance(key, tuple) else found
    except NotPlainError:
        raise
    except Exception:  # pydicom raises whatever its converters raise
        return None


def get_tag_text(dataset: DicomHeader | None, key: Any) -> str:
    """A short stripped text; of several values the first is not chosen, they are joined."""
    found = get_tag_value(dataset, key)
    if found is None:
        return ""
    try:
        return str(found).strip(" \0\t\r\n")[:MAX_TAG_TEXT_CHARS]
    except Exception:
        return ""


def get_tag_words(dataset: DicomHeader | None, key: Any) -> tuple[str, ...]:
    """All values in upper case."""
    found = get_tag_value(dataset, key)
    if found is None or found == "":
        return ()
    many = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)[:16]
    return tuple(str(word).strip().upper()[:MAX_TAG_TEXT_CHARS] for word in many)


def get_tag_numbers(dataset: DicomHeader | None, key: Any, count: int) -> tuple[float, ...] | None:
    """Exactly `count` numbers (they may be NaN), or None."""
    found = get_tag_value(dataset, key)
    if found is None or found == "":
        return None
    try:
        many = tuple(float(one) for one in (found if hasattr(found, "__iter__") else [found]))
    except (TypeError, ValueError, OverflowError):
        return None
    return many if len(many) == count else None


def get_tag_number(dataset: DicomHeader | None, key: Any) -> float | None:
    """One finite number, or None."""
    found = get_tag_value(dataset, key)
    if found is None or isinstance(found, (bytes, str)) or hasattr(found, "__iter__"):
        found = get_tag_text(dataset, key)
    try:
        one = float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return one if math.isfinite(one) else None


def get_tag_integer(dataset: DicomHeader | None, key: Any) -> int | None:
    """One whole number, or None."""
    one = get_tag_number(dataset, key)
    return int(one) if one is not None and abs(one) < 2**53 else None


def get_first_item(dataset: DicomHeader | None, key: str) -> Dataset | None:
    """First item of a sequence, or None."""
    found = get_tag_value(dataset, key)
    try:
        return found[0] if found else None
    except Exception:
        return None


@lru_cache(maxsize=1024)
def parse_dicom_date(written: str, shifted_years: int = 0) -> date | None:
    """A date as DICOM or ISO writes it, time of day ignored; None where no scan can be of that day.

    `shifted_years`: how far a date may have been moved on purpose.
    """
    match = DICOM_DATE.match(written.strip())
    if match is None:
        return None
    try:
        found = date(*map(int, match.groups()))
    except ValueError:
        return None
    earliest, latest = EARLIEST_YEAR - shifted_years, date.today().year + 1 + shifted_years
    return found if earliest <= found.year <= latest else None
