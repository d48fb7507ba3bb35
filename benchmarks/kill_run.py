"""Kill -9 a recorded `run` at random moments; the next run must complete it as if nothing had happened.

A cohort is simulated and run undisturbed, in an empty home. Then, round by round, the run starts in an empty data
folder and is killed between its start and its end: the process of the flow alone (server, workers and ranks must end by
themselves), or one worker below it (the run may end as failed, and the next goes on). Counted is what was done before
and done again. With --chain all kills hit one folder, one after the other, before the last run completes it.

python -m benchmarks.kill_run FOLDER --patients 8 --visits 2 --kills 10 --seed 0
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import processes
from siamese_med.pipeline import stages
from siamese_med.runtime import files
from tests import results
from tests.recorded import User, done_work

QUICK = """
[train]
epochs = 2
steps_per_epoch = 4
change_steps = 10
change_sources = 6
[score]
spacing_mm = 4.0
simulated_rescans = 4
"""
"""Shorter than the demo's own, so that ten runs and their repetitions fit into half an hour."""
STARTING_S = 1.0
CHAINED = 0.35
"""Of an undisturbed run's time, within which each run of a chain is killed: starting takes its share every time."""
Contents = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def main() -> int:
    """Print a line a round; 0 where all rounds ended as they must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("patients", 8), ("visits", 2), ("kills", 10), ("workers", 3), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--chain", action="store_true", help="all kills in one folder")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    files.write_text_file(folder / "quick.toml", QUICK)
    stages.simulate(folder, asked.patients, asked.visits, asked.seed)
    user, random = User(folder / "home"), np.random.default_rng(asked.seed)
    started = time.perf_counter()
    code = user.call(*command(folder, folder / "reference"), cwd=folder, timeout_s=3600).returncode
    lasts_s = time.perf_counter() - started
    expected = contents(folder / "reference")
    print(f"undisturbed: exit code {code}, {lasts_s:.0f} s, {len(expected[0])} files", flush=True)
    victims = ["flow"] * (asked.kills - asked.workers) + ["worker"] * asked.workers
    wrong = 0
    for number, victim in enumerate(victims):
        where = folder / ("chain" if asked.chain else "round")
        if not asked.chain:
            shutil.rmtree(where, ignore_errors=True)
        moment = float(random.uniform(STARTING_S, lasts_s * (CHAINED if asked.chain else 0.95)))
        line, problems = killed(user, folder, where, victim, moment, random)
        if not asked.chain or number == len(victims) - 1:
            more, last = completed(user, folder, where, expected)
            line, problems = f"{line}; {more}", problems + last
        print(f"{number + 1:3} {line}: {'; '.join(problems) or 'as undisturbed'}", flush=True)
        wrong += bool(problems)
    print(f"{asked.kills - wrong} of {asked.kills} rounds ended as they must, seed {asked.seed}")
    return 1 if wrong else 0


def command(folder: Path, where: Path) -> list[str | Path]:
    """The run that a user would call."""
    return ["run", folder / "input", "--data", where / "data", "--reports", where / "reports",
            "--config", folder / "quick.toml", "--quiet"]  # fmt: skip


def killed(
    user: User, folder: Path, where: Path, victim: str, moment: float, random: np.random.Generator
) -> tuple[str, list[str]]:
    """Start a run and kill the victim; what happened, and what is left that must not be."""
    where.mkdir(parents=True, exist_ok=True)
    run = user.start(*command(folder, where), cwd=where)
    time.sleep(moment)
    if victim == "worker":
        while not (below := workers(user, run.pid)) and run.poll() is None:
            time.sleep(0.02)
        if below:
            os.kill(int(random.choice(below)), signal.SIGKILL)
        code = run.wait(3600)
        return f"one of {len(below)} workers killed after {moment:.1f} s or later, exit code {code}", left(user)
    ended = run.poll() is not None
    run.kill()
    run.wait()
    return f"flow killed after {moment:.1f} s{' (had ended)' if ended else ''}", left(user)


def workers(user: User, flow: int) -> list[int]:
    """Processes that the flow has started, Prefect's server apart."""
    commands = user.processes()
    below = processes.descendants(processes.supervised(flow))
    return [pid for pid in below if "prefect" not in commands.get(pid, "prefect")]


def left(user: User) -> list[str]:
    """Processes of the user that did not end by themselves."""
    found = user.left()
    user.kill_all()
    return [f"{len(found)} processes left: {next(iter(found.values()))[:80]}"] if found else []


def completed(user: User, folder: Path, where: Path, expected: Contents) -> tuple[str, list[str]]:
    """Run again: what was done before and again, and all that differs from an undisturbed run."""
    before = done_work(where / "data")
    started = time.perf_counter()
    code = user.call(*command(folder, where), cwd=where, timeout_s=3600).returncode
    seconds = time.perf_counter() - started
    after = done_work(where / "data")
    again = sum(after.get(name) != stamp for name, stamp in before.items())
    problems = [f"exit code {code}"] if code not in (0, 4) else []
    problems += [f"{again} results made again"] if again else []
    problems += [f"{len(names)} runs still at work" for names in [user.unfinished()] if names]
    names = ("data", "reports", "catalogue")
    for name, found, known in zip(names, contents(where), expected, strict=True):
        wrong = sorted(key for key in found.keys() | known.keys() if found.get(key) != known.get(key))
        problems += [f"{len(wrong)} of {name} differ, such as {wrong[0]}"] if wrong else []
    return f"{len(before)} of {len(after)} results were there, {again} made again, {seconds:.0f} s", problems + left(
        user
    )


def contents(where: Path) -> Contents:
    """All that a run leaves."""
    catalogue = results.of_catalogue(f"sqlite:///{where / 'data' / 'catalogue.sqlite'}")
    return results.of_files(where / "data"), results.of_files(where / "reports"), catalogue


if __name__ == "__main__":
    sys.exit(main())
