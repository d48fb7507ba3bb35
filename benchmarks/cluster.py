"""Seconds of ingest and prepare without Dask, and on a Dask cluster on loopback with one worker and with two.

All runs of a round share one Prefect server, and come in turn; the last columns are ratios within the round.

python -m benchmarks.cluster FOLDER --patients 16 --visits 3 --model DIR --rounds 3
"""

from __future__ import annotations

import argparse
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from siamese_med.pipeline import stages
from tests.clusters import cluster
from tests.recorded import User

WAYS = {"this machine": 0, "Dask, 1 worker": 1, "Dask, 2 workers": 2}


def main() -> None:
    """Print the medians of each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="of any study; nothing is trained")
    for name, default in (("patients", 16), ("visits", 3), ("rounds", 3), ("port", 4288)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    stages.simulate(folder, asked.patients, asked.visits)
    user = User(folder / "home")
    study = folder / "study.toml"
    study.write_text('data = "served/data"\nreports = "served/reports"\n')
    rows = []
    with user.serving(study, port=asked.port, cwd=folder):
        for number in range(asked.rounds):
            for way, workers in WAYS.items():
                rows.append({"round": number, "way": way, **_seconds(user, folder, workers, asked.model.absolute())})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("way", sort=False).median(numeric_only=True).drop(columns="round")
    print(table.round(1).to_string())


def _seconds(user: User, folder: Path, workers: int, model: Path) -> dict[str, float]:
    where = folder / "run"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    found = {}
    dask: Any = nullcontext(("", []))
    if workers:
        dask = cluster(folder / "dask", workers, user.environment)
    with dask as (address, _):
        config = where / "config.toml"
        config.write_text(f'[run]\ndask = "{address}"\n' if address else "")
        places = ["--data", where / "data", "--reports", where / "reports", "--config", config]
        for verb, more in (("ingest", [folder / "input"]), ("prepare", ["--model", model])):
            done = user.call(verb, *more, *places, cwd=folder)
            assert done.returncode in (0, 4), done.stderr
            took = user.query("select total_run_time from flow_run where state_type = 'COMPLETED' order by end_time")
            found[verb] = _as_seconds(took[-1][0])
    return found


def _as_seconds(duration: str) -> float:
    """What Prefect's database has: an interval as SQLAlchemy keeps it in SQLite, a time after 1970."""
    return (pd.Timestamp(duration) - pd.Timestamp("1970-01-01")).total_seconds()


if __name__ == "__main__":
    main()
