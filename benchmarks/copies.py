"""Cases of a corpus, and copies of them under identifiers of their own: sound but for what a mutator does next."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom

from benchmarks.mutants import Random
from benchmarks.nifti_mutants import renamed

MAX_FILES = 5
WHOLE = ("1 volume", "2 volumes", "ok")
WEIGHT_OF_WHOLE = 3.0
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "PatientID")
SHORTEST = 5
"""Shorter identifiers are left alone, since their bytes may stand elsewhere in the file too."""


@dataclass(frozen=True)
class Case:
    """One folder of a corpus: its files by relative name, the identifiers in them, and how often it is drawn."""

    name: str
    files: tuple[tuple[str, bytes], ...]
    identifiers: tuple[bytes, ...]
    dicom: bool
    weight: float


def cases(corpus: Path) -> list[Case]:
    """Every folder of a corpus with a file in it; those that a manifest.json calls whole are drawn more often."""
    manifest = corpus / "manifest.json"
    about = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    folders = [path for path in sorted(corpus.iterdir()) if path.is_dir()]
    return [_case(folder, str(about.get(folder.name, {}).get("expect", "ok"))) for folder in folders]


def _case(folder: Path, expect: str) -> Case:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = tuple((str(path.relative_to(folder)), path.read_bytes()) for path in paths)
    dicom = not any(name.lower().removesuffix(".gz").endswith(".nii") for name, _ in files)
    found = {value for _, content in files for value in _identifiers(content)} if dicom else set()
    longest_first = tuple(sorted(found, key=lambda value: (-len(value), value)))
    return Case(folder.name, files, longest_first, dicom, WEIGHT_OF_WHOLE if expect.startswith(WHOLE) else 1.0)


def _identifiers(content: bytes) -> set[bytes]:
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
        values = {str(dataset.get(keyword) or "") for keyword in IDENTIFIERS}
    except Exception:  # no DICOM, or a broken one
        return set()
    return {value.encode() for value in values if len(value) >= SHORTEST and value.isascii()}


def renewed(case: Case, index: int, random: Random) -> dict[str, bytes]:
    """Up to five neighbouring files of a case, with other identifiers of the same lengths."""
    first = int(random.integers(max(len(case.files) - MAX_FILES, 0) + 1))
    chosen = case.files[first : first + MAX_FILES]
    if not case.dicom:
        return {name: renamed(content, f"copy {index}") for name, content in chosen}
    others = {value: _other(value, index) for value in case.identifiers}
    return {name: _with(content, others) for name, content in chosen}


def _with(content: bytes, others: dict[bytes, bytes]) -> bytes:
    for value, other in others.items():
        content = content.replace(value, other)
    return content


def _other(value: bytes, index: int) -> bytes:
    """The same identifier with other digits in its second half (letters, where it has none)."""
    digest = hashlib.sha256(value + str(index).encode()).digest() * 4
    half = len(value) // 2 if b"." in value else 0
    fresh = bytes(ord("1") + digest[place] % 9 for place in range(len(value)))
    return bytes(old if place < half or old == ord(".") else fresh[place] for place, old in enumerate(value))
