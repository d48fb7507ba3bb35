"""What model.json says of the region that identity looks at is what the network's atlas holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import atlas
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.training.train_model import measure_region_ml

EDGE = 32


def written(folder: Path, cut: int, thick: int = EDGE) -> tuple[Any, ScanDataset, Path]:
    """A network of ten noisy balls on voxels of 2 x 2 x 2.5 mm, `cut` of them without one half; and its template."""
    rng = np.random.default_rng(0)
    grid = np.indices((EDGE, EDGE, thick)) - np.array([15.5, 15.5, (thick - 1) / 2])[:, None, None, None]
    paths = []
    for number in range(10):
        scan = (np.linalg.norm(grid, axis=0) < 13.5) * (1 + 0.1 * rng.standard_normal(grid.shape[1:]))
        scan[:, :, thick // 2 :] *= number >= cut
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], scan.clip(0).astype(np.float16))
    cohort = ScanDataset(paths, [str(number) for number in range(10)])
    volume.write_volume(
        folder / "template.nii.gz", Volume(np.ones(grid.shape[1:], np.float32), np.diag([2, 2, 2.5, 1]))
    )
    return SimpleNamespace(atlas=atlas.fit_atlas(cohort)), cohort, folder / "template.nii.gz"


@pytest.mark.parametrize("cut", [0, 1, 4])
def test_the_region_is_in_ml_and_is_not_small_for_a_few_short_scans(cut: int, tmp_path: Path) -> None:
    network, cohort, template = written(tmp_path, cut)
    region = measure_region_ml(network, cohort, template)
    assert region
    assert region.ml == pytest.approx(0.01 * float(network.atlas.core.sum()), abs=0.06)
    assert region.body_ml == pytest.approx(0.01 * 4 / 3 * np.pi * 13.5**3, rel=0.02)
    assert region.ml > 0.4 * region.body_ml
    assert not region.is_small


def test_a_grid_that_is_too_thin_for_anatomy_has_no_region(tmp_path: Path) -> None:
    assert measure_region_ml(*written(tmp_path, 0, thick=1)) is None
