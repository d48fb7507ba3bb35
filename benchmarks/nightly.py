"""What a night with five new scans costs beside a full run, over a study of simulated patients.

A full run is ingest, prepare, pair, score and report on an empty data folder; a nightly run is the same five stages on
what yesterday left. Each is a fresh process, imports included; the model is made before, on other patients.

python -m benchmarks.nightly FOLDER --patients 500 [--model DIR] [--compare]

FOLDER is kept: the simulation goes on where it was interrupted, and a full run that was finished is not made again;
nightly runs are. `--compare` holds what they leave against a second full run, over everything, file by file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import processes, returning
from benchmarks.kill import differences, tables
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_results import RunRequest, StageResult, run_stage, run_stages_in_order, select_stages
from siamese_med.runtime.files import write_json_file, write_text_file
from siamese_med.study import config
from siamese_med.study.tables import Study

TRAINED_ON = (16, 3)
"""Patients and visits of the study that the model comes from."""
MAX_SHARE = 0.05
POLL_S = 0.1


@dataclass(frozen=True)
class Spent:
    """One stage of a run: seconds of wall and of CPU, children included, and resident bytes of all at their peak."""

    stage: str
    wall_s: float
    cpu_s: float
    peak: int = 0


@dataclass(frozen=True)
class Run:
    """A whole run: its stages, and the most resident bytes of all its processes at one moment."""

    stages: tuple[Spent, ...]
    peak: int

    def of(self, stage: str) -> Spent:
        """One stage, or all of them together."""
        if stage == "all":
            return Spent("all", sum(one.wall_s for one in self.stages), sum(one.cpu_s for one in self.stages))
        return next(one for one in self.stages if one.stage == stage)


def settings(folder: Path) -> Path:
    """The demo's settings, with a secret of their own."""
    given = processes.settings(folder)
    given.write_text(
        config.DEMO_CONFIG + config.DEMO_OWN_MODEL_CONFIG + given.read_text(encoding="utf-8"), encoding="utf-8"
    )
    return given


def study(folder: Path, settings: Path) -> Study:
    """The study below a folder."""
    return Study(folder / "data", folder / "reports", config.load_config(settings))


def model(folder: Path, settings: Path) -> Path:
    """A small model of other patients; made once."""
    own = study(folder, settings)
    if not any(own.models.glob("*/model.json")):
        source = stages.simulate(folder / "simulated", *TRAINED_ON)
        run_stages_in_order(("ingest", "prepare", "pair"), RunRequest(own, source))
        return stages.train(own)
    return next(own.models.glob("*/model.json")).parent


def run(source: Path, folder: Path, settings: Path, model: Path) -> Run:
    """The five stages in a fresh process; raises SystemExit where they fail."""
    told, begun = folder / "spent.json", folder / "stage"
    told.unlink(missing_ok=True)
    begun.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, "-m", "benchmarks.nightly", str(folder), "--stages", *map(str, (source, settings))]
    process = processes.start([*call, "--model", str(model), "--started", str(time.time())], output=-3)
    peaks: dict[str, int] = {}
    while process.poll() is None:
        stage = begun.read_text() if begun.is_file() else "start"
        held = sum(processes.memory(pid)[0] for pid in (process.pid, *processes.descendants(process.pid)))
        peaks[stage] = max(peaks.get(stage, 0), held)
        time.sleep(POLL_S)
    if process.returncode or not told.is_file():
        raise SystemExit(f"a run ended with exit code {process.returncode}: {' '.join(call)}")
    spent = [Spent(**one) for one in json.loads(told.read_text())]
    return Run(tuple(replace(one, peak=peaks.get(one.stage, 0)) for one in spent), max(peaks.values()))


def run_stages(folder: Path, source: Path, settings: Path, model: Path, started: float) -> None:
    """What the fresh process does; the first row is what starting it took."""
    spent = [Spent("start", time.time() - started, processes.cpu_of_tree())]

    def measured(verb: str, order: RunRequest) -> StageResult:
        write_text_file(folder / "stage", verb)
        wall, cpu = time.perf_counter(), processes.cpu_of_tree()
        outcome = run_stage(verb, order)
        spent.append(Spent(verb, time.perf_counter() - wall, processes.cpu_of_tree() - cpu))
        return outcome

    run_stages_in_order(select_stages(model), RunRequest(study(folder, settings), source, model), measured)
    write_json_file(folder / "spent.json", [asdict(one) for one in spent])


def full(source: Path, folder: Path, settings: Path, model: Path) -> Run:
    """A run from nothing, made once."""
    told = folder / "full.json"
    if not told.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        made = run(source, folder, settings, model)
        write_json_file(told, asdict(made))
    kept = json.loads(told.read_text())
    return Run(tuple(Spent(**one) for one in kept["stages"]), kept["peak"])


def copied(yesterday: Path, folder: Path) -> Path:
    """What a full run left, for a nightly run to go on from: links, since no file but the catalogue is written into."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(yesterday, folder, copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    (shutil.copy2 if Path(source).suffix == ".sqlite" else os.link)(source, target)


def contents(folder: Path) -> dict[str, str]:
    """Every file of a study by the hash of its content, and every row of the catalogue.

    Left out: when the reports were written, and what was measured of pairs that are drawn no more.
    """
    pairs = stages.read_pairs(Study(folder / "data"))
    drawn = {f"pair-{hashlib.sha256(f'{a} {b}'.encode()).hexdigest()[:20]}" for a, b in pairs.iloc[:, :2].to_numpy()}
    found = {}
    for path in returning.files_of(folder):
        name = path.relative_to(folder).as_posix()
        ours = name.startswith(("data/", "reports/")) and name not in ("data/catalogue.sqlite", "reports/run.json")
        if ours and (not path.name.startswith("pair-") or path.name[:25] in drawn or "reports/" in name):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = tables(folder / "data" / "catalogue.sqlite")
    return found | {f"{table}: {row}": "" for table, lines in rows.items() for row in lines}


def table(runs: dict[str, Run]) -> str:
    """One line a stage: seconds of each run, and the last run's share of the first's."""
    names = list(runs)
    lines = ["| stage | " + " | ".join(f"{name}, s (CPU-s)" for name in names) + " | last of first |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for stage in ("start", *select_stages(Path()), "all"):
        cells = [f"{spent.wall_s:.1f} ({spent.cpu_s:.1f})" for spent in (one.of(stage) for one in runs.values())]
        lines.append(f"| {stage} | {' | '.join(cells)} | {share(runs, stage):.1%} |")
    peaks = " | ".join(f"{one.peak / 1e6:.0f} MB" for one in runs.values())
    return "\n".join([*lines, f"| peak memory | {peaks} | |"])


def share(runs: dict[str, Run], stage: str = "all") -> float:
    """Seconds of the last run's stage, of the first's."""
    first, *_, last = (one.of(stage).wall_s for one in runs.values())
    return last / first


def disk(folder: Path, source: Path, scans: int) -> str:
    """GB that each part takes for a thousand scans; what two parts share counts where it comes first."""
    seen: set[int] = set()
    cells = []
    places = {"input": source, **{name: folder / "data" / name for name in ("scans", "prepared", "scores")}}
    for name, place in (places | {"reports": folder / "reports"}).items():
        stats = [path.stat() for path in returning.files_of(place)]
        size = sum(one.st_blocks * 512 for one in {one.st_ino: one for one in stats}.values() if one.st_ino not in seen)
        seen |= {one.st_ino for one in stats}
        cells.append(f"{name} {size / scans / 1e6:.2f}")
    return f"GB per 1,000 scans: {', '.join(cells)}"


def measure(asked: argparse.Namespace) -> int:
    """All runs, and the table."""
    folder = asked.folder.absolute()
    chosen = settings(folder / "settings")
    returning.simulate(folder / "pool", asked.patients, asked.visits)
    judge = (asked.model or model(folder / "model", chosen)).absolute()
    size = (asked.patients, asked.visits)
    source, kept = folder / "export", folder / f"full-{size[0]}-{size[1]}"

    def export(late: bool) -> int:
        return returning.export(folder / "pool", source, *size, late)

    scans = export(late=False)
    runs = {"full run": full(source, kept, chosen, judge)}
    tonight = copied(kept, folder / "tonight")
    runs["nothing new"] = run(source, tonight, chosen, judge)
    new = export(late=True) - scans
    runs[f"{new} new scans"] = run(source, tonight, chosen, judge)
    print(f"{asked.patients} patients, {scans} scans\n\n{table(runs)}\n\n{disk(kept, source, scans)}")
    problems = [f"{share(runs):.1%} of a full run, more than {MAX_SHARE:.0%}"] if share(runs) > MAX_SHARE else []
    if asked.compare:
        run(source, _fresh(folder / "everything"), chosen, judge)
        problems += differences(contents(tonight), contents(folder / "everything"))
    print("\n".join(problems) or "nothing is amiss")
    return 1 if problems else 0


def _fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def main() -> int:
    """Print the table; 0 where a night with new scans costs little and leaves what a full run does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("patients", 500), ("visits", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--stages", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.stages:
        return measure(asked)
    run_stages(asked.folder, *asked.stages, asked.model, asked.started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
