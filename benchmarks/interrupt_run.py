"""Interrupt `run` or `demo` by SIGINT and SIGTERM at random moments; the next run must complete it as undisturbed.

A chain of interruptions hits one folder: each time the same command is started again and interrupted at a moment drawn
anew, by SIGINT and SIGTERM in turn, sent to its process alone and to its process group in turn. Every run must end
within five seconds by 130 or 143, with one line on standard error and no process left. After --chain of them the
command is left to finish, and its files are compared with those of an undisturbed run; then the next chain starts in
an empty folder. Moments are drawn over a third of an undisturbed run, with --late over all of it, so that the first of
a chain may hit a late stage too. With --load somebody else keeps that many cores busy.

python -m benchmarks.interrupt_run FOLDER --command run --interrupts 10 --prefect --ranks 2 --seed 0
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.kill_run import Contents, contents
from siamese_med.imaging import volume
from siamese_med.simulation import anatomy, scanner
from tests.flows.conftest import CONFIG
from tests.recorded import User

LIMIT_S = 5.0
STARTING_S = 0.3
"""By then the interpreter is up; before, a signal finds no program of ours."""
PATIENTS, VISITS = 8, 2
HEAD = f"{'moment':>8}  {'stage':8} {'signal':8} {'to':6} {'seconds':>7} {'code':>4} {'lines':>5} {'left':>4}  verdict"


@dataclass(frozen=True)
class Bench:
    """A user, the command that is interrupted, and where everything lies."""

    folder: Path
    user: User
    command: str
    prefect: bool

    def call(self, where: Path) -> list[str]:
        """The command for one folder."""
        common = ["--config", str(self.folder / "config.toml"), "--quiet", *([] if self.prefect else ["--no-prefect"])]
        if self.command == "demo":
            return ["demo", "--folder", str(where), "--patients", str(PATIENTS), "--visits", str(VISITS), *common]
        places = ["--data", str(where / "data"), "--reports", str(where / "reports")]
        return ["run", str(self.folder / "export" / "manifest.csv"), *places, *common]

    def start(self, where: Path) -> subprocess.Popen[str]:
        """Start it in a session and a process group of its own."""
        where.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "siamese_med", *self.call(where)],
            cwd=where,
            env=self.user.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, where: Path) -> tuple[int, float]:
        """Let it run to its end; exit code and seconds."""
        started = time.perf_counter()
        process = self.start(where)
        said = process.communicate(timeout=3600)[1]
        if process.returncode not in (0, 4):
            print(said, flush=True)
        return process.returncode, time.perf_counter() - started


def main() -> int:
    """Print a line for each interruption and each completion; 0 where all were as they must be."""
    asked = _asked()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it, and theirs
    folder = asked.folder.absolute()
    (scratch := folder / "tmp").mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, User(folder / "home", extra={"TMPDIR": str(scratch)}), asked.command, asked.prefect)
    _prepare(folder, asked.ranks)
    print(f"{asked.command}, {'Prefect' if asked.prefect else 'no Prefect'}, {asked.ranks} ranks, seed {asked.seed}")
    with _busy(asked.load):
        if (folder / "lasts.txt").is_file():
            lasts_s = float((folder / "lasts.txt").read_text())
        else:
            code, lasts_s = bench.finish(folder / "reference")
            print(f"undisturbed: exit code {code}, {lasts_s:.0f} s", flush=True)
            (folder / "lasts.txt").write_text(str(lasts_s))
        wrong = _interrupt_all(bench, asked, lasts_s)
    left = sorted(path.name for path in scratch.iterdir())
    print(f"{asked.interrupts} interruptions, {wrong} wrong; temporary files left: {', '.join(left) or 'none'}")
    return 1 if wrong or left else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--command", choices=("run", "demo"), default="run")
    for name, default in (("interrupts", 10), ("chain", 5), ("ranks", 1), ("seed", 0), ("load", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prefect", action="store_true", help="recorded, with a server for the run")
    parser.add_argument("--late", action="store_true", help="moments in the whole of the run, in folders done that far")
    return parser.parse_args()


def _interrupt_all(bench: Bench, asked: argparse.Namespace, lasts_s: float) -> int:
    random, wrong = np.random.default_rng(asked.seed), 0
    expected = contents(bench.folder / "reference")
    where = bench.folder / "chain"
    print(HEAD)
    for number in range(asked.interrupts):
        if number % asked.chain == 0:
            shutil.rmtree(where, ignore_errors=True)
        share = 0.95 if asked.late else 0.35
        moment = float(random.uniform(STARTING_S, lasts_s * share))
        line, problems = _interrupted(bench, where, moment, number)
        print(f"{line}  {'; '.join(problems) or 'as it must'}", flush=True)
        wrong += bool(problems)
        if number % asked.chain == asked.chain - 1 or number == asked.interrupts - 1:
            line, problems = _completed(bench, where, expected)
            print(f"{line}: {'; '.join(problems) or 'as undisturbed'}", flush=True)
            wrong += bool(problems)
    return wrong


def _interrupted(bench: Bench, where: Path, moment: float, number: int) -> tuple[str, list[str]]:
    """Start, wait, send the signal; what was seen, and what of it must not be."""
    sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
    to_group = number % 4 >= 2
    process = bench.start(where)
    started = time.perf_counter()
    while time.perf_counter() - started < moment and process.poll() is None:
        time.sleep(0.01)
    if process.poll() is not None:  # it had less to do than an undisturbed run
        process.communicate()
        if moment > 2 * STARTING_S:
            shutil.rmtree(where / "reports", ignore_errors=True)
            return _interrupted(bench, where, moment / 2, number)
    stage = _stage(where)
    at = time.perf_counter()
    (os.killpg if to_group else os.kill)(process.pid, sent)
    said = process.communicate(timeout=600)[1].splitlines()
    seconds, left = time.perf_counter() - at, bench.user.processes()
    bench.user.kill_all()
    problems = [f"{len(left)} processes left: {next(iter(left.values()))[:80]}"] if left else []
    problems += [f"took {seconds:.1f} s"] if seconds > LIMIT_S else []
    problems += [f"exit code {process.returncode}"] if process.returncode != 128 + sent else []
    if len(said) != 1 or "interrupted" not in said[0]:
        problems.append(f"said {' | '.join(said)[:300]!r}")
    to = "group" if to_group else "pid"
    seen = f"{seconds:7.2f} {process.returncode:4} {len(said):5} {len(left):4}"
    return f"{moment:6.2f} s  {stage:8} {sent.name:8} {to:6} {seen}", problems


def _stage(where: Path) -> str:
    """The stage that is at work, by what those before have left."""
    data = where / "data"
    if not data.exists():
        return "simulate" if (where / "input").exists() else "start"
    for stage, mark in {"ingest": data / "prepared", "prepare": data / "pairs.parquet"}.items():
        if not mark.exists():
            return stage
    if not list(data.glob("models/*/model.json")):
        return "train"
    return "report" if list(data.glob("scores/*.parquet")) else "score"


def _completed(bench: Bench, where: Path, expected: Contents) -> tuple[str, list[str]]:
    """Run to the end; all that differs from an undisturbed run, also what nobody looks at."""
    code, seconds = bench.finish(where)
    problems = [f"exit code {code}"] if code not in (0, 4) else []
    for name, found, known in zip(("data", "reports", "catalogue"), contents(where), expected, strict=True):
        wrong = sorted(key for key in found.keys() | known.keys() if found.get(key) != known.get(key))
        problems += [f"{len(wrong)} of {name} differ, such as {wrong[0]}"] if wrong else []
    problems += [f"{path.relative_to(where)} left" for path in where.rglob(".tmp-*")]
    problems += [f"{len(names)} runs still at work" for names in [bench.user.unfinished()] if names]
    problems += [f"{len(bench.user.left(1))} processes left"] if bench.user.left(1) else []
    return f"completed in {seconds:.0f} s, exit code {code}", problems


def _prepare(folder: Path, ranks: int) -> None:
    """Settings that are quick, and an export of a few coarse scans."""
    more = f"[train]\ndevices = {ranks}\n" if ranks > 1 else "[train]\n"  # the accelerator is the CPU already
    (folder / "config.toml").write_text(CONFIG.replace("[train]\n", more))
    if (folder / "export").is_dir():
        return
    machine = scanner.draw_scanners(np.random.default_rng(1), 1)[0]
    rows = ["subject,session,path,date,changed"]
    for patient in range(PATIENTS):
        who = anatomy.simulate_anatomy(np.random.default_rng([7, patient]), difference=1.0)
        for visit in range(VISITS):
            coarse = replace(machine, pixel_mm=5.0, slice_mm=5.0, contrast="FLAIR")
            name = f"p{patient}_v{visit}.nii.gz"
            taken = scanner.acquire_scan(who, coarse, np.random.default_rng(10 * patient + visit))
            volume.write_volume(folder / "export" / name, taken.volume)
            rows.append(f"p{patient},{visit},{name},202{visit}-03-01,0")
    (folder / "export" / "manifest.csv").write_text("\n".join([*rows, ""]))


@contextmanager
def _busy(cores: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    sys.exit(main())
