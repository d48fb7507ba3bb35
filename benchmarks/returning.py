"""Simulated patients of whom a few come once more later: an export, and the files that arrive in it afterwards.

<pool>/input, truth     all visits of all patients (simulation.cohort), the late ones among them
<pool>/patients/*.json  one a patient, written last, so that a killed simulation goes on where it was
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from siamese_med.runtime.files import write_json_file
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.simulation import bids_tree, cohort

LATE = 5
"""The first so many patients have one visit more than the others."""
SEED = 7


def simulate(pool: Path, patients: int, visits: int) -> None:
    """Write the patients that are not there yet."""
    made = [(pool, number, visits + (number < LATE)) for number in range(patients)]
    waiting = [job for job in made if not _record(pool, job[1]).is_file()]
    for _ in run_in_parallel(_simulate, waiting, "simulating patients", len(os.sched_getaffinity(0))):
        pass


def _simulate(job: tuple[Path, int, int]) -> None:
    pool, number, visits = job
    recipe = cohort.CohortParameters(number + 1, visits, SEED, cohort.DEFAULT_ANATOMY_DIFFERENCE, ("FLAIR",), False)
    write_json_file(
        _record(pool, number), [asdict(row) for row in cohort.write_simulated_patient(pool, number, recipe)]
    )


def _record(pool: Path, number: int) -> Path:
    return pool / "patients" / f"{number:03d}.json"


def export(pool: Path, folder: Path, patients: int, visits: int, late: bool) -> int:
    """Bring `folder` to what the hospital has exported, with or without the late visits; returns the number of scans.

    Files are hard links, so they keep their times and take no room. The tables of a BIDS tree name planned visits too:
    one that changed would be counted as replaced, rightly, and the account would not be that of a full run.
    """
    wanted: dict[Path, Path] = {}
    scans, days = 0, {}
    for number in range(patients):
        planned = json.loads(_record(pool, number).read_text())
        rows = planned if late else planned[:visits]
        scans += len(rows)
        if rows[0]["format"] == "nifti":
            days[number] = [row["date"] for row in planned]
        studies = {(pool / row["scan"]).parent for row in rows}
        wanted |= {folder / path.relative_to(pool / "input"): path for study in studies for path in files_of(study)}
    bids_tree.write_bids_tables(pool / "tables", "siamese-med simulated cohort", days)
    wanted |= {folder / "bids" / path.relative_to(pool / "tables"): path for path in files_of(pool / "tables")}
    for path in set(files_of(folder)) - wanted.keys():
        path.unlink()
    for path, source in wanted.items():
        _link(source, path)
    shutil.rmtree(pool / "tables", ignore_errors=True)
    return scans


def files_of(folder: Path) -> Iterator[Path]:
    """All files below a folder."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _link(source: Path, path: Path) -> None:
    if path.is_file() and (path.samefile(source) or path.read_bytes() == source.read_bytes()):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.hardlink_to(source)
