"""Patients and dates from plain folders, PATIENT/DATE/FILE, of NIfTI files that nothing else names.

Folders may also be called after sites or batches, and two people must never become one. So a folder is taken for a
patient only where all of this holds:

- below it there is nothing but folders that are called by a date, and images only in these;
- no file is called by anything but a kind of image, the patient's folder or its date, so no name and no number tells
  people apart;
- there are at least two such patients in the input.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from siamese_med.ingestion import contrast

DATE_FOLDER = re.compile(r"(\d{4})([-_.]?)(\d{2})\2(\d{2})")
"""Year, month and day, in this order: any other order can mean two dates."""
FIRST_YEAR = 1970
"""No scan is older."""
MIN_PATIENTS = 2
"""Fewer patients' folders than this may be one folder of a site or a batch."""


@dataclass(frozen=True, slots=True)
class DatedFolder:
    """Whose a file is by its folders: `patient`, the path of the folder above the date below the input, and the day."""

    patient: str
    day: date


def parse_date_folder(name: str) -> date | None:
    """Read the date that a folder is called by; None where it is called by anything else.

    Examples
    --------
    >>> parse_date_folder("2021-03-09"), parse_date_folder("20210309") == parse_date_folder("2021_03_09")
    (datetime.date(2021, 3, 9), True)
    >>> parse_date_folder("2021-13-09") is parse_date_folder("follow-up") is None
    True
    """
    found = DATE_FOLDER.fullmatch(name)
    if found is None or int(found[1]) < FIRST_YEAR:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def find_folder_date(folders: Iterable[str]) -> date | None:
    """Return the one date that the folders of a path are called by; None without one, or with two that differ.

    Examples
    --------
    >>> find_folder_date(["sub-01", "2021-03-09", "anat"])
    datetime.date(2021, 3, 9)
    """
    days = {day for folder in folders if (day := parse_date_folder(folder))}
    return days.pop() if len(days) == 1 else None


def read_dated_folders(images: Mapping[Path, str]) -> dict[Path, DatedFolder]:
    """Read patient and date of the images that lie in plain folders.

    Parameters
    ----------
    images
        Images that nothing names: paths below the input, and the stem of each, its name without endings.

    Returns
    -------
    dict
        The images in plain folders; empty where any doubt is left.

    Examples
    --------
    >>> places = [f"{who}/{day}/t1.nii" for who in ("p1", "p2") for day in ("2020-01-01", "2021-01-01")]
    >>> found = read_dated_folders({Path(place): "t1" for place in places})
    >>> sorted({one.patient for one in found.values()}), len(found)
    (['p1', 'p2'], 4)
    >>> read_dated_folders({Path(place): "anna" for place in places})
    {}
    """
    by_patient: dict[Path, dict[Path, DatedFolder]] = defaultdict(dict)
    for path in images:
        dated = [n for n, folder in enumerate(path.parts[:-1]) if n and parse_date_folder(folder)]
        if len(dated) == 1 and (day := parse_date_folder(path.parts[dated[0]])):
            above = Path(*path.parts[: dated[0]])
            by_patient[above][path] = DatedFolder(above.as_posix(), day)
    plain = {
        above: found
        for above, found in by_patient.items()
        if all(_names_nobody(stem, above.name) for path, stem in images.items() if path in found)
        and all(path in found for path in images if path.is_relative_to(above))
    }
    if len(plain) < max(MIN_PATIENTS, len(by_patient)):
        return {}
    return {path: one for found in plain.values() for path, one in found.items()}


def _names_nobody(stem: str, patient: str) -> bool:
    """Whether a file's name says no more than its folders: kinds of image, the patient's folder, a date."""
    rest = stem.casefold().replace(patient.casefold(), " ")
    words = [word for word in re.split(r"[\s_.+-]+", DATE_FOLDER.sub(" ", rest)) if word]
    return bool(words) and all(contrast.is_image_word(word) for word in words)
