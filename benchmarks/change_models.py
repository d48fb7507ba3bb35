"""Models for the measuring of change: `python -m benchmarks.change_models FOLDER --seeds 0 1 2`.

A study of simulated patients with two visits each is made, by the machines that `planted` calls KNOWN: every second
patient is scanned again a day later without change, the others after most of a year with a new lesion. It goes through
the real stages, and one model a seed is trained, whose folder is
printed. Patients are none of those of `planted`.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from benchmarks.planted import DIFFERENCE, KNOWN, SEED
from siamese_med.pipeline import stages
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.simulation import anatomy, bids_tree, scanner
from siamese_med.simulation.cohort import FIRST_VISIT_DATE
from siamese_med.study.config import Config, PairConfig, TrainConfig
from siamese_med.study.tables import Study

STREAM = 11
PATIENTS = 48
SECRET = b"of a simulated study and no secret"


def main() -> None:
    """Simulate, ingest, prepare, pair and train."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--patients", type=int, default=PATIENTS)
    arguments.add_argument("--steps", type=int, default=TrainConfig().change_steps)
    given = arguments.parse_args()
    for seed in given.seeds:
        started = time.perf_counter(), sum(os.times()[:4])
        model = trained(given.folder, given.patients, seed, given.steps)
        clock, cpu = time.perf_counter() - started[0], sum(os.times()[:4]) - started[1]
        print(f"{model}  seed {seed}  {clock:.0f} s, {cpu:.0f} CPU-s", flush=True)


def trained(folder: Path, patients: int, seed: int, steps: int) -> Path:
    """The model folder of one seed; what was made before is found again."""
    secret = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    if not secret.is_file():
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
    os.environ["SIAMESE_MED_SECRET_FILE"] = str(secret)
    settings = TrainConfig(seed=seed, change_steps=steps)
    study = Study(folder / "data", folder / "reports", Config(train=settings, pair=PairConfig(rescan_days=1)))
    stages.ingest(written(folder / "input", patients), study)
    stages.prepare(study)
    stages.build_pairs(study)
    return stages.train(study)


def written(folder: Path, patients: int) -> Path:
    """The study as a BIDS tree; a complete one is left as it is."""
    if not (folder / "dataset_description.json").is_file():
        days = dict(enumerate(run_in_parallel(_write, [(folder, number) for number in range(patients)], "simulating")))
        bids_tree.write_bids_tables(folder, "siamese-med simulated study", days)
    return folder


def _write(job: tuple[Path, int]) -> list[str]:
    """Both visits of one patient; returns their dates."""
    folder, number = job
    rng = np.random.default_rng([SEED, STREAM, number])
    machines = scanner.draw_scanners(np.random.default_rng([SEED, 100 + KNOWN]), scanner.SCANNER_COUNT)
    person = anatomy.simulate_anatomy(rng, DIFFERENCE)
    days = [FIRST_VISIT_DATE, FIRST_VISIT_DATE + timedelta(days=300 if number % 2 else 1)]
    for visit in (1, 2):
        if visit == 2 and number % 2:
            person = anatomy.add_lesion(person, rng, math.exp(rng.uniform(math.log(100), math.log(3000))))
        machine = machines[rng.integers(len(machines))]
        bids_tree.write_bids_scan(folder, number, visit, machine, scanner.acquire_scan(person, machine, rng).volume)
    return [date.isoformat(day) for day in days]


if __name__ == "__main__":
    main()
