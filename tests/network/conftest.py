"""A few patients whose scans are alike: one random pattern a patient, and noise a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.config import TrainConfig

SIDE = 16


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> ScanDataset:
    """Six patients with three scans each, 16^3."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    paths: list[Path] = []
    subjects: list[str] = []
    for patient in range(6):
        pattern = rng.uniform(0, 1, (SIDE,) * 3)
        for scan in range(3):
            noisy = pattern + 0.3 * rng.standard_normal(pattern.shape)
            paths.append(folder / f"scan-{patient}-{scan}.npy")
            np.save(paths[-1], noisy.astype(np.float16))
            subjects.append(f"sub-{patient}")
    return ScanDataset(paths, subjects)


@pytest.fixture(scope="session")
def brief() -> TrainConfig:
    """A training that takes a second: width 8, three epochs of three steps, all effects on."""
    return TrainConfig(
        width=8, embedding_size=8, patients_per_batch=4, epochs=3, steps_per_epoch=3, patience=3, accelerator="cpu"
    )
