"""Reading values of hostile DICOM headers: a missing, malformed or endless value becomes None or an empty text."""

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
"""Characters of a text value that are kept."""

EARLIEST_YEAR = 1895
"""Year before which no scan can have been made: X-rays were discovered in 1895."""

PLACEHOLDER_DATES = {(1899, 12, 30), (1899, 12, 31), *((year, 1, 1) for year in (*range(1895, 1981), 1990, 2000))}
"""Dates that programs write where there is none: the first days of their calendars, and round years."""

DICOM_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
"""A date as DICOM (20240131), ACR-NEMA (2024.01.31) or ISO 8601 (2024-01-31) writes it."""


IDENTIFIER_TAGS = (0x00100020, 0x00100021)
"""PatientID and its issuer."""

UNDECODABLE = "\ufffd"
"""Replacement character for every byte that a character set does not have."""


def keep_undecodable_identifiers(dataset: Dataset) -> None:
    """Read an identifier as Latin-1 where the character set that the header names cannot decode it.

    Otherwise each such byte would become one and the same character, so that two patients (`M\u00fcller-7` and
    `M\u00f6ller-7`) would be one. Call it before anything else is read of the dataset, which is changed.
    """
    for tag in IDENTIFIER_TAGS:
        raw = getattr(dataset.get_item(tag), "value", None)
        if (
            isinstance(raw, bytes)
            and not raw.isascii()
            and UNDECODABLE in get_tag_text(dataset, (tag >> 16, tag & 0xFFFF))
        ):
            dataset[tag].value = raw.decode("latin-1").rstrip(" \0")


def get_tag_value(dataset: DicomHeader | None, key: Any) -> Any:
    """Return the value of a keyword or (group, element), or None where it is missing or cannot be converted.

    Raises
    ------
    NotPlainError
        The header is a `PlainHeader` and the value needs a full parser.
    """
    if dataset is None:
        return None
    try:
        found = dataset.get(key)
        return getattr(found, "value", found) if isinstance(key, tuple) else found
    except NotPlainError:
        raise
    except Exception:  # pydicom passes on any exception of its converters
        return None


def get_tag_text(dataset: DicomHeader | None, key: Any) -> str:
    """Return a value as stripped text.

    At most `MAX_TAG_TEXT_CHARS` characters are kept. Several values are joined in pydicom's notation, so that none of
    them is chosen over the others. A missing or malformed value gives an empty text.
    """
    found = get_tag_value(dataset, key)
    if found is None:
        return ""
    try:
        return str(found).strip(" \0\t\r\n")[:MAX_TAG_TEXT_CHARS]
    except Exception:
        return ""


def get_tag_words(dataset: DicomHeader | None, key: Any) -> tuple[str, ...]:
    """Return all values as stripped text in upper case, as for Image Type.

    At most 16 values are returned, each of at most `MAX_TAG_TEXT_CHARS` characters; none where the element is missing.
    """
    found = get_tag_value(dataset, key)
    if found is None or found == "":
        return ()
    many = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)[:16]
    return tuple(str(word).strip().upper()[:MAX_TAG_TEXT_CHARS] for word in many)


def get_tag_numbers(dataset: DicomHeader | None, key: Any, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` numbers, as for Image Position (Patient).

    The numbers may be NaN or infinite; callers check that. None where there are more, fewer or no numbers.
    """
    found = get_tag_value(dataset, key)
    if found is None or found == "":
        return None
    try:
        many = tuple(float(one) for one in (found if hasattr(found, "__iter__") else [found]))
    except (TypeError, ValueError, OverflowError):
        return None
    return many if len(many) == count else None


def get_tag_number(dataset: DicomHeader | None, key: Any) -> float | None:
    """Return one finite number, or None where the value is missing, multiple, infinite or no number."""
    found = get_tag_value(dataset, key)
    if found is None or isinstance(found, (bytes, str)) or hasattr(found, "__iter__"):
        found = get_tag_text(dataset, key)
    try:
        one = float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return one if math.isfinite(one) else None


def get_tag_integer(dataset: DicomHeader | None, key: Any) -> int | None:
    """Return one number, truncated to an integer.

    None where it is missing, no number, or 2**53 and above, where integers are not exact as a double.
    """
    one = get_tag_number(dataset, key)
    return int(one) if one is not None and abs(one) < 2**53 else None


def get_first_item(dataset: DicomHeader | None, key: str) -> Dataset | None:
    """Return the first item of a sequence, or None where the sequence is missing, empty or broken.

    Plain headers have no sequences that are needed, so this is for pydicom's data sets.
    """
    found = get_tag_value(dataset, key)
    try:
        return found[0] if found else None
    except Exception:
        return None


def list_items(dataset: DicomHeader | None, key: str) -> list[Dataset]:
    """Return the items of a sequence; none where the sequence is missing or broken."""
    found = get_tag_value(dataset, key)
    if not found or isinstance(found, (str, bytes)):
        return []
    try:
        return [item for item in found if hasattr(item, "get")]
    except Exception:
        return []


@lru_cache(maxsize=1024)
def parse_dicom_date(written: str, shifted_years: int = 0) -> date | None:
    """Parse a date of DICOM, ACR-NEMA or ISO 8601; a time of day after it is ignored.

    Parameters
    ----------
    written
        The text of the element.
    shifted_years
        Years by which dates may have been shifted for de-identification.

    Returns
    -------
    date or None
        None where the text is no date, or no scan can have been made then: before 1895, or after next year.

    Examples
    --------
    >>> parse_dicom_date("20240131")
    datetime.date(2024, 1, 31)
    >>> parse_dicom_date("18500101") is None
    True
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


def parse_scan_date(written: str) -> date | None:
    """Parse the date of a scan, see `parse_dicom_date`; None for a date that only fills the place of one.

    Examples
    --------
    >>> parse_scan_date("19000101") is None, parse_scan_date("20190304")
    (True, datetime.date(2019, 3, 4))
    """
    found = parse_dicom_date(written)
    return None if found and (found.year, found.month, found.day) in PLACEHOLDER_DATES else found
