"""Runs the command line: in this process, which is quick, or in one of its own, where the process itself is tested."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def siamese_med(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `siamese-med` in the folder `cwd`, in this process, which saves the imports of a new one.

    Folder, standard streams, signal handlers, log handlers and environment are afterwards as before. There is no
    supervisor: it would be the test process itself. Tests of interruptions start real processes.
    """
    from siamese_med.cli import main

    command = ["siamese-med", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        unsupervised = patch.object(main, "run_under_supervisor", lambda: None)
        with _streams(output, errors), _state_kept(cwd), patch.object(sys, "argv", command), unsupervised:
            try:
                main.main()
            except SystemExit as ending:
                code = ending.code if isinstance(ending.code, int) else 1
            except Exception:
                traceback.print_exc()  # as the interpreter does
                code = 1
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())


def siamese_med_process(*arguments: str | Path, cwd: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Call `siamese-med` in a process of its own; standard output and standard error are kept apart."""
    starter = "import sys; sys.path.insert(0, sys.argv.pop(1)); from siamese_med.cli.main import main; main()"
    command = [sys.executable, "-c", starter, str(ROOT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


@contextmanager
def _streams(output: TextIO, errors: TextIO) -> Iterator[None]:
    """Standard output and error go to these files: Python's own streams and the descriptors that children inherit."""
    before = sys.stdout, sys.stderr
    kept = os.dup(1), os.dup(2)
    for stream in before:
        stream.flush()
    try:
        with open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            yield
    finally:
        sys.stdout, sys.stderr = before
        for descriptor, copy in enumerate(kept, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)


@contextmanager
def _state_kept(cwd: Path) -> Iterator[None]:
    """Work in a folder; what a command settles for its whole process is taken back."""
    folder, handlers = Path.cwd(), {number: signal.getsignal(number) for number in SIGNALS}
    log = logging.getLogger("siamese_med")
    logged = log.handlers, log.propagate, log.level
    try:
        with warnings.catch_warnings(), patch.dict(os.environ):
            os.chdir(cwd)
            yield
    finally:
        os.chdir(folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        log.handlers, log.propagate, log.level = logged


def write_nifti(path: Path, seed: int = 0, edge: int = 12) -> Path:
    """A small valid head-like scan: a bright ball with noise, `edge`^3 voxels of 3 mm."""
    import numpy as np

    from siamese_med.imaging import volume

    grid = np.indices((edge, edge, edge)) - (edge - 1) / 2
    ball = 100.0 * (np.linalg.norm(grid, axis=0) < edge / 3)
    noise = np.random.default_rng(seed).normal(0, 3, ball.shape)
    voxels = (ball + noise).astype(np.float32)
    volume.write_volume(path, volume.Volume(voxels, volume.make_centred_affine((edge, edge, edge), 3.0)))
    return path
