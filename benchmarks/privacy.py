"""Byte search: does anything that identifies a patient in an export stand in what was made of it?

Looks for every name, identifier, date, comment, place and UID of the export's DICOM headers (nested and private ones
too), its NIfTI file names, and words of the user's own, in every file and file name below the folders given: logs,
pages, tables, databases (Prefect's too); gzip, zip and Parquet are opened. A date is looked for as written and as ISO.

python -m benchmarks.privacy EXPORT OUTPUT [OUTPUT ...] [--word WORD ...]
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

IDENTIFYING = ("PN", "DA", "DT", "LT", "ST", "UT", "UC", "UI")
"""Value representations that hold names, days, free text and UIDs; of the others the elements below."""

ELEMENTS = (
    "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "InstitutionName", "StationName", "PatientAddress",
    "DeviceSerialNumber", "OtherPatientIDs", "RequestedProcedureID", "StudyDescription", "InstitutionalDepartmentName",
)  # fmt: skip
STANDARD_UID = "1.2.840.10008."
SHORTEST = 5
"""Characters; shorter ones are found anywhere by chance, in hexadecimal digests for instance."""

SHORTEST_NUMBER = 8
"""Digits, as many as a date has; pictures hold shorter runs of them by chance."""

SURE = 7
"""Characters; shorter words may be part of longer ones, as SIGNA (a scanner) is of SIGNATURE."""

READABLE = re.compile(r"[ -~]*[A-Za-z]{3}[ -~]*")


def words_of(export: Path) -> set[bytes]:
    """Every identifying value of an export, as the bytes to look for."""
    words: set[str] = set()
    for path in sorted(path for path in export.rglob("*") if path.is_file()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                words |= set(_values(pydicom.dcmread(path, stop_before_pixels=True)))
        except Exception:  # no DICOM: the name of a NIfTI may tell
            words.update([path.name.split(".")[0]] if ".nii" in path.name else [])
    parts = {part for word in words for part in [word, *re.split(r"[\^=\\]", word)]}
    kept = {
        part.strip() for part in parts if len(part.strip()) >= (SHORTEST_NUMBER if part.strip().isdigit() else SHORTEST)
    }
    return {word.encode() for word in kept}


def _values(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _values(item)
        elif not element.tag.is_private_creator and (
            element.VR in IDENTIFYING or element.keyword in ELEMENTS or element.tag.is_private
        ):
            for value in element.value if element.VM > 1 else [element.value]:
                yield from _texts(value, element)


def _texts(value: object, element: DataElement) -> Iterator[str]:
    """A value as written; of private ones only what a person could read, of days the ISO form too."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if text.startswith(STANDARD_UID) or (element.tag.is_private and not READABLE.fullmatch(text)):
        return
    yield text
    if element.VR in ("DA", "DT") and len(text) >= 8:
        yield f"{text[:4]}-{text[4:6]}-{text[6:8]}"


def hits(words: Iterable[bytes], folders: Iterable[Path]) -> Counter[tuple[str, str]]:
    """(word, file) and how often; the file's own name counts as content."""
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.NamedTemporaryFile() as listed:
        listed.write(b"\n".join(sorted(words)))
        listed.flush()
        for folder in folders:
            names = {path: str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))}
            for word in _matches("\n".join(names.values()).encode(), listed.name):
                found[word, "(a file's name)"] += 1
            for path in filter(Path.is_file, names):
                found.update((word, names[path]) for part in _contents(path) for word in _matches(part, listed.name))
    return found


def _matches(content: bytes, words: str) -> Iterator[str]:
    """What grep finds of a file's words, a line each; digits and short words count where they stand alone."""
    grep = ["grep", "--text", "--only-matching", "--byte-offset", "--fixed-strings", f"--file={words}"]
    printed = subprocess.run(grep, input=content, capture_output=True, check=False, env={"LC_ALL": "C"}).stdout
    for line in printed.splitlines():
        start, _, word = line.partition(b":")
        around = (
            content[max(int(start) - 1, 0) : int(start)] + content[int(start) + len(word) : int(start) + len(word) + 1]
        )
        if not ((word.isdigit() or len(word) < SURE) and re.search(rb"[0-9A-Za-z]", around)):
            yield word.decode("latin-1")


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and those that it holds compressed."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
        return
    if content.startswith(b"PAR1"):
        import pandas as pd

        yield pd.read_parquet(io.BytesIO(content)).to_csv().encode()
        return
    yield content
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def main() -> int:
    """Print what was found; 0 where nothing was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("outputs", type=Path, nargs="+")
    parser.add_argument("--word", action="append", default=[])
    asked = parser.parse_args()
    words = words_of(asked.export) | {word.encode() for word in asked.word}
    found = hits(words, asked.outputs)
    files = sum(path.is_file() for folder in asked.outputs for path in folder.rglob("*"))
    for (word, name), count in sorted(found.items()):
        print(f"{count:6}  {word!r} in {name}")
    print(f"{len(words)} words, {files} files, {sum(found.values())} hits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
