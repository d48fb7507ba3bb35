"""Ingest thousands of mutants of a corpus' files: no crash, no hang, no flood of memory, every file accounted for.

Each mutant lies in a copy of its case with up to four sound siblings, under UIDs and a PatientID of their own, so that
nothing but the mutation decides whether its series is whole, and decoders are reached. Batches go into fresh data
folders, each in a process of its own with a limit of 10 s a task; in the end everything goes into one data folder.
What fails is kept, with the seed and index that make it again (`--only INDEX`). With --deface, faces are to be removed,
and a task has 60 s.

python -m benchmarks.fuzz ../shared/corpus --count 3000 --seed 0 [--deface]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import copies, mutants, processes
from benchmarks.copies import Case
from benchmarks.dicom_mutants import DICOM, deflated
from benchmarks.nifti_mutants import NIFTI, bomb

MAX_BYTES = 2_000_000_000
BATCH_LIMIT_S, DEFACE_BATCH_LIMIT_S = 900.0, 7200.0
TASK_LIMIT_S, DEFACE_TASK_LIMIT_S = 10.0, 60.0
HUNG = "the process hung"
"""What a worker says that was killed after the limit; the time that it took to start is not part of it."""
BOMB_SHARE = 0.02


@dataclass(frozen=True)
class Mutant:
    """One mutant on disk: its index, what was done, the case, and the hash of its content."""

    index: int
    done: str
    case: str
    sha256: str


@dataclass
class Tally:
    """What was seen so far."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    siblings: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    files: int = 0
    slowest_s: float = 0.0
    parent: int = 0
    worker: int = 0


def make(index: int, cases: Sequence[Case], seed: int, folder: Path) -> Mutant:
    """Write one case copy with one mutant among its files below `folder`."""
    random = np.random.default_rng([seed, index])
    weights = np.array([case.weight for case in cases], dtype=np.float64)
    case = cases[int(random.choice(len(cases), p=weights / weights.sum()))]
    files = copies.renewed(case, index, random)
    victim = mutants.pick(random, tuple(files))
    mutator = _mutator(case.dicom, random)
    files[victim] = mutator(files[victim], random)
    for name, content in files.items():
        path = folder / f"{index:06d}_{case.name}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Mutant(index, mutator.__name__, case.name, hashlib.sha256(files[victim]).hexdigest())


def _mutator(dicom: bool, random: mutants.Random) -> mutants.Mutator:
    if random.random() < BOMB_SHARE:
        return deflated if dicom else bomb
    return mutants.pick(random, (*mutants.GENERIC, *(DICOM if dicom else NIFTI)))


def watch(source: Path, data: Path, secret: Path, workers: int = 1, deface: bool = False) -> dict[str, Any]:
    """Ingest in a process of its own; a process that dies or hangs is an error like any other."""
    call = [sys.executable, "-m", "benchmarks.watched", str(source), str(data), str(secret), str(workers)]
    call += [str(DEFACE_TASK_LIMIT_S if deface else TASK_LIMIT_S), *(["--deface"] * deface)]
    spent = processes.spend(call, DEFACE_BATCH_LIMIT_S if deface else BATCH_LIMIT_S)
    last = spent.output.strip().rpartition("\n")[2]
    if spent.code or not last.startswith("{"):
        return {"error": f"exit code {spent.code} after {spent.wall_s:.0f} s: {spent.output[-2000:]}"}
    told: dict[str, Any] = json.loads(last)
    return told


def faults(told: dict[str, Any], deface: bool = False) -> list[str]:
    """What must not be, in what one run told."""
    if told["error"]:
        return [f"crash: {told['error']}"]
    found = [] if told["balanced"] else ["the account is not balanced"]
    found += ["the catalogue's account is another"] if told["account"] != told["catalogue"] else []
    limit_s = DEFACE_TASK_LIMIT_S if deface else TASK_LIMIT_S
    found += [f"a task took over {limit_s} s: {task[:200]}" for why, task in told["lost"] if why == HUNG]
    found += [f"{name} took {told[name] / 1e9:.2f} GB" for name in ("parent", "worker") if told[name] > MAX_BYTES]
    return found


def batch(
    numbers: Sequence[int], cases: Sequence[Case], seed: int, folder: Path, deface: bool = False
) -> tuple[list[Mutant], dict[str, Any]]:
    """Make some mutants and ingest them into a fresh data folder."""
    source = folder / f"batch-{numbers[0]:06d}"
    made = [make(index, cases, seed, source) for index in numbers]
    with tempfile.TemporaryDirectory(dir=folder.parent) as data:
        return made, watch(source, Path(data) / "data", folder.parent / "secret", deface=deface)


def note(tally: Tally, made: Iterable[Mutant], told: dict[str, Any], deface: bool = False) -> list[str]:
    """Add a run to the tally; returns its faults."""
    found = faults(told, deface)
    if told["error"]:
        return found
    mutated = {one.sha256: one.done for one in made}
    for sha256, word in told["reasons"].items():
        (tally.outcomes[mutated[sha256]] if sha256 in mutated else tally.siblings)[word] += 1
    tally.lost.update(reason for reason, _ in told["lost"])
    tally.files += told["account"]["files_seen"]
    for name in ("slowest_s", "parent", "worker"):
        setattr(tally, name, max(getattr(tally, name), told[name]))
    return found


def blame(
    numbers: Sequence[int], cases: Sequence[Case], seed: int, keep: Path, folder: Path, deface: bool = False
) -> list[str]:
    """Halve a failed batch until single mutants fail, and keep those."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as alone:
        made, told = batch(numbers, cases, seed, Path(alone), deface)
        found = faults(told, deface)
        if not found:
            return []
        if len(numbers) == 1:
            kept = keep / f"seed-{seed}-index-{numbers[0]}"
            shutil.copytree(next(Path(alone).glob("batch-*")), kept, dirs_exist_ok=True)
            return [f"  seed {seed} index {numbers[0]}, {made[0].done} of {made[0].case}: {found[0]}; kept in {kept}"]
    half = len(numbers) // 2
    guilty = [
        line for part in (numbers[:half], numbers[half:]) for line in blame(part, cases, seed, keep, folder, deface)
    ]
    return guilty or [f"  only together: mutants {numbers[0]} to {numbers[-1]}"]


def run(
    corpus: Path, numbers: Sequence[int], seed: int, size: int, keep: Path, together: bool = True, deface: bool = False
) -> Tally:
    """All mutants, two batches at once, and then all of them in one run."""
    cases, tally = copies.cases(corpus), Tally()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = processes.settings(Path(name)).parent / "mutants"
        folder.mkdir()
        chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        with ThreadPoolExecutor(2) as threads:
            for chunk, (made, told) in zip(
                chunks, threads.map(lambda one: batch(one, cases, seed, folder, deface), chunks), strict=True
            ):
                for fault in note(tally, made, told, deface):
                    tally.problems += [
                        f"batch from {chunk[0]}: {fault}",
                        *blame(chunk, cases, seed, keep, folder, deface),
                    ]
        if together:
            told = watch(folder, folder.parent / "data", folder.parent / "secret", 2, deface)
            tally.problems += [f"all together: {fault}" for fault in faults(told, deface)]
    return tally


def table(tally: Tally) -> str:
    """Outcomes of the mutants by what was done to them, and of all files beside them."""
    lines = [f"{'mutation':20}{'mutants':>8}{'ingested':>9}  what became of the others"]
    for done, words in sorted(tally.outcomes.items()):
        lines.append(f"{done:20}{words.total():>8}{words['ingested']:>9}  {_others(words)}")
    every: Counter[str] = sum(tally.outcomes.values(), Counter())
    lines.append(f"{'all mutants':20}{every.total():>8}{every['ingested']:>9}  {_others(every)}")
    lines.append(
        f"{'their siblings':20}{tally.siblings.total():>8}{tally.siblings['ingested']:>9}  {_others(tally.siblings)}"
    )
    lost = ", ".join(f"{count} x {reason}" for reason, count in tally.lost.most_common()) or "none"
    lines.append(f"{tally.files} files; slowest task {tally.slowest_s:.1f} s; tasks lost: {lost}")
    return "\n".join([*lines, f"peak memory: parent {tally.parent / 1e6:.0f} MB, worker {tally.worker / 1e6:.0f} MB"])


def _others(words: Counter[str]) -> str:
    return " ".join(f"{word}:{count}" for word, count in words.most_common() if word != "ingested")


def main() -> int:
    """Print the table and what is wrong; 0 where nothing is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    for name, default in (("count", 3000), ("seed", 0), ("batch", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", type=int, help="one mutant, by its index")
    parser.add_argument("--deface", action="store_true", help="remove faces")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "siamese-med-fuzz")
    asked = parser.parse_args()
    numbers = range(asked.count) if asked.only is None else [asked.only]
    tally = run(asked.corpus, numbers, asked.seed, asked.batch, asked.keep, asked.only is None, asked.deface)
    print(table(tally))
    print("\n".join(tally.problems) or f"{len(numbers)} mutants, seed {asked.seed}: no fault")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
