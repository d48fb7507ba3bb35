"""What a BIDS tree says beside its images: subject and session in names, dates in tables, scanners in JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from siamese_med.ingestion import passing, reading, tags
from siamese_med.ingestion.reasons import FLAGS, RejectedError
from siamese_med.records import WRONG_PATIENT

DESCRIPTION = "dataset_description.json"
SIDE_CARS = (".json", ".tsv", ".tsv.gz", ".bval", ".bvec", ".txt", ".md", ".bidsignore")
ROOT_TEXTS = ("README", "CHANGES", "LICENSE")
MACHINE = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber")
SHIFTED_YEARS = 100
LARGEST_TEXT = 16 * 2**20
ENTITY = {"sub": re.compile(r"(?:^|[/_])sub-([A-Za-z0-9]+)"), "ses": re.compile(r"(?:^|[/_])ses-([A-Za-z0-9]+)")}


@dataclass(frozen=True)
class SideCar:
    """What a JSON beside an image says, as far as it is used."""

    modality: str = ""
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    date: date | None = None
    flags: tuple[str, ...] = ()


def subject_and_session(path: Path, root: Path) -> tuple[str, str]:
    """Labels after `sub-` and `ses-`, from the file's name, else its folders below the root; else empty."""
    places = list(reversed(path.relative_to(root).parts))
    labels = []
    for entity in ("sub", "ses"):
        matches = (ENTITY[entity].search(place) for place in places)
        labels.append(next((match.group(1) for match in matches if match), ""))
    return labels[0], labels[1] if labels[0] else ""


def side_car(path: Path, stem: str) -> SideCar:
    """The JSON of the same name; empty where there is none or it is no JSON object."""
    content = _json(path.with_name(f"{stem}.json"))
    scanner = tuple(str(content.get(key, "")) for key in MACHINE)
    acquired = str(content.get("AcquisitionDate") or content.get("AcquisitionDateTime") or "")
    modality = {"MR": "MR", "CT": "CT", "PT": "PT"}.get(str(content.get("Modality", "")).upper(), "")
    return SideCar(
        modality,
        scanner if any(scanner) else _label(content, "Scanner"),
        _protocol(content) or _label(content, "Protocol"),
        tags.day(acquired),
        _flags(content),
    )


def _label(content: dict[str, Any], key: str) -> tuple[str, ...]:
    """A pseudonym that ingest wrote beside a scan of its own, which is read in again."""
    label = content.get(key)
    return (label,) if isinstance(label, str) and label.startswith(f"{key.lower()}-") else ()


def _flags(content: dict[str, Any]) -> tuple[str, ...]:
    """What ingest warned of when it wrote the scan; what of date, mask and patient is wrong shows anew."""
    said = content.get("Flags")
    anew = ("date_unknown", "mask_unused", "mask_unread", WRONG_PATIENT)
    return tuple(word for word in FLAGS if word not in anew and isinstance(said, list) and word in said)


def _protocol(content: dict[str, Any]) -> tuple[str, ...]:
    """Timing (BIDS writes seconds) to the millisecond, as for DICOM."""
    times = [content.get(key) for key in ("RepetitionTime", "EchoTime", "InversionTime")]
    known = tuple(str(round(1000 * time)) if isinstance(time, (int, float)) and time < 1e6 else "" for time in times)
    return known if any(known) else ()


class Tree:
    """A folder with a dataset_description.json; its tables are read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rows = cache(_rows)

    def date(self, path: Path, subject: str, session: str) -> date | None:
        """The `acq_time` of a scan in scans.tsv, else of its session in sessions.tsv."""
        for folder in (path.parent, *path.parents):
            for table in (f"sub-{subject}_ses-{session}_scans.tsv", f"sub-{subject}_scans.tsv"):
                for row in self._rows(folder / table):
                    if row.get("filename", "").endswith(path.name) and (day := _day(row)):
                        return day
            for row in self._rows(folder / f"sub-{subject}_sessions.tsv"):
                if row.get("session_id") == f"ses-{session}" and (day := _day(row)):
                    return day
            if folder == self.root:
                break
        return None


def _day(row: dict[str, str]) -> date | None:
    """The day of a table's row; who shares a dataset, or wrote it with this program, has moved it."""
    return tags.day(row.get("acq_time", ""), SHIFTED_YEARS)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path, "utf-8"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(_text(path, "utf-8-sig"), newline=""), delimiter="\t")
        return [{k: v for k, v in row.items() if k and isinstance(v, str)} for row in rows]
    except (UnicodeDecodeError, csv.Error):
        return []


def _text(path: Path, encoding: str) -> str:
    """A text beside an image; nothing where there is none. Raises OSError where the machine does not give it now."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            return ""
        return reading.content(path).decode(encoding)
    except RejectedError:  # a folder, a pipe or a device
        return ""
    except OSError as error:
        if passing.word_of(error) in ("", "file_vanished"):
            return ""
        raise
