"""What a BIDS tree says beside its images: subject and session in names, dates in tables, scanners in JSON."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from siamese_med.ingestion import machine_errors
from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.inputs import open_files, time_limits
from siamese_med.ingestion.inputs.bids_labels import BidsLabels, normalise_unicode
from siamese_med.ingestion.reasons import SCAN_FLAGS, RejectedError
from siamese_med.study.vocabulary import ScanFlag

DATASET_DESCRIPTION_FILE = "dataset_description.json"
SIDECAR_ENDINGS = (".json", ".tsv", ".tsv.gz", ".bval", ".bvec", ".txt", ".md", ".bidsignore")
ROOT_TEXT_FILES = ("README", "CHANGES", "LICENSE")
STEM_ENDINGS = (".gz", ".nii", ".img", ".hdr", ".json", ".tsv", ".csv", ".bval", ".bvec", ".dcm")
SCANNER_KEYS = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber")
MAX_SHIFTED_YEARS = 100
MAX_TEXT_BYTES = 16 * 2**20
MAX_DATASET_NAME_CHARS = 200
"""Characters of a data set's Name that count."""


@dataclass(frozen=True)
class Sidecar:
    """What a JSON beside an image says, as far as it is used."""

    modality: str = ""
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    date: date | None = None
    flags: tuple[str, ...] = ()


def get_image_stem(path: Path) -> str:
    """A file's name without the endings of images and of their side-cars."""
    name = path.name
    for ending in STEM_ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name or path.name  # of a file that is called .nii


def is_sidecar(path: Path, name: str, described: bool, at_root: bool) -> bool:
    """Whether a file is a text that speaks of images; `at_root`: whether it lies in the data set's own folder."""
    if name.lower().endswith(SIDECAR_ENDINGS) and (described or _beside_an_image(path)):
        return True
    return described and at_root and name in ROOT_TEXT_FILES


def _beside_an_image(path: Path) -> bool:
    return any(path.with_name(get_image_stem(path) + ending).is_file() for ending in (".nii", ".nii.gz"))


def read_dataset_name(root: Path) -> str:
    """The Name of a data set, in one spelling; empty where its description gives none.

    So it is where the description cannot be read now, which holds the images of the data set back.
    """
    try:
        name = time_limits.call_with_time_limit(_json, root / DATASET_DESCRIPTION_FILE).get("Name")
    except OSError:
        return ""
    return normalise_unicode(_text(" ".join(name.split())))[:MAX_DATASET_NAME_CHARS] if isinstance(name, str) else ""


def _text(value: object) -> str:
    """A value as text; JSON can write half of a character, which no encoding can."""
    return str(value).encode("utf-8", "replace").decode()


def read_sidecar(path: Path, stem: str) -> Sidecar:
    """The JSON of the same name; empty where there is none or it is no JSON object."""
    content = _json(path.with_name(f"{stem}.json"))
    scanner = tuple(_text(content.get(key, "")) for key in SCANNER_KEYS)
    acquired = str(content.get("AcquisitionDate") or content.get("AcquisitionDateTime") or "")
    modality = {"MR": "MR", "CT": "CT", "PT": "PT"}.get(str(content.get("Modality", "")).upper(), "")
    return Sidecar(
        modality,
        scanner if any(scanner) else _read_own_pseudonym(content, "Scanner"),
        _protocol(content) or _read_own_pseudonym(content, "Protocol"),
        tags.parse_dicom_date(acquired),
        _flags(content),
    )


def _read_own_pseudonym(content: dict[str, Any], key: str) -> tuple[str, ...]:
    """A pseudonym that ingest wrote beside a scan of its own, which is read in again."""
    label = content.get(key)
    return (label,) if isinstance(label, str) and label.startswith(f"{key.lower()}-") else ()


def _flags(content: dict[str, Any]) -> tuple[str, ...]:
    """What ingest warned of when it wrote the scan; what of date, mask and patient is wrong shows anew."""
    said = content.get("Flags")
    anew = (ScanFlag.DATE_UNKNOWN, ScanFlag.MASK_UNUSED, ScanFlag.MASK_UNREAD, ScanFlag.WRONG_PATIENT)
    return tuple(word for word in SCAN_FLAGS if word not in anew and isinstance(said, list) and word in said)


def _protocol(content: dict[str, Any]) -> tuple[str, ...]:
    """Timing (BIDS writes seconds) to the millisecond, as for DICOM."""
    times = [content.get(key) for key in ("RepetitionTime", "EchoTime", "InversionTime")]
    known = tuple(str(round(1000 * time)) if isinstance(time, (int, float)) and time < 1e6 else "" for time in times)
    return known if any(known) else ()


class BidsTree:
    """A folder with a dataset_description.json; its tables are read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rows, self._content = cache(_rows), cache(_content)

    def date(self, path: Path, labels: BidsLabels) -> date | None:
        """The `acq_time` of a scan in scans.tsv, else of its session in sessions.tsv.

        Raises OSError where a table or the description, which says whose labels these are, cannot be read now.
        """
        self._content(self.root / DATASET_DESCRIPTION_FILE, "utf-8")
        name, subject, session = normalise_unicode(path.name), f"sub-{labels.subject}", f"ses-{labels.session}"
        for folder in (path.parent, *path.parents):
            for table in (f"{subject}_{session}_scans.tsv", f"{subject}_scans.tsv"):
                for row in self._table(folder, table):
                    if normalise_unicode(PurePosixPath(row.get("filename", "")).name) == name and (day := _day(row)):
                        return day
            for row in self._table(folder, f"{subject}_sessions.tsv"):
                if normalise_unicode(row.get("session_id", "")) == session and (day := _day(row)):
                    return day
            if folder == self.root:
                break
        return None

    def _table(self, folder: Path, name: str) -> list[dict[str, str]]:
        """Rows of a table, whose name may have composed or decomposed letters on disk."""
        spellings = {name, unicodedata.normalize("NFD", name)}
        return [row for one in sorted(spellings) for row in self._rows(folder / one)]


def _day(row: dict[str, str]) -> date | None:
    """The day of a table's row; who shares a dataset, or wrote it with this program, has moved it."""
    return tags.parse_dicom_date(row.get("acq_time", ""), MAX_SHIFTED_YEARS)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_content(path, "utf-8"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(_content(path, "utf-8-sig"), newline=""), delimiter="\t")
        return [{k: v for k, v in row.items() if k and isinstance(v, str)} for row in rows]
    except (UnicodeDecodeError, csv.Error):
        return []


def _content(path: Path, encoding: str) -> str:
    """A text beside an image; nothing where there is none. Raises OSError where the machine does not give it now."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            return ""
        return open_files.read_regular_file(path).decode(encoding)
    except RejectedError:  # a folder, a pipe or a device
        return ""
    except OSError as error:
        if machine_errors.find_machine_error_reason(error) in ("", "file_vanished"):
            return ""
        raise
