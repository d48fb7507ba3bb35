"""Scans are aligned once, kept by content, and aligned again only when something changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.brain.segmentation_files import read_segmentation
from siamese_med.errors import EmptyInputError
from siamese_med.imaging import volume
from siamese_med.preparation import aligned_volumes, study_template
from siamese_med.preparation.scan_placement import AlignmentRecord, is_alignment_usable, is_head_template
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import PrepareConfig
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS, PreparedStudy

SHAPE = (32, 32, 32)
CONFIG = PrepareConfig(shape=SHAPE, spacing_mm=6.5, accelerator="cpu", batch_size=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, person: Anatomy, acquired: Callable[..., Acquisition]) -> Path:
    """Three scans of one head under scans/, one of them of noise alone."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        volume.write_volume(folder / f"scans/sub-{number}.nii.gz", acquired(person, number).volume)
    noise = acquired(person, 2).volume
    voxels = np.random.default_rng(0).random(noise.voxels.shape, dtype=np.float32)
    volume.write_volume(folder / "scans/sub-2.nii.gz", volume.Volume(voxels, noise.affine))
    return folder


@pytest.fixture(scope="module")
def scans(data: Path) -> pd.DataFrame:
    paths = sorted((data / "scans").iterdir())
    return pd.DataFrame(
        {
            "id": [f"sub-{number}_ses-1_FLAIR" for number in range(3)],
            "subject": [f"sub-{number}" for number in range(3)],
            "modality": "MR",
            "contrast": ["FLAIR", "FLAIR", "unknown"],
            "path": [str(path.relative_to(data)) for path in paths],
            "sha256": [volume.read_volume(path).content_digest() for path in paths],
            "flags": [[], [], []],
            "mask": None,
        }
    )


@pytest.fixture(scope="module")
def prepared(scans: pd.DataFrame, data: Path) -> PreparedStudy:
    return aligned_volumes.prepare_scans(scans, data, None, CONFIG)


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/volumes/*")}


def test_every_scan_gets_a_volume_on_the_grid_with_air_at_zero_and_tissue_at_one(
    prepared: PreparedStudy, data: Path
) -> None:
    assert tuple(prepared.alignments.columns) == ALIGNMENT_COLUMNS
    for path in prepared.alignments.volume[:2]:
        voxels = np.load(data / path, mmap_mode="r")
        assert voxels.shape == SHAPE
        assert voxels.dtype == np.float16
        assert np.percentile(voxels, 5) < 0.2
        assert np.median(voxels[voxels > 0.3]) == pytest.approx(1, abs=0.25)


def test_two_scans_of_one_head_lie_on_each_other(prepared: PreparedStudy, data: Path) -> None:
    first, second = (np.load(data / path).astype(float).ravel() for path in prepared.alignments.volume[:2])
    assert np.corrcoef(first, second)[0, 1] > 0.97


def test_what_is_no_head_is_not_good_enough(prepared: PreparedStudy) -> None:
    assert prepared.alignments.ok.tolist() == [True, True, False]


def test_the_template_is_upright_and_on_the_asked_grid(prepared: PreparedStudy) -> None:
    made = volume.read_volume(prepared.template)
    assert made.voxels.shape == SHAPE
    assert (made.affine[:3, :3] == np.diag(made.spacing_mm)).all()
    assert made.spacing_mm.tolist() == [6.5] * 3


def test_heads_are_aligned_to_the_template_of_heads_and_their_brains_are_kept(
    prepared: PreparedStudy, data: Path
) -> None:
    assert is_head_template(volume.read_volume(prepared.template))
    found = [path for path in prepared.alignments.brain if isinstance(path, str)]
    assert len(found) == 2  # noise has none
    for path in found:
        assert 1000 < read_segmentation(data / path).volume_ml() < 2000


@pytest.mark.long
def test_the_studys_own_template_can_be_asked_for(scans: pd.DataFrame, data: Path) -> None:
    own = aligned_volumes.prepare_scans(scans, data, None, CONFIG.model_copy(update={"head_template": False}))
    assert not is_head_template(volume.read_volume(own.template))
    assert own.alignments.ok.tolist() == [True, True, False]


def test_left_stays_left(prepared: PreparedStudy) -> None:
    """No alignment mirrors or turns a scan over: world axes of scan and template stay within half a right angle."""
    for matrix in prepared.alignments.matrix[:2]:
        assert (np.diag(np.asarray(matrix, dtype=float))[:3] > 0.7).all()


def test_a_second_run_aligns_nothing_again(scans: pd.DataFrame, data: Path, prepared: PreparedStudy) -> None:
    before = stamps(data / "prepared")
    again = aligned_volumes.prepare_scans(scans, data, None, CONFIG)
    assert stamps(data / "prepared") == before
    pd.testing.assert_frame_equal(again.alignments, prepared.alignments)


@pytest.mark.usefixtures("prepared")
def test_a_scan_whose_content_changed_is_aligned_again_and_the_others_are_not(scans: pd.DataFrame, data: Path) -> None:
    before = stamps(data / "prepared")
    changed = scans.assign(sha256=[*scans.sha256[:2], "other"])
    aligned_volumes.prepare_scans(changed, data, None, CONFIG)
    touched = {path.stem for path, stamp in stamps(data / "prepared").items() if before[path] != stamp}
    assert touched == {"sub-2_ses-1_FLAIR"}


def test_another_grid_has_a_folder_of_its_own_and_a_limit_on_quality_has_not(
    scans: pd.DataFrame, data: Path, prepared: PreparedStudy
) -> None:
    finer = aligned_volumes.prepare_scans(scans[:1], data, None, CONFIG.model_copy(update={"shape": (24, 24, 24)}))
    stricter = aligned_volumes.prepare_scans(scans[:1], data, None, CONFIG.model_copy(update={"min_quality": 1.0}))
    assert finer.template.parent != prepared.template.parent
    assert stricter.template.parent == prepared.template.parent
    assert not stricter.alignments.ok.any()


def test_the_template_the_study_made_leads_back_to_the_studys_volumes(
    scans: pd.DataFrame, data: Path, prepared: PreparedStudy
) -> None:
    again = aligned_volumes.prepare_scans(scans[:1], data, prepared.template, CONFIG)
    assert again.template == prepared.template


def test_one_scan_alone_gives_what_the_study_has_of_it(
    scans: pd.DataFrame, data: Path, prepared: PreparedStudy
) -> None:
    scan, template = volume.read_volume(data / scans.path[0]), volume.read_volume(prepared.template)
    placed = aligned_volumes.align_scan(scan, template, CONFIG, scans.contrast[0])
    assert np.array_equal(placed.voxels, np.load(data / prepared.alignments.volume[0]))
    assert placed.record["matrix"] == [list(row) for row in prepared.alignments.matrix[0]]
    assert is_alignment_usable(placed.record, CONFIG.min_quality)


@pytest.mark.long
def test_another_mask_is_aligned_anew(scans: pd.DataFrame, data: Path) -> None:
    """The mask marks the noise's middle; the same volume without it, or with a larger one, is another alignment."""
    one, path = scans[2:].copy(), data / "scans/sub-2_mask.nii.gz"
    noise = volume.read_volume(data / one.path.iloc[0])
    done = []
    for edge in (None, 10, 12):
        if edge:
            marked = np.zeros(noise.voxels.shape, dtype=np.int16)
            marked[edge:-edge, edge:-edge, edge:-edge] = 1
            volume.write_volume(path, volume.Volume(marked, noise.affine))
        table = one.assign(mask=str(path.relative_to(data)) if edge else None)
        made = aligned_volumes.prepare_scans(table, data, None, CONFIG.model_copy(update={"spacing_mm": 6.4}))
        done.append((data / made.alignments.volume[0]).with_suffix(".json").read_text())
    assert len(set(done)) == 3


@pytest.mark.long
def test_an_affine_study_has_a_folder_of_its_own(scans: pd.DataFrame, data: Path, prepared: PreparedStudy) -> None:
    affine = aligned_volumes.prepare_scans(scans[:2], data, None, CONFIG.model_copy(update={"transform": "affine"}))
    assert affine.template.parent != prepared.template.parent
    assert affine.alignments.ok.all()
    turns = [np.asarray(matrix, dtype=float)[:3, :3] for matrix in affine.alignments.matrix]
    assert not any(np.allclose(turn.T @ turn, np.eye(3), atol=1e-4) for turn in turns)
    voxels = [np.load(data / path).astype(float).ravel() for path in affine.alignments.volume]
    assert np.corrcoef(*voxels)[0, 1] > 0.97


def test_without_a_given_spacing_the_scans_fill_the_grid_at_three_millimetres_at_most(
    scans: pd.DataFrame, data: Path
) -> None:
    for side, expected in ((32, 3.0), (96, 2.4)):
        loaded = [volume.read_volume(data / path) for path in scans.path[:1]]
        found = study_template.build_template(loaded, (side, side, side), None, "cpu")
        assert found.spacing_mm.tolist() == [pytest.approx(expected, abs=0.05)] * 3


def test_an_empty_catalogue_is_an_error_in_one_line(scans: pd.DataFrame, data: Path) -> None:
    with pytest.raises(EmptyInputError, match="ingest"):
        aligned_volumes.prepare_scans(scans.iloc[:0], data, None, CONFIG)


@pytest.mark.parametrize(
    ("quality", "overlap", "usable"),
    [(0.081, 0.85, False), (0.081, 0.93, True), (0.15, 0.85, True), (0.15, 0.7, False), (0.04, 0.95, False)],
)
def test_a_head_whose_pose_and_overlap_are_doubtful_is_not_used(quality: float, overlap: float, usable: bool) -> None:
    record: AlignmentRecord = {"matrix": [], "quality": quality, "coverage": 1.0, "brain_overlap": overlap}
    assert is_alignment_usable(record, 0.05) is usable
