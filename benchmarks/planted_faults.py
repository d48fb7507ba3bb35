"""Ten faults, each put into a copy of the code on purpose: do the tests of `make test` catch them all?

    python -m benchmarks.planted_faults [NAME ...]

For each fault the project is copied, one line is changed, and the test files that should notice are run without the
tests marked `long`. First the same files are run on an unchanged copy, where they must pass. Exits with 1 if a fault
went unnoticed. It takes about two and a half minutes of CPU time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.commands import ROOT

COPIED = ("siamese_med", "flows", "tests", "pyproject.toml", "constraints.txt", "README.md", "Makefile")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """One line of a module before and after, and the tests that should fail."""

    name: str
    module: str
    sound: str
    faulty: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "scans are split, not patients",
        "siamese_med/pairing/pair_table.py",
        '"split": sides[row["subject_a"]]}',
        '"split": sorted(SPLITS)[zlib.crc32(row["scan_a"].encode()) % 3]}',
        ("tests/pairing",),
    ),
    Fault(
        "the affine does not follow a flip of the voxels",
        "siamese_med/imaging/volume.py",
        "affine = volume.affine @ inv_ornt_aff(orientation, volume.voxels.shape)",
        "affine = volume.affine",
        ("tests/imaging/test_volume.py",),
    ),
    Fault(
        "a page's key lacks the code and the scans it is made from",
        "siamese_med/reporting/write/up_to_date.py",
        "[_code(), repr(job.report), repr(rows), repr(asked),",
        "[repr(job.report), repr(asked),",
        ("tests/reporting/test_up_to_date.py",),
    ),
    Fault(
        "patient ids that differ in case alone share a pseudonym",
        "siamese_med/ingestion/privacy/pseudonyms.py",
        "self.label('subject', issuer, patient)",
        "self.label('subject', issuer, patient.casefold())",
        ("tests/ingestion/test_pseudonyms.py",),
    ),
    Fault(
        "the scanner is kept as the header names it",
        "siamese_med/ingestion/commit.py",
        '"scanner": self._label("scanner", facts.scanner)',
        '"scanner": str(facts.scanner)',
        ("tests/ingestion/test_byte_search.py",),
    ),
    Fault(
        "pages have no content-security policy",
        "siamese_med/reporting/render/templates/base.html.j2",
        '<meta http-equiv="Content-Security-Policy" content="{{ policy }}">',
        "",
        ("tests/reporting/test_pages.py", "tests/reporting/test_injection.py"),
    ),
    Fault(
        "work done in part exits with 0",
        "siamese_med/cli/console_output.py",
        "return 4 if self.unfinished else 0",
        "return 0",
        ("tests/cli/test_main.py",),
    ),
    Fault(
        "a file is written in place, not replaced",
        "siamese_med/runtime/files.py",
        "        temporary.replace(path)\n        _sync_folder(path.parent)",
        "        shutil.copyfile(temporary, path)\n        _sync_folder(path.parent)",
        ("tests/runtime/test_files.py",),
    ),
    Fault(
        "p values are of the wrong tail",
        "siamese_med/scoring/change/noise_floor.py",
        "return float(t.sf(above, self._freedom))",
        "return float(t.cdf(above, self._freedom))",
        ("tests/scoring/test_noise_floor.py",),
    ),
    Fault(
        "p values of several looks are not adjusted",
        "siamese_med/scoring/change/multiple_testing.py",
        "least = max(least, min(1.0, (len(p) - rank) * p[place]))",
        "least = max(least, min(1.0, p[place]))",
        ("tests/scoring/test_multiple_testing.py",),
    ),
)


@contextmanager
def copy_of_the_project() -> Iterator[Path]:
    """The files of the project in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        folder = Path(name)
        for one in COPIED:
            source = ROOT / one
            if source.is_dir():
                shutil.copytree(source, folder / one, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy(source, folder / one)
        yield folder


def plant(fault: Fault, folder: Path) -> None:
    """Change the line; raises SystemExit where the code no longer has it."""
    path = folder / fault.module
    text = path.read_text(encoding="utf-8")
    if text.count(fault.sound) != 1:
        sys.exit(f"{fault.module} has {text.count(fault.sound)} places to plant {fault.name!r}: renew this script")
    path.write_text(text.replace(fault.sound, fault.faulty), encoding="utf-8")


def failed_tests(folder: Path, tests: Sequence[str], first_only: bool) -> list[str]:
    """Names of the tests that fail in a copy; raises SystemExit where the tests cannot be run at all."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:xdist",
        "-q",
        "-m",
        "not long",
        *(["-x"] if first_only else []),
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, *tests], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return FAILED.findall(done.stdout)


def main(names: Sequence[str]) -> int:
    """Plant the faults one after the other; gives the exit code."""
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    with copy_of_the_project() as folder:
        everything = sorted({test for fault in chosen for test in fault.tests})
        if failed := failed_tests(folder, everything, first_only=False):
            print("fail without any fault:", *failed)
            return 1
    caught = 0
    for number, fault in enumerate(chosen, start=1):
        with copy_of_the_project() as folder:
            plant(fault, folder)
            failed = failed_tests(folder, fault.tests, first_only=True)
        caught += bool(failed)
        print(f"{number:2} {fault.module}: {fault.name}: {failed[0] if failed else 'NOT CAUGHT'}", flush=True)
    print(f"{caught} of {len(chosen)} faults caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of faults; all if none is given")
    sys.exit(main(parser.parse_args().names))
