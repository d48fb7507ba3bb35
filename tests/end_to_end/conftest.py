"""A whole small study, from NIfTI files to scores, made once with the real stages on small grids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med import stages, volume
from siamese_med.config import Config, PairConfig, PrepareConfig, ScoreConfig, TrainConfig
from siamese_med.ingestion import secret
from siamese_med.phantom import anatomy
from siamese_med.phantom.scanner import Acquisition
from siamese_med.records import Study

PATIENTS, VISITS = 8, 2
CONFIG = Config(
    prepare=PrepareConfig(
        shape=(24, 24, 24),
        spacing_mm=8.0,
        min_quality=0.03,  # a nudge costs less on so coarse a grid
        accelerator="cpu",
    ),
    pair=PairConfig(),
    train=TrainConfig(
        width=8,
        embedding=16,
        epochs=3,
        steps_per_epoch=4,
        patients_per_batch=4,
        augmentation=0.5,
        change_steps=3,
        change_patches=1,
        change_sources=4,
        accelerator="cpu",
    ),
    score=ScoreConfig(spacing_mm=6.0, smoothing_mm=4.0, simulated_rescans=4, accelerator="cpu"),
)


@dataclass(frozen=True)
class Tracked:
    """A study that went through ingest, prepare, pair and train."""

    study: Study
    export: Path
    model: Path


@pytest.fixture(scope="session", autouse=True)
def known_secret(home: Path) -> None:
    """Labels follow the secret, and splits and the template follow the labels: with this one all scans align."""
    path = secret.default_file()
    assert path.is_relative_to(home)
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.write_bytes(b"the secret of the tests, number 1")
    path.chmod(0o600)


@pytest.fixture(scope="session", autouse=True)
def small() -> Iterator[None]:
    """Everything in this process, since starting others costs more than the work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory, acquired: Callable[..., Acquisition]) -> Path:
    """A CSV manifest and its scans: eight patients with a visit and a rescan a year later, nobody changed."""
    folder = tmp_path_factory.mktemp("export")
    rows = []
    for number in range(PATIENTS):
        who = anatomy.patient(np.random.default_rng([7, number]), difference=1.0)
        for visit in range(VISITS):
            path = folder / f"p{number}_v{visit}.nii.gz"
            volume.write(path, acquired(who, 10 * number + visit, pixel_mm=5.0, slice_mm=5.0).volume)
            rows.append({"subject": f"p{number}", "session": visit, "path": path.name, "date": f"202{visit}-03-01"})
    pd.DataFrame(rows).assign(changed=0).to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def tracked(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder / "data", folder / "reports", CONFIG)
    stages.ingest(export / "manifest.csv", study)
    stages.prepare(study)
    stages.build_pairs(study)
    return Tracked(study, export, stages.train(study))
