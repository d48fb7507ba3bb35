"""A user with a very small study: real files, real stages on coarse grids, a real Prefect server of his own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med import volume
from siamese_med.phantom import anatomy
from siamese_med.phantom.scanner import Acquisition
from tests.commands import ROOT
from tests.recorded import User

PATIENTS, VISITS = 8, 2
CONFIG = """
[prepare]
shape = [24, 24, 24]
spacing_mm = 8.0
min_quality = 0.03
[train]
width = 8
embedding = 16
epochs = 2
steps_per_epoch = 3
patients_per_batch = 4
change_steps = 3
change_patches = 1
change_sources = 4
[score]
spacing_mm = 6.0
smoothing_mm = 4.0
simulated_rescans = 4
"""
LISTENER = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["CONNECTS"], "a") as file:
            file.write(f"{event} {arguments[1] if event != 'socket.getaddrinfo' else arguments[0]}\\n")
sys.addaudithook(note)
"""


@dataclass(frozen=True)
class Tiny:
    """An export of eight patients with two visits each, its config, and what an undisturbed run made of it.

    In every Python process of its user somebody listens, and writes down whom it connects to.
    """

    folder: Path
    user: User

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def connects(self) -> Path:
        """Where the addresses are that were sought."""
        return self.folder / "connects.txt"

    @property
    def whole(self) -> Path:
        """Where the undisturbed run's data and reports are."""
        return self.folder / "whole"

    def run(self, where: Path, config: Path | None = None) -> list[str | Path]:
        """The command that makes everything of the export."""
        places = ["--data", where / "data", "--reports", where / "reports"]
        return ["run", self.export / "manifest.csv", *places, "--config", config or self.folder / "config.toml"]

    def trained(self, where: Path) -> Path:
        """A place with the undisturbed run's model and nothing else: what trains finds its work done."""
        shutil.copytree(self.whole / "data" / "models", where / "data" / "models")
        return where

    def study(self, where: Path, more: str = "") -> Path:
        """A study file for data and reports under `where`, with more lines of config."""
        where.mkdir(parents=True, exist_ok=True)
        (where / "config.toml").write_text(CONFIG + more)
        keys = {
            "input": self.export / "manifest.csv",
            "data": where / "data",
            "reports": where / "reports",
            "config": where / "config.toml",
        }
        file = where / "tiny.toml"
        file.write_text("".join(f"{key} = {json.dumps(str(path))}\n" for key, path in keys.items()))
        return file


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, acquired: Callable[..., Acquisition]) -> Iterator[Tiny]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(LISTENER)
    heard = {"PYTHONPATH": f"{folder / 'hook'}:{ROOT}", "CONNECTS": str(folder / "connects.txt")}
    made = Tiny(folder, User(folder / "home", extra=heard))
    rows = []
    for number in range(PATIENTS):
        who = anatomy.patient(np.random.default_rng([7, number]), difference=1.0)
        for visit in range(VISITS):
            path = made.export / f"p{number}_v{visit}.nii.gz"
            volume.write(path, acquired(who, 10 * number + visit, pixel_mm=5.0, slice_mm=5.0).volume)
            rows.append({"subject": f"p{number}", "session": visit, "path": path.name, "date": f"202{visit}-03-01"})
    pd.DataFrame(rows).assign(changed=0).to_csv(made.export / "manifest.csv", index=False)
    (folder / "config.toml").write_text(CONFIG)
    done = made.user.call(*made.run(made.whole), cwd=folder)
    assert done.returncode in (0, 4), done.stderr
    yield made
    made.user.kill_all()
