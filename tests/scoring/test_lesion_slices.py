"""The slices through marked lesions: the same place on every date, right side left, with what is marked there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from siamese_med.brain.segmentation import BrainSegmentation
from siamese_med.brain.segmentation_files import write_segmentation
from siamese_med.brain.structures import Structure
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.lesions import lesion_slices, lesion_table
from siamese_med.scoring.lesions.lesion_slices import LesionSlice, SliceSource
from siamese_med.scoring.lesions.marked_scan import MarkedScan
from siamese_med.scoring.lesions.tracking import track_lesions
from tests.scoring.test_lesions import A, B, draw, write_patient

SIDE = 40


def cut(folder: Path, scans: list[MarkedScan]) -> list[LesionSlice]:
    """Slices of scans whose brightness grows to the right, the front and the head, and is high in lesions."""
    sources = []
    for number, scan in enumerate(scans):
        places = np.indices(scan.mask.shape).reshape(3, -1).T @ scan.affine[:3, :3].T + scan.affine[:3, 3]
        patient = places @ scan.to_patient[:3, :3].T + scan.to_patient[:3, 3]
        voxels = (patient @ [1.0, 0.5, 0.01]).reshape(scan.mask.shape) + 40 * scan.mask
        path = folder / f"{number}.nii.gz"
        volume.write_volume(path, Volume(voxels.astype(np.float32), scan.affine))
        sources.append(SliceSource(f"scan-{number}", path))
    tracks = track_lesions(scans)
    return lesion_slices.cut_lesion_slices(scans, sources, tracks, list(range(1, len(tracks) + 1)))


def test_a_slice_shows_the_lesion_in_its_middle_with_the_right_side_on_the_left(tmp_path: Path) -> None:
    scans = [MarkedScan(draw(A, B), np.eye(4), np.eye(4)), MarkedScan(draw((10, 10, 10, 6.0), B), np.eye(4), np.eye(4))]
    slices = cut(tmp_path, scans)
    assert [(one.lesion, one.scan) for one in slices] == [
        (1, "scan-0"), (1, "scan-1"), (2, "scan-0"), (2, "scan-1"),
    ], "what grew comes first, each lesion in the order of time"  # fmt: skip
    for one, radius in zip(slices, (4.0, 6.0, 4.0, 4.0), strict=True):
        rows, columns = np.nonzero(one.marked)
        assert rows.mean() == pytest.approx(47.5, abs=1)
        assert columns.mean() == pytest.approx(47.5, abs=1)
        assert one.marked.sum() * one.spacing_mm**2 == pytest.approx(np.pi * radius**2, rel=0.15)
        inside = one.grey > 0
        right, left = one.grey[48][inside[48]][0], one.grey[48][inside[48]][-1]
        assert right > left, "brightness grows to the patient's right, which is at the left edge"


def test_slices_of_another_pose_and_grid_show_the_same_place(tmp_path: Path) -> None:
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = SIDE - 1
    fine = MarkedScan(draw(A, B), np.eye(4), np.eye(4))
    turned = MarkedScan(draw(A, B)[::-1, ::-1], np.eye(4), turn)
    permuted = MarkedScan(
        draw(A, B).transpose(2, 0, 1),
        np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]]),
        np.eye(4),
    )
    for one, two in zip(cut(tmp_path, [fine]), cut(tmp_path, [permuted]), strict=True):
        assert_alike(one, two)
    slices = cut(tmp_path, [fine, turned, permuted])
    for number in (1, 2):
        one, *others = (cut for cut in slices if cut.lesion == number)
        for other in others:
            assert_alike(one, other)


def assert_alike(one: LesionSlice, other: LesionSlice) -> None:
    """Two slices show the same, but for a row of voxels at the edge of what is marked."""
    assert (one.marked != other.marked).mean() < 0.002
    assert np.abs(one.grey.astype(int) - other.grey).mean() < 2


def test_a_date_without_the_lesion_shows_its_place_and_no_mark(tmp_path: Path) -> None:
    slices = cut(tmp_path, [MarkedScan(draw(*balls), np.eye(4), np.eye(4)) for balls in ([A], [A, B])])
    first, second = (one for one in slices if one.lesion == 2)
    assert not first.marked.any()
    assert second.marked.any()


def test_a_long_time_line_shows_the_first_and_the_newest_dates_and_a_few_lesions(tmp_path: Path) -> None:
    balls = [(6.0 + 9 * (n % 4), 6.0 + 9 * (n // 4), 20.0, 2.0 + 0.1 * n) for n in range(12)]
    slices = cut(tmp_path, [MarkedScan(draw(*balls), np.eye(4), np.eye(4)) for _ in range(7)])
    assert list(dict.fromkeys(one.scan for one in slices)) == ["scan-0", "scan-3", "scan-4", "scan-5", "scan-6"]
    assert len({one.lesion for one in slices}) == lesion_slices.MAX_LESIONS


def test_the_region_of_a_lesion_and_its_slices_are_kept_with_the_patient(tmp_path: Path) -> None:
    structures = np.full((SIDE,) * 3, Structure.LEFT_WHITE_MATTER, dtype=np.uint8)
    structures[20:] = Structure.RIGHT_WHITE_MATTER
    found = BrainSegmentation(structures, np.full((SIDE,) * 3, 255, dtype=np.uint8), np.eye(4), None)
    write_segmentation(tmp_path / "brain.npz", found)
    job = write_patient(tmp_path, [A], [A, B])
    known = replace(job, scans=(job.scans[0], replace(job.scans[1], brain="brain.npz")))
    rows = [row for row in lesion_table.follow_patient(known) if row.lesion is not None]
    assert [(row.scan, row.lesion, row.region) for row in rows] == [
        ("ses-01", 1, None), ("ses-02", 1, "left deep white matter"), ("ses-02", 2, "right deep white matter"),
    ]  # fmt: skip
    assert job.slices.is_file()
    job.slices.unlink()
    assert [row for row in lesion_table.follow_patient(known) if row.lesion is not None] == rows
    assert job.slices.is_file(), "what is missing is made again"
    lesion_table.remove_departed_files(tmp_path, {"ses-01", "ses-02"}, set(), set())
    assert not job.slices.exists()
