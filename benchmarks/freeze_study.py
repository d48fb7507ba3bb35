"""Make the frozen study of tests/end_to_end: a tiny simulated study, as the program of another commit leaves it.

Tests unpack it to see that data folders, models and catalogues of that commit still load. All scans are simulated. The
input is written by this checkout, everything else by the command line that `--program` names:

    git worktree add ../before d648ceb
    make -C ../before install
    python -m benchmarks.freeze_study tests/end_to_end/study_of_d648ceb.tar.xz \
        --program ../before/.venv/bin/siamese-med --commit d648ceb
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

PATIENTS, VISITS = 6, 2
VOXEL_MM = 12.0
DAYS_BETWEEN_VISITS = 200
FIRST_VISIT = date(2020, 3, 1)
SECRET = b"the secret of the frozen study, 1"
"""Labels follow the secret, and the splits and the template follow the labels."""
STEPS = ("ingest", "prepare", "pair", "train", "score")
KEPT = ("README.txt", "secret", "study.toml", "input", "data")
CONFIG = """# Coarse and short: the files are to be small, the figures mean nothing.
[prepare]
shape = [16, 16, 16]
spacing_mm = 12.0
min_quality = 0.01
accelerator = "cpu"
[pair]
validation = 0.33
test = 0.33
[train]
width = 4
embedding = 8
epochs = 2
steps_per_epoch = 2
patients_per_batch = 2
change_steps = 2
change_patches = 1
change_sources = 2
accelerator = "cpu"
[score]
spacing_mm = 10.0
smoothing_mm = 6.0
simulated_rescans = 3
accelerator = "cpu"
"""
ABOUT = """All scans in this archive are SIMULATED: no patient was scanned.

A study of {patients} simulated patients with {visits} visits each, as commit {commit} of siamese-med leaves
it after these commands: {steps}.
The input was written by benchmarks/freeze_study.py, which also says how to make the archive anew.
`secret` is the pseudonym secret of this study alone; it protects nobody.
"""


def write_input(folder: Path) -> None:
    """Simulate the scans: patients with even numbers as DICOM, the others as a BIDS dataset.

    Parameters
    ----------
    folder
        Gets the folders `dicom` and `bids`; voxels are cubes of `VOXEL_MM`.
    """
    import numpy as np

    from siamese_med.simulation import anatomy, bids_tree, dicom_series, scanner

    fleet = scanner.draw_scanners(np.random.default_rng(1), 2)
    machines = [replace(one, pixel_mm=VOXEL_MM, slice_mm=VOXEL_MM) for one in fleet]
    dates: dict[int, list[str]] = {}
    for number in range(PATIENTS):
        patient = anatomy.simulate_anatomy(np.random.default_rng([7, number]), difference=1.0)
        days = [FIRST_VISIT + timedelta(days=30 * number + DAYS_BETWEEN_VISITS * visit) for visit in range(VISITS)]
        for visit, day in enumerate(days):
            machine = machines[(number + visit) % 2]
            scan = scanner.acquire_scan(patient, machine, np.random.default_rng([8, number, visit])).volume
            if number % 2:
                dates.setdefault(number, []).append(day.isoformat())
                bids_tree.write_bids_scan(folder / "bids", number, visit + 1, machine, scan)
                continue
            person = dicom_series.PatientIdentity(f"Simulated{number}^Nobody", f"SIM-{1000 + number}", "19500101", "O")
            examination = dicom_series.SimulatedExamination(f"{day:%Y%m%d}", f"frozen {number} {visit}")
            dicom_series.write_dicom_series(folder / "dicom" / f"p{number}v{visit}", scan, machine, person, examination)
    bids_tree.write_bids_tables(folder / "bids", "Frozen study (simulated)", dates)


def run_program(program: Path, folder: Path) -> None:
    """Take the study from ingest to scores; raises SystemExit where a step of the program fails."""
    environment = os.environ | {"SIAMESE_MED_SECRET_FILE": str(folder / "secret"), "PREFECT_HOME": str(folder / ".p")}
    for step in STEPS:
        source = ["input"] if step == "ingest" else []
        options = ["--data", "data", "--reports", "reports", "--config", "study.toml", "--no-prefect"]
        command = [str(program.absolute()), step, *source, *options]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{step} ended with exit code {ended.returncode}: {ended.stdout}{ended.stderr}")


def pack_study(folder: Path, target: Path) -> None:
    """Write the archive, without names of users and without SQLite's and the program's lock files."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return None if member.name.endswith((".lock", "-wal", "-shm", "-journal")) else member

    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name in KEPT:
            archive.add(folder / name, name, filter=anonymous)


def main() -> int:
    """Simulate, run, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the archive to write, .tar.xz")
    parser.add_argument("--program", type=Path, required=True, help="the `siamese-med` of the commit to be frozen")
    parser.add_argument("--commit", required=True, help="its commit, for the archive's README")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="freeze-") as name:
        folder = Path(name)
        steps = ", ".join(STEPS)
        about = ABOUT.format(patients=PATIENTS, visits=VISITS, commit=asked.commit, steps=steps)
        (folder / "README.txt").write_text(about, encoding="utf-8")
        (folder / "study.toml").write_text(CONFIG, encoding="utf-8")
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        write_input(folder / "input")
        run_program(asked.program, folder)
        pack_study(folder, asked.target)
    sys.stdout.write(f"{asked.target}: {asked.target.stat().st_size / 1000:.0f} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
