"""Runs the real command line in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def siamese_med(*arguments: str | Path, cwd: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Call `siamese-med` in the folder `cwd`; standard output and standard error are kept apart."""
    starter = "import sys; sys.path.insert(0, sys.argv.pop(1)); from siamese_med.cli import main; main()"
    command = [sys.executable, "-c", starter, str(ROOT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


def write_nifti(path: Path, seed: int = 0, edge: int = 12) -> Path:
    """A small valid head-like scan: a bright ball with noise, `edge`^3 voxels of 3 mm."""
    import numpy as np

    from siamese_med import volume

    grid = np.indices((edge, edge, edge)) - (edge - 1) / 2
    ball = 100.0 * (np.linalg.norm(grid, axis=0) < edge / 3)
    noise = np.random.default_rng(seed).normal(0, 3, ball.shape)
    voxels = (ball + noise).astype(np.float32)
    volume.write(path, volume.Volume(voxels, volume.centred_grid((edge, edge, edge), 3.0)))
    return path
