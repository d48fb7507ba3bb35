"""Is it the same person? Real heads, each with simulated visits in two contrasts: network beside baselines.

    python -m benchmarks.identity_real FOLDER [--real ../shared/real] [--rules former present] [--partitions 0 1]

Seven heads are of ds000011 (T1 and T2 are both real), five of ixi_2mm (T1; its T2 is made by a contrast curve). Every
head has two visits in T1 and two in T2, simulated by `siamese_med.simulation.rescan`: pose, field of view, noise and
scanner are drawn, the anatomy stays. Every patient is tested once in each partition, by a network that has seen none of
his scans; figures are means over folds and partitions, intervals are from drawing patients. Baselines are measured on
the same pairs. `--rules` says how the region is found that the network looks at: `present` as in the package, `former`
as before issue 18 (voxels that 98 % of the training scans show).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from benchmarks import verification
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import atlas, common_region
from siamese_med.network.atlas import Atlas
from siamese_med.network.common_region import ShownBodies
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import compute_distance_matrix, embed_scans
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import evaluation, verification_metrics
from siamese_med.scoring.identity.baselines import BASELINES
from siamese_med.scoring.identity.verification_metrics import BootstrapInterval, ScanPairs
from siamese_med.simulation import bids_tree, rescan
from siamese_med.simulation.scanner import Scanner
from siamese_med.study import config as configuration
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training

Matrix = NDArray[np.float64]

VISITS = 2
"""Visits a contrast."""
TEST_PATIENTS = 4
VALIDATION_PATIENTS = 2
INVERTED = np.array([0.0, 0.95, 0.7, 0.45, 0.35])
"""A contrast curve that makes T1 look like T2: fluid bright, white matter darker than grey."""
KINDS = ("all", "within", "across")
"""All pairs; those of one contrast; those of two."""


@dataclass(frozen=True)
class Source:
    """A real scan, what its visits are named by, and the contrast curve that is put over it."""

    person: int
    path: Path
    contrast: str
    curve: Matrix | None = None


def real_heads(real: Path) -> list[list[Source]]:
    """Groups of sources that one set of scanners scans: fields of view are those that nine of ten of a group can fill."""
    ds = sorted((real / "ds000011").glob("sub-*"))
    ixi = sorted((real / "ixi_2mm").glob("*.nii.gz"))
    if not ds or not ixi:
        raise SystemExit(f"no heads under {real}: ds000011 and ixi_2mm are needed")
    return [
        [Source(n, folder / f"{folder.name}_T1w.nii.gz", "T1w") for n, folder in enumerate(ds)],
        [Source(n, folder / f"{folder.name}_inplaneT2.nii.gz", "T2w") for n, folder in enumerate(ds)],
        [Source(len(ds) + n, path, "T1w") for n, path in enumerate(ixi)],
        [Source(len(ds) + n, path, "T2w", INVERTED) for n, path in enumerate(ixi)],
    ]


def write_visits(folder: Path, groups: Sequence[Sequence[Source]], seed: int) -> Path:
    """Write the visits as a BIDS dataset; a complete one is left as it is."""
    marker = folder / "simulation.json"
    if marker.is_file():
        return folder
    for number, group in enumerate(groups):
        rng = np.random.default_rng([seed, number])
        bodies = [rescan.extract_body(_upright(volume.read_volume(source.path))) for source in group]
        extent = np.quantile([body.extent_mm() for body in bodies], 0.1, axis=0)
        spacing = np.median([body.spacing_mm for body in bodies], axis=0)
        machines = rescan.draw_rescan_scanners(spacing, rng, group[0].contrast)
        for source, body in zip(group, bodies, strict=True):
            for visit in range(VISITS):
                _write_visit(folder, source, body, machines[rng.integers(len(machines))], visit, extent, rng)
    days = {n: [f"2020-0{visit + 1}-01" for visit in range(2 * VISITS)] for n in range(1 + _last(groups))}
    bids_tree.write_bids_tables(folder, "real heads, simulated visits", days)
    marker.write_text(json.dumps({"seed": seed}))
    return folder


def _last(groups: Sequence[Sequence[Source]]) -> int:
    return max(source.person for group in groups for source in group)


def _write_visit(
    folder: Path, source: Source, body: rescan.ScannedBody, machine: Scanner, visit: int, extent: Matrix,
    rng: np.random.Generator,
) -> None:
    seen = extent * rng.uniform(0.95, 1, 3)
    curve = source.curve
    if curve is not None:
        curve = np.append(0.0, (curve[1:] * np.exp(0.05 * rng.standard_normal(4))))
    scan = rescan.acquire_rescan(body, machine, rng, seen, curve).volume
    number = visit + 1 + VISITS * (source.contrast == "T2w")
    bids_tree.write_bids_scan(folder, source.person, number, machine, scan)


def _upright(source: Volume) -> Volume:
    """The source with its axes along the world's and its centre at the origin, so that its position is lost."""
    upright = volume.reorient_to_ras(source)
    affine = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)


def former_region(shown: ShownBodies) -> NDArray[np.float32]:
    """The region of before: what 98 % of the scans show, or, where that is next to nothing, half of them."""
    for wanted in (0.98, 0.5):
        core = binary_erosion(shown.body.mean(0) >= wanted, iterations=common_region.RIM_VOXELS)
        if core.mean() > common_region.MIN_GRID_SHARE:
            return np.asarray(core, dtype=np.float32)
    return np.ones(shown.body.shape[1:], dtype=np.float32)


@dataclass(frozen=True)
class Fold:
    """One network's test: scores (n, n) by method of the scans of its test patients, and the size of its region."""

    patients: list[str]
    contrasts: list[str]
    scores: dict[str, Matrix]
    region_ml: float


def folds(scans: pd.DataFrame, partition: int) -> Iterator[tuple[set[str], set[str]]]:
    """Test and validation patients of each network; every patient is tested once, both data sets in every fold."""
    rng = np.random.default_rng([partition, 7])
    everyone = [str(name) for name in scans.subject.unique()]
    order = [everyone[place] for place in rng.permutation(len(everyone))]
    for start in range(0, len(order), TEST_PATIENTS):
        test = order[start : start + TEST_PATIENTS]
        others = [name for name in order if name not in test]
        yield set(test), set(others[:VALIDATION_PATIENTS])


def run_fold(scans: pd.DataFrame, test: set[str], held: set[str], config: TrainConfig, voxel_ml: float) -> Fold:
    """Train one network and score the scans of its test patients."""
    parts = [scans[~scans.subject.isin(test | held)], scans[scans.subject.isin(held)], scans[scans.subject.isin(test)]]
    known, checked, unseen = (ScanDataset(list(part.volume), list(part.subject)) for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        network, _ = identity_training.train_network(known, checked, None, config, Path(folder))
    assert isinstance(network.atlas, Atlas)
    apart = compute_distance_matrix(network, embed_scans(network, unseen))
    scores = {"network": -apart, **evaluation.measure_baselines(list(unseen.volumes))}
    return Fold(list(unseen.subjects), list(parts[2].contrast), scores, voxel_ml * float(network.atlas.core.sum()))
