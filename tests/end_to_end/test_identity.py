"""The identity benchmarks, small: the same commands on a few simulated patients, crops and heads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import identity
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.simulation import anatomy
from siamese_med.simulation.scanner import Acquisition
from tests.end_to_end.conftest import Tracked

pytestmark = pytest.mark.slow

SMALL = """
[prepare]
shape = [24, 24, 24]
accelerator = "cpu"
[train]
width = 8
embedding_size = 16
epochs = 2
steps_per_epoch = 2
patients_per_batch = 3
change_steps = 2
change_patches = 1
change_sources = 4
accelerator = "cpu"
[score]
spacing_mm = 6.0
simulated_rescans = 4
accelerator = "cpu"
"""
PEOPLE = 8


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Calls the benchmark; returns what it printed and what it wrote."""
    (tmp_path / "small.toml").write_text(SMALL)

    def called(*arguments: object) -> tuple[str, dict[str, Any]]:
        fixed = ["--config", tmp_path / "small.toml", "--json", tmp_path / "found.json", "--visits", 2]
        identity.main([*map(str, arguments), *map(str, fixed)])
        written: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
        return capsys.readouterr().out, written

    return called


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """What eight people have in common and what is their own, cut out so that every face shows tissue."""
    from scipy.ndimage import gaussian_filter

    fields = [gaussian_filter(np.random.default_rng(seed).standard_normal((35, 45, 35)), 3) for seed in range(9)]
    common, *own = [field / field.std() for field in fields]
    for number, field in enumerate(own):
        voxels = (600 + 150 * common + 100 * field).astype(np.float32)
        volume.write_volume(tmp_path / "crops" / f"{number}.nii.gz", Volume(voxels, np.eye(4)))
    return tmp_path / "crops"


@pytest.mark.long
def test_a_hard_cohort_of_mixed_contrast_gives_every_figure_of_every_method(
    run: Callable[..., tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    printed, found = run("hard", tmp_path / "study", "--patients", PEOPLE, "--seeds", 0)
    assert found["simulation"]["difference"] == 0.25
    for method in ("network", "ncc", "ncc_highpass", "mutual_information", "ssim"):
        assert f"| {method} |" in printed
        assert found["models"]["0"]["test"][method].keys() >= {"auc", "eer", "tar_at_far_1pct", "rank1"}
    assert "2 test patients, 4 scans, 2 same and 4 different pairs; trained on 4, chosen on 2" in printed


@pytest.mark.long
def test_crops_are_told_apart_by_their_anatomy_and_seeds_are_averaged(
    run: Callable[..., tuple[str, dict[str, Any]]], tmp_path: Path, crops: Path
) -> None:
    _, found = run("hippocampus", tmp_path / "study", "--crops", crops, "--seeds", 0, 1)
    assert sorted(found["models"]) == ["0", "1"]
    assert found["models"]["0"]["test"]["ncc"]["auc"]["value"] > 0.9
    assert found["models"]["0"]["scans"] == {"train": 8, "validation": 4, "test": 4}
    values = [found["models"][seed]["test"]["network"]["auc"]["value"] for seed in "01"]
    assert found["mean"]["auc"]["value"] == pytest.approx(np.mean(values))
    errors = [found["models"][seed]["calibration"]["ece"]["value"] for seed in "01"]
    assert found["mean"]["ece"]["value"] == pytest.approx(np.mean(errors))


@pytest.mark.long
def test_heads_are_scored_by_a_model_that_has_not_seen_them(
    run: Callable[..., tuple[str, dict[str, Any]]],
    tmp_path: Path,
    tracked: Tracked,
    acquired: Callable[..., Acquisition],
) -> None:
    for number in range(3):
        who = anatomy.simulate_anatomy(np.random.default_rng([11, number]), difference=0.5)
        scan = acquired(who, number, pixel_mm=4.0, slice_mm=4.0).volume
        volume.write_volume(tmp_path / "heads" / f"{number}.nii.gz", scan)
    printed, found = run("heads", tmp_path / "study", "--heads", tmp_path / "heads", "--model", tracked.model)
    assert (found["patients"], found["scans"]) == ({"test": 3}, {"test": 6})
    assert found["test"]["ncc_highpass"]["auc"]["value"] > 0.9
    assert found["change"]["pairs"] == 3
    assert "3 test patients, 6 scans, 3 same and 12 different pairs" in printed


def test_heads_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        identity.main(["heads", str(tmp_path)])
