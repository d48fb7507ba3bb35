"""Kill -9 an ingest at random moments; the next run must end in exactly what an undisturbed one leaves.

A simulated export is ingested undisturbed. Then, round by round, an ingest into a fresh data folder is killed between
its start and its end: the whole process group, or the parent alone (its workers must then end by themselves), or one
worker (the run must go on). In every third round the run that completes it is killed too. Compared are all tables of
the catalogue row by row, all files by content, and that neither a temporary file nor a process is left.

python -m benchmarks.kill --files 2000 --kills 30 --seed 0 [--deface]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import large_export, processes

SLICES = 20
VICTIMS = ("group", "parent", "worker")
END_S = 120.0
SOON = 0.95
"""Kills are drawn over this share of an undisturbed run, since a run that ended cannot be killed."""


@dataclass(frozen=True)
class Round:
    """One round: who was killed when (seconds), what the catalogue held by then, and what is wrong in the end."""

    victim: str
    moments: tuple[float, ...]
    done: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """The export, the config, and where data folders go."""

    export: Path
    config: Path
    folder: Path

    def command(self, data: Path) -> list[str]:
        return processes.ingest_command(self.export, data, self.config)


def contents(data: Path) -> dict[str, str]:
    """Every file of a data folder and the reports beside it by the hash of its content, and every table by its rows."""
    found: dict[str, str] = {}
    for folder in (data, data.with_name(f"{data.name}-reports")):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(folder))
                found[name] = "" if name.startswith("catalogue") else hashlib.sha256(path.read_bytes()).hexdigest()
    for table, rows in tables(data / "catalogue.sqlite").items():
        found |= {f"{table}: {row}": "" for row in rows}
    return found


def tables(catalogue: Path) -> dict[str, list[str]]:
    """All rows of all tables, as text; none where there is no catalogue yet."""
    if not catalogue.is_file():
        return {}
    with closing(sqlite3.connect(f"file:{catalogue}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"'))) for name in names}


def done_by_now(data: Path) -> str:
    """How far a killed run came: rows of the file and scan tables, NIfTI files, temporary files."""
    try:
        found = tables(data / "catalogue.sqlite")
    except sqlite3.OperationalError:  # killed while it wrote: the journal waits for the next run
        found = {}
    counts = [f"{len(found.get(name, []))} {name}s" for name in ("file", "scan")]
    written = [path.name for path in data.rglob("*.nii.gz")] if data.is_dir() else []
    temporary = sum(name.startswith(".tmp-") for name in written)
    return ", ".join([*counts, f"{len(written) - temporary} NIfTI, {temporary} temporary"])


def killed(bench: Bench, data: Path, victim: str, after_s: float, random: np.random.Generator) -> list[str] | None:
    """Start an ingest and kill the victim; what went wrong, or None where the run had ended before."""
    process = processes.start(bench.command(data), output=-3)
    time.sleep(after_s)
    below = processes.descendants(process.pid)
    workers = processes.descendants(processes.supervised(process.pid))
    if process.poll() is not None or (victim == "worker" and not workers):
        _end(process.pid, [*below, process.pid])
        process.wait()
        return None
    if victim == "worker":
        os.kill(int(random.choice(workers)), signal.SIGKILL)
    elif victim == "parent":
        process.kill()
    else:
        processes.kill_group(process.pid)
    problems = ["run stopped"] if process.wait() not in (0, 4) and victim == "worker" else []
    return problems + _end(process.pid, below)


def _end(group: int, below: list[int]) -> list[str]:
    """Wait until the processes below a dead parent are gone, as they must by themselves."""
    deadline = time.monotonic() + END_S
    while left := [pid for pid in below if processes.alive(pid)]:
        if time.monotonic() > deadline:
            processes.kill_group(group)
            return [f"{len(left)} processes left"]
        time.sleep(processes.POLL_S)
    return []


def undisturbed(bench: Bench, repeats: int) -> tuple[dict[str, str], float]:
    """What undisturbed runs leave, which must agree, and the shortest time."""
    found, spent = [], []
    for data in (bench.folder / f"reference-{number}" for number in range(repeats)):
        spent.append(processes.spend(bench.command(data)))
        found.append(contents(data))
        if spent[-1].code not in (0, 4) or differences(found[-1], found[0]):
            raise SystemExit(f"undisturbed runs fail or differ: {spent[-1].output} {differences(found[-1], found[0])}")
        print(f"undisturbed: {spent[-1].wall_s:.1f} s; {done_by_now(data)}", flush=True)
    return found[0], min(one.wall_s for one in spent)


def rounds(bench: Bench, count: int, seed: int, repeats: int = 2) -> Iterator[Round]:
    """Kill `count` runs, and complete each."""
    expected, lasts_s = undisturbed(bench, repeats)
    random = np.random.default_rng(seed)
    number = 0
    while number < count:
        data = bench.folder / f"round-{number}-{random.integers(1 << 30)}"
        one = _round(bench, data, VICTIMS[number % len(VICTIMS)], number % 3 == 1, lasts_s, random, expected)
        if one is not None:
            number += 1
            yield one


def _round(
    bench: Bench, data: Path, victim: str, twice: bool, lasts_s: float, random: np.random.Generator,
    expected: dict[str, str],
) -> Round | None:  # fmt: skip
    moments: list[float] = []
    for _ in range(2 if twice else 1):
        moments.append(float(random.uniform(0, SOON * lasts_s)))
        problems = killed(bench, data, victim, moments[-1], random)
        if problems is None:
            if len(moments) == 1:
                return None
            moments.pop()
            problems = []
    done = done_by_now(data)
    code = processes.spend(bench.command(data)).code
    problems += [f"exit code {code}"] if code not in (0, 4) else []
    return Round(victim, tuple(moments), done, (*problems, *differences(contents(data), expected)))


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """What one data folder has and another lacks, counted by kind, with one example of each."""
    listed = []
    for word, these in (
        ("missing", expected.keys() - found.keys()),
        ("too much", found.keys() - expected.keys()),
        ("different", {name for name in expected.keys() & found.keys() if expected[name] != found[name]}),
    ):
        listed += [f"{len(these)} {word}, such as {min(these)}"] if these else []
    return listed


def main() -> int:
    """Print a line for each round; 0 where all rounds ended as they must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("files", 2000), ("kills", 30), ("seed", 0), ("size", 128), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--deface", action="store_true", help="remove faces")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        folder = Path(name)
        bench = Bench(folder / "export", processes.settings(folder, workers=asked.workers, deface=asked.deface), folder)
        large_export.write(bench.export, -(-asked.files // SLICES), SLICES, asked.size, asked.seed, trouble=0.2)
        for number, one in enumerate(rounds(bench, asked.kills, asked.seed), 1):
            moments = " and ".join(f"{moment:.2f}" for moment in one.moments)
            verdict = "equal" if not one.problems else "DIFFERENT: " + "; ".join(one.problems)
            print(f"{number:3} {one.victim:7} killed after {moments} s ({one.done}): {verdict}", flush=True)
            wrong += bool(one.problems)
    print(f"{asked.kills - wrong} of {asked.kills} rounds ended as an undisturbed run, seed {asked.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
