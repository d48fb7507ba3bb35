"""Find the patients' folders that would not change, which need not be written again.

Two digests for each folder are kept in run.json: one of everything that it was made from, and one of the names, sizes
and times of its files. A folder is skipped where both are equal to those of the last run.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siamese_med.reporting.write.patient_folder import OWN_FILE_PATTERN
from siamese_med.study.lesion import locate_lesion_slices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siamese_med.reporting.write.patient_folder import PatientFolderJob

PACKAGE_FOLDER = Path(__file__).parents[2]
"""Folder of the package siamese_med."""
RENDERING_FOLDERS = ("reporting", "imaging", "study", "runtime")
"""Folders of the package whose code a page depends on: those that reporting may import, see pyproject.toml."""
RENDERING_PACKAGES = ("jinja2", "numpy", "pillow", "weasyprint")
"""Packages whose versions may change the bytes of a page."""
USED_SCAN_COLUMNS = ("id", "path", "sha256", "flags")
"""Columns of the scan table that a patient's folder depends on beside what its pages say."""


class FolderMarks(NamedTuple):
    """Digests of what a folder was made from, and of its files as they were left."""

    made_from: str
    left: str


def read_folder_marks(record: Path) -> dict[str, FolderMarks]:
    """Read the marks of the last run by subject; empty where there is no record that can be read."""
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))["folders"]
        return {subject: FolderMarks(made_from, left) for subject, (made_from, left) in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def digest_folder_inputs(job: PatientFolderJob) -> str:
    """Compute the digest of everything that a patient's folder is made from, including the code and its packages.

    The change maps and slices count by size and time, not by content.
    """
    named = sorted({name for pair in job.report.pairs for name in (pair.score.map, pair.score.pictures) if name})
    read = [*map(job.data.joinpath, named), locate_lesion_slices(job.data, job.report.subject)]
    rows = [[str(row[name]) for name in USED_SCAN_COLUMNS] for row in job.rows]
    asked = job.extras.viewer, job.extras.pdf, job.extras.fhir
    return _digest([_code(), repr(job.report), repr(rows), repr(asked), *_stamps(job.data, read)])


def digest_folder_files(folder: Path) -> str:
    """Compute the digest of the names, sizes and times of our files in a patient's folder."""
    return _digest(
        _stamps(folder, (path for path in folder.rglob("*") if OWN_FILE_PATTERN.fullmatch(_name(path, folder))))
    )


def _stamps(folder: Path, paths: Iterable[Path]) -> list[str]:
    return sorted(
        f"{_name(path, folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths if path.is_file()
    )


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def list_rendering_files() -> list[Path]:
    """List the modules, templates, styles and scripts that the bytes of a page depend on, sorted."""
    ours = [path for folder in RENDERING_FOLDERS for path in (PACKAGE_FOLDER / folder).rglob("*")]
    return sorted(path for path in ours if path.is_file() and path.suffix != ".pyc")


@cache
def _code() -> str:
    """Digest of what makes the pages: our modules and templates, and the packages below them."""
    paths = list_rendering_files()
    return _digest(
        [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths), *map(_version, RENDERING_PACKAGES)]
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
