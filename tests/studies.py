"""One small trained study for all tests that need one: made once for each state of the code, and kept on disk.

It lies in `.cache/tests/study-<digest>`. The digest covers the code of the package and of the flows, this file, the
installed packages and the processor, so a study of other code is never used. Read it; never write into it: tests that
write take a copy (`Made.copy`). A lock lets one process make it while the others wait; `make clean` removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import ROOT

if TYPE_CHECKING:
    from siamese_med.simulation.anatomy import Anatomy
    from siamese_med.simulation.scanner import Acquisition
    from siamese_med.study.config import Config

PATIENTS, VISITS = 8, 2
SECRET = b"the secret of the tests, number 1"
"""Labels follow the secret, and splits and the template follow the labels: with this one all scans align."""
CONFIG_TOML = """
[prepare]
shape = [24, 24, 24]
spacing_mm = 8.0
min_quality = 0.03
accelerator = "cpu"
[train]
width = 8
embedding_size = 16
epochs = 3
steps_per_epoch = 4
patients_per_batch = 4
augmentation_strength = 0.5
change_steps = 3
change_patches = 1
change_sources = 4
accelerator = "cpu"
[promote]
starter_model = false
[score]
spacing_mm = 6.0
smoothing_mm = 4.0
simulated_rescans = 4
accelerator = "cpu"
"""
"""A small model on a coarse grid; a nudge costs less there, so `min_quality` is lower than the default.

The starter model is left out: the first model of a study is used at once, and no test waits for two to be compared.
"""
KEPT = 2
"""How many studies of other states of the code stay on disk, the newest first."""


@dataclass(frozen=True)
class Made:
    """The study in the cache; nobody writes here."""

    folder: Path

    @property
    def export(self) -> Path:
        """A CSV manifest and its scans: eight patients with a visit and a rescan a year later, nobody changed."""
        return self.folder / "export"

    @property
    def trained(self) -> Path:
        """`data` and `reports` as ingest, prepare, pair and train leave them."""
        return self.folder / "trained"

    @property
    def whole(self) -> Path:
        """`data` and `reports` of an undisturbed run."""
        return self.folder / "whole"

    @property
    def model(self) -> Path:
        """The folder of the only model."""
        (about,) = self.whole.glob("data/models/*/model.json")
        return about.parent

    def copy(self, where: Path, scored: bool = True) -> Path:
        """A copy of the study to write into: of the undisturbed run, or as far as its training; returns `where`."""
        source = self.whole if scored else self.trained
        for name in ("data", "reports"):
            shutil.copytree(source / name, where / name)
        return where

    def copy_export(self, where: Path) -> Path:
        """A copy of the export in the folder `where`, for tests that add a manifest or change a scan."""
        shutil.copytree(self.export, where)
        for path in where.iterdir():
            path.chmod(0o644)
        return where

    def marks(self) -> str:
        """Names, sizes and times of all files; SQLite's own come and go while the catalogue is read."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and "sqlite-" not in path.name)
        kept = [path for path in paths if path != self.complete]
        return "".join(f"{path.relative_to(self.folder)} {_size_and_time(path)}\n" for path in kept)

    @property
    def complete(self) -> Path:
        """Written last, with the marks of all other files."""
        return self.folder / "complete"


def small() -> Config:
    """The config of the study."""
    from siamese_med.study.config import Config

    return Config.model_validate(tomllib.loads(CONFIG_TOML))


def made() -> Made:
    """The study of the present code; made where there is none yet, which takes half a minute of work."""
    places = ROOT / ".cache" / "tests"
    places.mkdir(parents=True, exist_ok=True)
    study = Made(places / f"study-{state_of_the_code()}")
    with (places / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not untouched(study):
            shutil.rmtree(study.folder, ignore_errors=True)
            _make(study)
            study.complete.write_text(study.marks())
            _forget_old(places, study.folder)
    return study


def untouched(study: Made) -> bool:
    """Whether the study is complete and nobody has written into it since."""
    return study.complete.is_file() and study.complete.read_text() == study.marks()


@cache
def state_of_the_code() -> str:
    """Digest of everything that the study depends on."""
    found = hashlib.sha256()
    for path in [Path(__file__), *_code()]:
        content = path.read_bytes()
        found.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    packages = sorted(f"{one.metadata['Name']} {one.version}" for one in metadata.distributions())
    machine = [line for line in _processor() if line.startswith(("model name", "flags"))]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    found.update("\n".join([sys.version, threads, *packages, *sorted(set(machine))]).encode())
    return found.hexdigest()[:16]


def _size_and_time(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _code() -> list[Path]:
    """Every file of the package, templates too."""
    paths = (path for path in (ROOT / "siamese_med").rglob("*") if "__pycache__" not in path.parts)
    return sorted(path for path in paths if path.is_file())


def _processor() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.is_file() else []


def _make(study: Made) -> None:
    """The real stages, in this process."""
    from siamese_med.pipeline import stage_results
    from siamese_med.pipeline.stage_results import RunRequest
    from siamese_med.study.tables import Study

    write_export(study.export)
    with in_one_process(study.folder):
        order = RunRequest(Study(study.whole / "data", study.whole / "reports", small()), study.export / "manifest.csv")
        model = None
        for verb in stage_results.STAGE_NAMES:  # trained by hand: the model is the current one
            outcome = stage_results.run_stage(verb, replace(order, model=model))
            if verb == "train":
                model = outcome.model
                shutil.copytree(study.whole, study.trained)
    for path in study.export.iterdir():
        path.chmod(0o444)


@contextmanager
def in_one_process(folder: Path) -> Iterator[None]:
    """No worker processes, which cost more than they save here; the tests' secret, and a Prefect home of nobody."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        patch.setenv("SIAMESE_MED_SECRET_FILE", str(secret))
        yield


def write_export(folder: Path) -> Path:
    """Scans of simulated patients and the manifest that names them; returns the manifest.

    The files' names tell the contrast: else every ingest of this export would ask the images for it, a second a scan.
    """
    import numpy as np
    import pandas as pd

    from siamese_med.imaging import volume
    from siamese_med.simulation import anatomy

    rows = []
    for number in range(PATIENTS):
        who = anatomy.simulate_anatomy(np.random.default_rng([7, number]), difference=1.0)
        for visit in range(VISITS):
            path = folder / f"p{number}_v{visit}_FLAIR.nii.gz"
            volume.write_volume(path, acquire(who, 10 * number + visit, pixel_mm=5.0, slice_mm=5.0).volume)
            rows.append({"subject": f"p{number}", "session": visit, "path": path.name, "date": f"202{visit}-03-01"})
    pd.DataFrame(rows).assign(changed=0).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def acquire(patient: Anatomy, seed: int, contrast: str = "FLAIR", **settings: Any) -> Acquisition:
    """Scan a patient coarsely (3 mm): the same seed gives the same pose, field of view and noise."""
    import numpy as np

    from siamese_med.simulation import scanner

    coarse: dict[str, Any] = {"pixel_mm": 3.0, "slice_mm": 3.0, "contrast": contrast, **settings}
    machine = scanner.draw_scanners(np.random.default_rng(1), 1)[0]
    return scanner.acquire_scan(patient, replace(machine, **coarse), np.random.default_rng(seed))


def _forget_old(places: Path, present: Path) -> None:
    """Remove studies of old code; a few stay, since somebody may test another state of the code at this moment."""
    others = [path for path in places.glob("study-*") if path != present]
    for path in sorted(others, key=lambda one: one.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
