"""Ordinary exports that go wrong: each is generated, ingested and paired by the command line, and judged.

    python -m benchmarks.cases [../shared/cases] [--only NAME ...]

A case is a small program `NAME.py FOLDER` that writes an export, and whose head says what is right. What is right is
written down here once more, so that it can be checked: `RIGHT` has a function for each case. A case without one is
listed as not judged. A case `env_*` writes a command instead (`command.sh`), which is run on a small input; its disk of
120 kB and its other user need root. Of `manifest_excel`, each table is ingested (`TABLES`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from siamese_med.ingestion.catalogue import catalogue

INPUT_PATTERN = re.compile(r"INPUT=FOLDER(/[\w./]*\w)")
"""Where the head of a case names the input within its folder."""


@dataclass
class Outcome:
    """What became of a case: the answer and exit code of ingest, its scans, and its pairs by kind."""

    answer: Mapping[str, Any]
    code: int
    said: str
    scans: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)

    def flags(self, word: str) -> int:
        """How many scans have a flag."""
        return sum(word in flags for flags in self.scans["flags"]) if len(self.scans) else 0

    def reason(self, word: str) -> int:
        """How many files got a reason word."""
        return int(self.answer.get("reasons", {}).get(word, 0))

    def kinds(self) -> Counter[str]:
        """Pairs by kind."""
        return Counter(self.pairs["kind"]) if len(self.pairs) else Counter()

    def contrasts(self) -> Counter[str]:
        """Scans by contrast."""
        return Counter(self.scans["contrast"])

    def patients(self) -> int:
        """How many patients there are."""
        return int(self.scans["subject"].nunique()) if len(self.scans) else 0

    def mixed_pairs(self, word: str) -> int:
        """Pairs of which one scan has a contrast and the other has not."""
        contrast = dict(zip(self.scans["id"], self.scans["contrast"], strict=True))
        sides = [
            (contrast[one], contrast[other]) for one, other in zip(self.pairs.scan_a, self.pairs.scan_b, strict=True)
        ]
        return sum((one == word) != (other == word) for one, other in sides)


def is_one_line(said: str, *words: str) -> bool:
    """Whether a message is one line of ours, without a trace of the program, and says all of these words."""
    lines = [line for line in said.splitlines() if line.startswith("siamese-med:")]
    return (
        len(lines) == 1 and "Traceback" not in said and "unexpected" not in said and all(w in lines[0] for w in words)
    )


TABLES: dict[str, Callable[[Outcome], bool]] = {
    "semicolon": lambda it: it.code == 3 and is_one_line(it.said, "semicolon.csv", "comma"),
    "capitals": lambda it: it.code == 3 and is_one_line(it.said, "capitals.csv", "small letters"),
    "windows": lambda it: it.code == 3 and is_one_line(it.said, "row 2", "/ between folders"),
    "utf16": lambda it: it.code == 3 and is_one_line(it.said, "utf16.csv", "UTF-8"),
    "ints": lambda it: it.code == 0 and it.patients() == 2 and it.flags("similar_id") == 2,
}
"""What is right of each table of `manifest_excel`: a message that says what is wrong, and two patients 007 and 7."""

COMMANDS: dict[str, Callable[[Outcome], bool]] = {
    "env_disk_full": lambda it: it.code == 6 and is_one_line(it.said, "no space left on the disk of"),
    "env_latin1_locale": lambda it: it.code == 0 and "Traceback" not in it.said and "?" in it.answer["stdout"],
    "env_no_home": lambda it: it.code == 2 and is_one_line(it.said, "no home folder", "SIAMESE_MED_SECRET_FILE"),
}
"""What is right of the cases that write a command."""

RIGHT: dict[str, Callable[[Outcome], bool]] = {
    "anon_same_date": lambda it: it.flags("date_unknown") == 3 and not it.kinds()["rescan"],
    "anon_same_patient_id": lambda it: it.flags("identity_conflict") == 4 and it.pairs.empty and it.code == 4,
    "bids_id_unicode": lambda it: it.patients() == 2,
    "bids_id_with_underscore": lambda it: it.patients() == 3,
    "bids_parts_and_echoes": lambda it: it.flags("phase") == 4 and not it.mixed_pairs("phase"),
    "bids_without_description": lambda it: len(it.scans) == 2 and it.reason("derivative") > 0,
    "compressed_kinds": lambda it: it.flags("lossy") == 2,
    "ct_two_kernels_one_series": lambda it: len(it.scans) == 2 and not it.kinds()["rescan"],
    "dates_in_odd_forms": lambda it: it.flags("date_unknown") <= 3,
    "enhanced_two_stacks": lambda it: len(it.scans) == 2 and not it.kinds()["rescan"],
    "linked_patient_folders": lambda it: it.patients() == 2,
    "manifest_odd_dates": lambda it: it.code == 3 and "row" in it.said,
    "names_latin1_bytes": lambda it: it.answer["files_seen"] == 5,
    "patient_id_variants": lambda it: it.flags("similar_id") == len(it.scans),
    "scout_in_series": lambda it: len(it.scans) == 1 and it.reason("localizer") == 3,
    "siemens_nd_and_norm": lambda it: len(it.scans) == 4 and not it.kinds()["rescan"],
    "split_two_uids_halves": lambda it: len(it.scans) == it.flags("joined_series") == 1 and it.pairs.empty,
    "t1_flair_and_t2_flair": lambda it: it.contrasts() == Counter(T1w=2, FLAIR=1, T1wCE=1),
    "tar_export_names": lambda it: it.flags("patient_unnamed") == 4,
    "two_bids_datasets": lambda it: it.patients() == 4,
    "uih_mosaic": lambda it: it.reason("unread_mosaic") == 1,
}
"""What is right, by case."""


def run(program: Path, folder: Path) -> Outcome | str:
    """Generate a case, ingest and pair it; or say why it could not be generated."""
    made = subprocess.run(
        [sys.executable, str(program), str(folder / "in")], capture_output=True, text=True, check=False
    )
    if made.returncode:
        return made.stderr.strip().splitlines()[-1][:80]
    named = INPUT_PATTERN.search(program.read_text())
    source = Path(f"{folder / 'in'}{named.group(1) if named else ''}")
    ingested = _siamese_med(folder, "ingest", str(source))
    answer = json.loads(ingested.stdout) if ingested.stdout else {}
    outcome = Outcome(answer, ingested.returncode, ingested.stderr)
    if (folder / "data" / "catalogue.sqlite").is_file():
        outcome.scans = catalogue.read_scan_table(f"sqlite:///{folder / 'data' / 'catalogue.sqlite'}")
        _siamese_med(folder, "pair")
        if (folder / "data" / "pairs.parquet").is_file():
            outcome.pairs = pd.read_parquet(folder / "data" / "pairs.parquet")
    return outcome


def run_tables(program: Path, folder: Path) -> tuple[str, str]:
    """Ingest each table of a case; returns the verdict, and the tables with their exit codes."""
    subprocess.run([sys.executable, str(program), str(folder / "in")], capture_output=True, check=True)
    wrong, said = False, []
    for name, right in TABLES.items():
        place = folder / name
        place.mkdir()
        ingested = _siamese_med(place, "ingest", str(folder / "in" / f"{name}.csv"))
        outcome = Outcome({}, ingested.returncode, ingested.stderr)
        if ingested.returncode == 0:
            outcome.scans = catalogue.read_scan_table(f"sqlite:///{place / 'data' / 'catalogue.sqlite'}")
        wrong |= not right(outcome)
        said.append(f"{name}: {ingested.returncode}{'' if right(outcome) else ' WRONG'}")
    return "WRONG" if wrong else "right", ", ".join(said)


def run_command(program: Path, folder: Path) -> tuple[str, str]:
    """Run the command that a case writes, on two small scans; returns the verdict, and exit code and message."""
    subprocess.run([sys.executable, str(program), str(folder)], capture_output=True, check=True)
    for number in (1, 2):
        voxels = np.random.default_rng(number).integers(0, 900, (32, 32, 32)).astype(np.int16)
        scan = folder / "INPUT" / f"sub-0{number}" / f"sub-0{number}_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, np.diag([4.0, 4.0, 4.0, 1.0])), scan)
    for place in ("full", "WRITABLE"):
        (folder / place).mkdir()
        (folder / place).chmod(0o777)
    folder.chmod(0o755)
    ours = f"{sys.executable} -m siamese_med"
    text = (folder / "command.sh").read_text().encode().decode("unicode_escape").replace("siamese-med ", f"{ours} ")
    text = text.replace("env -i ", f"env -i PYTHONPATH={Path(__file__).parents[1]} ")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    shell = ["unshare", "--mount", "bash", "-c", text] if "mount" in text else ["bash", "-c", text]
    done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    outcome = Outcome({"stdout": done.stdout}, done.returncode, done.stderr)
    told = done.stderr.strip().splitlines()[-1][:60] if done.stderr.strip() else ""
    return "right" if COMMANDS[program.stem](outcome) else "WRONG", f"exit code {done.returncode} {told}"


def _siamese_med(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    secret = folder / "secret"
    if not secret.is_file():
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o600)
    places = ["--data", str(folder / "data"), "--reports", str(folder / "reports"), "--json", "--no-prefect"]
    environment = {**os.environ, "SIAMESE_MED_SECRET_FILE": str(secret)}
    command = [sys.executable, "-m", "siamese_med", *words, *places]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def judge(program: Path, folder: Path) -> tuple[str, list[str]]:
    """Run a case; returns the verdict, and what stands in the other cells of its row."""
    special = {"manifest_excel": run_tables, **dict.fromkeys(COMMANDS, run_command)}.get(program.stem)
    if special:
        word, said = special(program, folder)
        return word, [said, "", "", ""]
    outcome = run(program, folder) if program.stem in RIGHT else "not judged"
    if isinstance(outcome, str):
        return "not judged" if outcome == "not judged" else "not made", [outcome, "", "", ""]
    flags = Counter(flag for flags in outcome.scans.get("flags", []) for flag in flags)
    counted = (flags, Counter(outcome.answer.get("reasons", {})), outcome.kinds())
    cells = [" ".join(f"{key} {number}" for key, number in one.items()) for one in counted]
    return "right" if RIGHT[program.stem](outcome) else "WRONG", [str(len(outcome.scans)), *cells]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a case; 0 where all that were judged are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="?", default=Path("../shared/cases"))
    parser.add_argument("--only", nargs="+")
    given = parser.parse_args(arguments)
    found: Counter[str] = Counter()
    print("| case | outcome | scans | flags | reasons | pairs |\n|---|---|---|---|---|---|")
    for program in sorted(given.cases.glob("*.py")):
        if given.only and program.stem not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            word, rest = judge(program, Path(folder))
        found[word] += 1
        print(f"| {program.stem} | {word} | {' | '.join(rest)} |", flush=True)
    print("\n" + ", ".join(f"{count} {word}" for word, count in found.items()))
    return int(found["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main())
