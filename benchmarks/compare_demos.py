"""Compare two demo folders file by file: whether a change of the code left every result as it was.

Made by `make demo` at two commits on one machine, both under one pseudonym secret: labels, splits and the template
follow it. The secret is made once for each user, so two demos of one user are comparable; elsewhere name it:

    head -c 32 /dev/urandom > /tmp/secret && chmod 600 /tmp/secret && export SIAMESE_MED_SECRET_FILE=/tmp/secret
    git worktree add ../before d648ceb && make -C ../before demo
    make demo
    python -m benchmarks.compare_demos ../before/demo demo

Ends with 0 where all is equal byte for byte but for the exemptions that are listed, with 1 where something differs,
with 2 where the folders cannot be compared. A file that `siamese-med demo --json > demo/summary.json` left is compared
too. A name that was changed on purpose is given as `--renamed OLD=NEW` (a column, a key, a folder); each is listed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.file_differences import COMPRESSION, Exemption, Finding, compare_files, rename_path

KINDS = (
    ("simulated input", r"(input|truth)/.*|truth\.csv|simulation\.json"),
    ("config", r"demo\.toml"),
    ("catalogue", r"data/catalogue\.sqlite"),
    ("scans", r"data/scans/.*\.nii\.gz"),
    ("side-cars and BIDS tables", r"data/scans/.*"),
    ("alignment table", r"data/prepared/[^/]+/alignments\.parquet"),
    ("prepared volumes", r"data/prepared/.*"),
    ("pair table", r"data/pairs\.parquet"),
    ("model", r"data/models/.*"),
    ("owner table", r"data/scores/[^/]+_owners\.parquet"),
    ("score table", r"data/scores/[^/]+\.parquet"),
    ("change maps", r"(data/scores|reports)/.*\.nii\.gz"),
    ("cached pair results", r"data/scores/.*"),
    ("state of the study", r"data/.*"),
    ("pages", r"reports/.*\.html"),
    ("report tables", r"reports/.*"),
    ("summary", r"[^/]*\.json"),
    ("other", r".*"),
)
"""Kinds of files, each with the pattern of its paths; the first that fits counts."""
EXEMPTIONS = (
    Exemption(
        r"data/catalogue\.sqlite",
        ("path.key", "path.input", "path.changed_ns", "path.inode"),
        "where an input file lies and when it was written",
    ),
    Exemption(r"data/models/[^/]+/metrics\.json", ("training.seconds", "training.pairs_per_second"), "a clock"),
    Exemption(r"data/models/[^/]+/training_log\.csv", ("seconds",), "a clock"),
    Exemption(r"data/models/[^/]+/README\.md", (r"[\d.,]+ s\b", r"[\d.,]+ pairs a second"), "a clock"),
    Exemption(r"data/models/[^/]+/model\.json", ("created_by.siamese-med",), "version of the program"),
    Exemption(r"data/current_model\.json", ("since", "decisions.*.at"), "a clock"),
    Exemption(r"data/announced\.json", ("*",), "ids of events at the Prefect server of each demo"),
    Exemption(r"(data/scans|reports)/dataset_description\.json", ("GeneratedBy.*.Version",), "version of the program"),
    Exemption(
        r"reports/run\.json",
        ("written", "folders"),
        "a clock, and digests of the code and of times by which unchanged pages are known",
    ),
    Exemption(r"reports/model\.html", (r"epochs in [\d.,]+ s, [\d.,]+ pairs a second",), "a clock"),
    Exemption(r"[^/]*\.json", ("seconds", "model", "scores", "reports", "index"), "a clock, and where the demo lies"),
)
LEFT_OUT = re.compile(r".*\.lock|.*\.sqlite-(wal|shm|journal)")
"""Files without content of their own: of locks, and SQLite's while the catalogue is open."""
SHOWN_FILES = 5


@dataclass(frozen=True)
class Row:
    """One kind of file: how many there are, and what became of them by path."""

    kind: str
    compared: int
    exempted: Mapping[str, tuple[str, ...]]
    different: Mapping[str, tuple[str, ...]]
    only_before: Sequence[str]
    only_after: Sequence[str]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs but what is exempted."""
        return not (self.different or self.only_before or self.only_after)


def compare_folders(before: Path, after: Path, renamed: Mapping[str, str] | None = None) -> list[Row]:
    """Compare two demo folders.

    Parameters
    ----------
    before, after
        The folders that `siamese-med demo` left.
    renamed
        Names that changed on purpose, old to new.

    Returns
    -------
    list of Row
        One for each kind of file that one of the folders has, in the order of `KINDS`.
    """
    renamed = renamed or {}
    old = {rename_path(name, renamed): path for name, path in list_files(before).items()}
    new = list_files(after)
    names: dict[str, list[str]] = {kind: [] for kind, _ in KINDS}
    for name in sorted({*old, *new}):
        names[kind_of(name)].append(name)
    return [_compare_kind(kind, found, old, new, renamed) for kind, found in names.items() if found]


def _compare_kind(
    kind: str, names: Sequence[str], old: Mapping[str, Path], new: Mapping[str, Path], renamed: Mapping[str, str]
) -> Row:
    found: dict[str, Finding] = {}
    for name in names:
        if name in old and name in new:
            found[name] = compare_files(old[name], new[name], fields_of(name), renamed)
    return Row(
        kind,
        compared=len(found),
        exempted={name: one.ignored for name, one in found.items() if one.ignored and not one.differences},
        different={name: one.differences for name, one in found.items() if one.differences},
        only_before=[name for name in names if name not in new],
        only_after=[name for name in names if name not in old],
    )


def list_files(folder: Path) -> dict[str, Path]:
    """Every file of a demo by its path from there, without those of `LEFT_OUT`."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not LEFT_OUT.fullmatch(name)}


def kind_of(name: str) -> str:
    """The kind of a file by its path in the demo folder."""
    return next(kind for kind, pattern in KINDS if re.fullmatch(pattern, name))


def fields_of(name: str) -> list[str]:
    """What may differ in a file, by its path in the demo folder."""
    if kind_of(name) == "simulated input":
        return []
    return [field for one in EXEMPTIONS if re.fullmatch(one.files, name) for field in one.fields]


def why_not_comparable(before: Path, after: Path) -> str | None:
    """One line that says why two folders cannot be compared; None where they can."""
    for folder in (before, after):
        if not (folder / "data" / "catalogue.sqlite").is_file():
            return f"{folder} is no finished demo: there is no data/catalogue.sqlite in it"
    subjects = [{path.name for path in folder.glob("data/scans/sub-*")} for folder in (before, after)]
    if subjects[0] and subjects[1] and not subjects[0] & subjects[1]:
        return "the demos share no label: make both under one secret, by SIAMESE_MED_SECRET_FILE (see --help)"
    return None


def render_table(rows: Sequence[Row]) -> str:
    """The counts of every kind, and of all together."""
    heads = ("files", "equal", "but listed", "different", "only before", "only after")
    lines = [f"{'':26}" + "".join(f"{head:>12}" for head in heads)]
    total: Counter[str] = Counter()
    for row in rows:
        equal = row.compared - len(row.exempted) - len(row.different)
        sizes = (row.compared, equal, *map(len, (row.exempted, row.different, row.only_before, row.only_after)))
        total.update(dict(zip(heads, sizes, strict=True)))
        lines.append(f"{row.kind:26}" + "".join(f"{size:>12}" for size in sizes))
    return "\n".join([*lines, f"{'all':26}" + "".join(f"{total[head]:>12}" for head in heads)])


def reason_of(name: str, field: str) -> str:
    """Why a field of a file was left out of the comparison."""
    if field == COMPRESSION:
        return "the packed bytes; what they hold is equal"
    return next(one.reason for one in EXEMPTIONS if field in one.fields and re.fullmatch(one.files, name))


def render_details(rows: Sequence[Row], renamed: Mapping[str, str]) -> list[str]:
    """What was left out of the comparison and why, and the first files that differ with how they do."""
    lines = [f"renamed on purpose: {old} to {new}" for old, new in renamed.items()]
    for row in rows:
        left_out = [(field, reason_of(name, field)) for name, fields in row.exempted.items() for field in fields]
        counts = sorted(Counter(left_out).items())
        lines += [f"{row.kind}: {field} left out in {count}: {reason}" for (field, reason), count in counts]
    for row in rows:
        found = [f"{name}: {'; '.join(how)}" for name, how in row.different.items()]
        found += [f"{name}: only before" for name in row.only_before] + [f"{n}: only after" for n in row.only_after]
        lines += [f"DIFFERENT {line}" for line in found[:SHOWN_FILES]]
        lines += [f"DIFFERENT and {len(found) - SHOWN_FILES} more of {row.kind}"] if len(found) > SHOWN_FILES else []
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 where nothing differs that is not listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--renamed", action="append", default=[], metavar="OLD=NEW", help="may be repeated")
    asked = parser.parse_args(arguments)
    renamed = dict(pair.split("=", 1) for pair in asked.renamed)
    if reason := why_not_comparable(asked.before, asked.after):
        sys.stderr.write(f"{reason}\n")
        return 2
    rows = compare_folders(asked.before, asked.after, renamed)
    equal = all(row.is_equal for row in rows)
    verdict = "equal but for what is listed" if equal else "NOT EQUAL"
    sys.stdout.write("\n".join([render_table(rows), *render_details(rows, renamed), verdict, ""]))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
