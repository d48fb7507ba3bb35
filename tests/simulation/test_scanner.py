"""A simulated scan follows its seed and its machine, and knows where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    person: Anatomy, acquired: Callable[..., Acquisition]
) -> None:
    first, again, other = (acquired(person, seed).volume for seed in (4, 4, 5))
    assert first.voxels.tobytes() == again.voxels.tobytes()
    assert (first.affine == again.affine).all()
    assert other.voxels.tobytes() != first.voxels.tobytes()


def test_machines_differ_in_plane_and_thickness_and_follow_their_seed() -> None:
    machines, again = (scanner.draw_scanners(np.random.default_rng(0), 6) for _ in range(2))
    assert {machine.plane for machine in machines} == {"axial", "coronal", "sagittal"}
    assert len({machine.slice_mm for machine in machines}) > 2
    assert [machine.gamma for machine in machines] == [machine.gamma for machine in again]


def test_machines_share_out_the_contrasts_two_by_two_and_stay_the_same_otherwise() -> None:
    alone, mixed = (
        scanner.draw_scanners(np.random.default_rng(0), 6, contrasts)
        for contrasts in (("FLAIR",), ("FLAIR", "T1w", "T2w"))
    )
    assert [machine.contrast for machine in alone] == ["FLAIR"] * 6
    assert [machine.contrast for machine in mixed] == ["FLAIR", "FLAIR", "T1w", "T1w", "T2w", "T2w"]
    for one, other in zip(alone, mixed, strict=True):
        assert repr(replace(one, contrast=other.contrast)) == repr(other)


@pytest.mark.parametrize(("plane", "axes"), [("axial", "LPS"), ("coronal", "LIA"), ("sagittal", "PIR")])
def test_planes_run_as_dicom_runs_them(
    person: Anatomy, acquired: Callable[..., Acquisition], plane: str, axes: str
) -> None:
    scan = acquired(person, 0, plane=plane)
    assert "".join(nib.aff2axcodes(scan.volume.affine)) == axes
    np.testing.assert_allclose(scan.volume.spacing_mm, [3, 3, 3])


def test_a_lesion_is_bright_in_the_scan_where_the_pose_says_it_is(
    person: Anatomy, acquired: Callable[..., Acquisition]
) -> None:
    later = anatomy.add_lesion(person, np.random.default_rng(5), 4000)
    before, after = (acquired(who, 7, noise=0.0).volume.voxels for who in (person, later))
    scan = acquired(later, 7)
    points = scanner.compute_grid_points(scan.to_anatomy @ scan.volume.affine, scan.volume.voxels.shape)
    lesion = anatomy.sample_channels((later.lesion - person.lesion)[None], points)[0].numpy()
    assert lesion.max() > 0.8
    assert (after - before)[lesion > 0.8].min() > 20
    assert np.abs(after - before)[lesion == 0].max() < 1e-2 * before.max()


def test_contrasts_order_the_tissues_as_scanners_do() -> None:
    grey, white, csf, *_ = scanner.TISSUE_SIGNALS_BY_CONTRAST["T1w"]
    assert white > grey > csf
    grey, white, csf, *_ = scanner.TISSUE_SIGNALS_BY_CONTRAST["T2w"]
    assert csf > grey > white
    grey, white, csf, *_, lesion = scanner.TISSUE_SIGNALS_BY_CONTRAST["FLAIR"]
    assert lesion > grey > white > csf
