"""Does training give the weights of another commit, and at what CPU time?

    python -m benchmarks.same_training [--commit b4dcb79^] [--rounds 3] [--edge 48]

Both versions train identity for the same steps on the same random scans, in turn, each in a process of its own. Printed
are whether all weights are equal bit for bit, and the median CPU-seconds of the steps. The default is the commit before
augmentation became a `Compose` of MONAI's transforms. Needs the repository's history.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

BEFORE_MONAI = "b4dcb79^"
PATIENTS, SCANS_PER_PATIENT = 12, 2
TRAIN = """
import hashlib, json, sys, tempfile, time
from pathlib import Path
import torch
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training
torch.set_num_threads(1)
paths = sorted(Path(sys.argv[1]).glob("*.npy"))
subjects = [path.stem.split("_")[0] for path in paths]
learned = len(paths) // 3 * 2
config = TrainConfig(accelerator="cpu", epochs=2, steps_per_epoch=3, patients_per_batch=4, change_steps=0)
parts = slice(learned), slice(learned, None)
train, validation = (ScanDataset(paths[part], subjects[part]) for part in parts)
for _ in range(2):  # the first time imports what is needed
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        network, _ = identity_training.train_network(train, validation, None, config, Path(folder))
    spent = time.process_time() - started
digest = hashlib.sha256()
for name, tensor in network.state_dict().items():
    digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
print(json.dumps({"weights": digest.hexdigest(), "cpu_s": spent}))
"""


def main() -> None:
    """Train with both versions in turn, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default=BEFORE_MONAI)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--edge", type=int, default=48, help="voxels of a scan along each axis")
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="same-training-") as name:
        folder = Path(name)
        write_scans(folder / "scans", given.edge)
        extract_commit(here, given.commit, folder / "before")
        found: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
        for _ in range(given.rounds):
            for which, tree in (("before", folder / "before"), ("now", here)):
                found[which].append(train(tree, folder / "scans"))
    weights = {one["weights"] for runs in found.values() for one in runs}
    before, now = (median(one["cpu_s"] for one in found[which]) for which in ("before", "now"))
    print(f"weights of {given.commit} and of now: {'equal, bit for bit' if len(weights) == 1 else 'not equal'}")
    print(f"CPU-seconds, medians of {given.rounds}: {before:.2f} and {now:.2f}, ratio {now / before:.2f}")
    sys.exit(len(weights) != 1)


def write_scans(folder: Path, edge: int) -> None:
    """Random scans of a few patients, alike within a patient."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for patient in range(PATIENTS):
        own = rng.uniform(0.2, 1.5, (edge,) * 3)
        for scan in range(SCANS_PER_PATIENT):
            voxels = own + 0.05 * rng.standard_normal(own.shape)
            np.save(folder / f"{patient:02d}_{scan}.npy", voxels.astype(np.float16))


def extract_commit(repository: Path, commit: str, folder: Path) -> None:
    """The package as it was in a commit."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", commit, "siamese_med"], check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def train(tree: Path, scans: Path) -> dict[str, Any]:
    """Train with the package of a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(scans)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
