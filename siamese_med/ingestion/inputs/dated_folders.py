"""Patients and visits from plain folders, PATIENT/DATE/FILE or PATIENT/VISIT/FILE, of NIfTI files without names.

Folders may also be called after sites or batches, and two people must never become one. So a folder is taken for a
patient only where all of this holds:

- below it there is nothing but folders that are called by a date, or by a word for a visit such as `baseline` or
  `month12`, and images only in these;
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
VISIT_FOLDER = re.compile(
    r"(baseline|screening|initial|follow[-_ ]?ups?|fu|bl)([-_ ]?\d{1,3})?|"
    r"(visit|vis|timepoint|time[-_ ]point|tp|session|sess|exam|month|mo|m|year|yr|y|week|wk|w|day)[-_ ]?\d{1,4}|"
    r"\d{1,3}[-_ ]?(months?|mo|m|years?|yrs?|y|weeks?|wks?|w|days?)",
    re.I,
)
"""Words for visits. `T0`, `T1` and `V1` are none: they are contrasts, or anything."""
FIRST_YEAR = 1970
"""No scan is older."""
MIN_PATIENTS = 2
"""Fewer patients' folders than this may be one folder of a site or a batch."""


@dataclass(frozen=True, slots=True)
class DatedFolder:
    """Patient of a file, and its day or visit, by its folders.

    `patient` is the path of the folder above the date or visit, below the input. Of `day` and `visit` one is given.
    """

    patient: str
    day: date | None
    visit: str = ""


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


def find_folder_visit(folders: Iterable[str]) -> str:
    """Return the one folder that is called by a word for a visit; empty without one, or with two that differ.

    Examples
    --------
    >>> find_folder_visit(["sub-01", "baseline", "anat"]), find_folder_visit(["T1", "V1", "scans"])
    ('baseline', '')
    """
    visits = {folder.casefold() for folder in folders if VISIT_FOLDER.fullmatch(folder)}
    return visits.pop() if len(visits) == 1 else ""


def read_dated_folders(images: Mapping[Path, str]) -> dict[Path, DatedFolder]:
    """Read patient and date or visit of the images that lie in plain folders.

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
        visits = [n for n, folder in enumerate(path.parts[:-1]) if n and _names_visit(folder)]
        if len(visits) == 1:
            above, folder = Path(*path.parts[: visits[0]]), path.parts[visits[0]]
            day = parse_date_folder(folder)
            by_patient[above][path] = DatedFolder(above.as_posix(), day, "" if day else folder.casefold())
    plain = {
        above: found
        for above, found in by_patient.items()
        if all(_names_nobody(stem, above.name) for path, stem in images.items() if path in found)
        and all(path in found for path in images if path.is_relative_to(above))
    }
    if len(plain) < max(MIN_PATIENTS, len(by_patient)):
        return {}
    return {path: one for found in plain.values() for path, one in found.items()}


def _names_visit(folder: str) -> bool:
    return bool(parse_date_folder(folder) or VISIT_FOLDER.fullmatch(folder))


def _names_nobody(stem: str, patient: str) -> bool:
    """Whether a file's name says no more than its folders: kinds of image, the patient's folder, a date."""
    rest = stem.casefold().replace(patient.casefold(), " ")
    words = [word for word in re.split(r"[\s_.+-]+", DATE_FOLDER.sub(" ", rest)) if word]
    return bool(words) and all(contrast.is_image_word(word) for word in words)
