"""What a second run costs: CPU time of an ingest over an unchanged tree against the first run's.

CPU is user and system of the whole process tree, interpreter start included. The unchanged tree must cost at most a
twentieth and change nothing; then a twentieth of new files is added, and then everything is hashed again (--verify).

python -m benchmarks.again --files 4000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import large_export, processes
from benchmarks.kill import contents, differences, tables
from benchmarks.large_export import Written
from benchmarks.processes import Spent

SLICES = 40
NEW_SHARE = 0.05
MAX_SHARE = 1 / 20
REPEATS = 3


@dataclass(frozen=True)
class Bench:
    """The export, the data folder and the config of one measurement."""

    export: Path
    data: Path
    config: Path

    def ingest(self, *options: str) -> Spent:
        """One run; raises SystemExit where it fails."""
        spent = processes.spend(processes.ingest_command(self.export, self.data, self.config, *options))
        if spent.code not in (0, 4):
            raise SystemExit(f"ingest ended with exit code {spent.code}: {spent.output}")
        return spent


def move(series: Sequence[Written], source: Path, target: Path) -> None:
    """Move files to the same place below another folder; their times stay."""
    for path in (path for one in series for path in one.files):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)


def measure(bench: Bench, series: Sequence[Written], aside: Path) -> tuple[list[tuple[str, Spent]], list[str]]:
    """All runs by name, and what is wrong with them."""
    late = series[-max(int(len(series) * NEW_SHARE), 1) :]
    move(late, bench.export, aside)
    runs = [("first run", bench.ingest())]
    before = contents(bench.data)
    again = [bench.ingest() for _ in range(REPEATS)]
    problems = [f"the unchanged tree: {problem}" for problem in differences(contents(bench.data), before)]
    runs.append(("unchanged", sorted(again, key=lambda one: one.cpu_s)[REPEATS // 2]))
    move(
        [Written(tuple(aside / path.relative_to(bench.export) for path in one.files)) for one in late],
        aside,
        bench.export,
    )
    runs.append((f"{NEW_SHARE:.0%} new files", bench.ingest()))
    more = len(tables(bench.data / "catalogue.sqlite")["file"]) - sum(name.startswith("file: ") for name in before)
    problems += [] if more == sum(len(one.files) for one in late) else [f"{more} new files were noted"]
    if "--verify" in processes.spend([sys.executable, "-m", "siamese_med", "ingest", "--help"]).output:
        before = contents(bench.data)
        runs.append(("--verify", bench.ingest("--verify")))
        problems += [f"--verify: {problem}" for problem in differences(contents(bench.data), before)]
    return runs, problems


def main() -> int:
    """Print the table; 0 where the unchanged tree costs little and changes nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("files", 4000), ("size", 256), ("seed", 0), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="again-") as name:
        folder = Path(name)
        bench = Bench(folder / "export", folder / "data", processes.settings(folder, workers=asked.workers))
        series = large_export.write(bench.export, -(-asked.files // SLICES), SLICES, asked.size, asked.seed)
        runs, problems = measure(bench, series, folder / "aside")
    first = runs[0][1]
    print(f"{sum(len(one.files) for one in series)} files in {len(series)} series, {NEW_SHARE:.0%} of them added later")
    print(f"{'run':16}{'wall s':>8}{'CPU s':>8}{'of first':>10}")
    for what, spent in runs:
        print(f"{what:16}{spent.wall_s:>8.2f}{spent.cpu_s:>8.2f}{'1/' + format(first.cpu_s / spent.cpu_s, '.1f'):>10}")
    share = runs[1][1].cpu_s / first.cpu_s
    problems += (
        [f"the unchanged tree cost 1/{1 / share:.1f}, more than 1/{1 / MAX_SHARE:.0f}"] if share > MAX_SHARE else []
    )
    print("\n".join(problems) or "nothing was ingested again")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
