"""Shortcuts planted in a cohort without anatomy, and found one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.identity import confound_audit, confounds
from siamese_med.study.model_metrics import ConfoundFigures, Estimate
from siamese_med.study.thresholds import MAX_SHORTCUT_AUC

SIDE, SCANS = 24, 3
GRID = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(SIDE) - 11.5] * 3, indexing="ij")), axis=0)
BALL = GRID < 7
TEMPLATE = Volume(BALL.astype(np.float32), make_centred_affine((SIDE,) * 3, 6.0))

Plant = Callable[[np.random.Generator, np.ndarray, dict[str, Any]], None]


def noisy(rng: np.random.Generator) -> np.ndarray:
    return (BALL + 0.05 * rng.random(BALL.shape)).astype(np.float32)


def nothing(*_: Any) -> None:
    """Patients who differ in nothing."""


def scanner(draw: np.random.Generator, _: np.ndarray, row: dict[str, Any]) -> None:
    row["scanner"] = f"scanner-{draw.integers(8)}"


def corner(draw: np.random.Generator, voxels: np.ndarray, _: dict[str, Any]) -> None:
    voxels[:2, :2, :2] += draw.random(8).reshape(2, 2, 2)


def size(draw: np.random.Generator, voxels: np.ndarray, _: dict[str, Any]) -> None:
    """The same mean brightness all over, in a ball of the patient's own proportions."""
    axes = 1 + 0.25 * draw.uniform(-1, 1, 3)
    grid = np.stack(np.meshgrid(*[(np.arange(SIDE) - 11.5) / axis for axis in axes], indexing="ij"))
    voxels[:] = (np.linalg.norm(grid, axis=0) < 7) + 0.05 * draw.random(BALL.shape)


def contrast(draw: np.random.Generator, voxels: np.ndarray, _: dict[str, Any]) -> None:
    """Every second voxel inside is of a brightness of the patient's own; blocks keep their mean."""
    inner = (np.indices(BALL.shape).sum(0) % 2 == 0) & BALL
    step = draw.uniform(0.1, 0.6)
    voxels[inner] += step
    voxels[BALL & ~inner] -= step


def middle(voxels: np.ndarray) -> np.ndarray:
    """A network that is shown the inside of the ball alone, and of that nothing an 8x8x8 picture shows."""
    blocks = voxels.astype(np.float32).reshape(8, 3, 8, 3, 8, 3)
    fine = (blocks - blocks.mean((1, 3, 5), keepdims=True)).reshape(voxels.shape)
    return np.where(GRID < 5, fine, 0).astype(np.float32)


class Cohort:
    """Patients, each with the same plant in all scans."""

    def __init__(self, folder: Path, plant: Plant, patients: int = 32) -> None:
        self.folder = folder
        volume.write_volume(folder / "template.nii.gz", TEMPLATE)
        rows = [self._scan(patient, scan, plant) for patient in range(patients) for scan in range(SCANS)]
        self.scans = pd.DataFrame(rows)

    def _scan(self, patient: int, scan: int, plant: Plant) -> dict[str, Any]:
        rng = np.random.default_rng([1, patient, scan])
        voxels = noisy(rng)
        row = {
            "subject": f"sub-{patient}",
            "modality": "MR",
            "contrast": "T1w",
            "scanner": f"scanner-{rng.integers(8)}",
            "protocol": "protocol-1",
            "shape": [SIDE] * 3,
            "spacing_mm": [6.0] * 3,
            "volume": f"{patient}-{scan}.npy",
        }
        plant(np.random.default_rng([2, patient]), voxels, row)
        np.save(self.folder / str(row["volume"]), voxels.astype(np.float16))
        return row

    def audit(self, learned: int = 20) -> ConfoundFigures:
        number = self.scans.subject.str.removeprefix("sub-").astype(int)
        parts = self.scans[number < learned], self.scans[number >= learned]
        return confound_audit.audit_confounds(*parts, self.folder, self.folder / "template.nii.gz", middle, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("plant", "shortcut"),
    [
        (corner, "background"),
        (size, "outline"),
        (contrast, "histogram"),
    ],
)
def test_a_planted_shortcut_is_found_by_the_classifier_that_sees_it(
    tmp_path: Path, plant: Plant, shortcut: str
) -> None:
    found = Cohort(tmp_path, plant).audit()
    assert found.in_scans[shortcut].low > MAX_SHORTCUT_AUC
    assert (shortcut in found.failed) == (shortcut == "histogram")  # the only one of them that is left in the middle


@pytest.mark.long
def test_what_the_network_is_not_shown_is_chance(tmp_path: Path) -> None:
    found = Cohort(tmp_path, size).audit()
    assert found.in_scans["outline"].low > MAX_SHORTCUT_AUC
    assert found.auc["outline"].value == found.auc["background"].value == 0.5


def test_without_a_shortcut_none_is_told_from_chance(tmp_path: Path) -> None:
    found = Cohort(tmp_path, nothing).audit()
    assert found.patients == 12
    assert all(auc.low <= 0.5 for auc in found.auc.values()), found


@pytest.mark.long
def test_patients_who_stay_with_their_scanner_are_told_by_the_header_and_by_nothing_else(tmp_path: Path) -> None:
    found = Cohort(tmp_path, scanner).audit()
    assert found.failed == ("header",)
    assert found.auc["header"].low > MAX_SHORTCUT_AUC


def test_few_patients_are_enough_to_run_it(tmp_path: Path) -> None:
    found = Cohort(tmp_path, scanner, patients=5).audit(learned=3)
    assert set(found.auc) == {"header", "background", "outline", "histogram", "thumbnail"}
    assert found.patients == 2


def test_where_the_body_fills_the_grid_there_is_no_background_to_judge(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path, nothing, patients=5)
    volume.write_volume(tmp_path / "template.nii.gz", Volume(np.ones((SIDE,) * 3, np.float32), TEMPLATE.affine))
    found = cohort.audit(learned=3)
    assert found.auc["background"] == Estimate()
    assert "background" not in found.failed


def test_the_order_of_two_scans_does_not_matter(tmp_path: Path) -> None:
    scans = Cohort(tmp_path, size, patients=3).scans
    forth, back = (np.array([0, 1]), np.array([4, 5])), (np.array([4, 5]), np.array([0, 1]))
    assert confounds.compare_headers(scans, forth) == pytest.approx(confounds.compare_headers(scans, back))
    seen = confounds.extract_confound_views([np.load(tmp_path / path) for path in scans.volume], TEMPLATE)["outline"]
    assert seen is not None
    found = confounds.fit_projection(seen)
    assert found.pairs(seen, forth) == pytest.approx(found.pairs(seen, back))


def test_the_background_keeps_its_distance_from_the_body() -> None:
    outside = confounds.find_background(TEMPLATE)
    assert outside.any()
    assert GRID[outside].min() * 6.0 > 7 * 6.0 + confounds.MIN_BACKGROUND_DISTANCE_MM - 6.0
