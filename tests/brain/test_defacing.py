"""Removal of faces: nothing of a face is left, the brain is untouched, and what is doubtful is not defaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from siamese_med.brain import defacing, head_template
from siamese_med.brain.head_template import HeadAlignment
from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume
from siamese_med.simulation.scanner import make_rotation_matrix

PLACES = {"nose": (0, 108, -40), "eye": (32, 76, -20), "cheek": (-45, 75, -55), "mouth": (0, 95, -85)}
"""Places of a face in mm of the template."""


def turned_head(contrast: str) -> tuple[Volume, np.ndarray]:
    """The template's head in another pose and size on a grid of its own, and the matrix from the template to it."""
    image = head_template.load_head_template(contrast)
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.05, 0.97, 1.04]) @ make_rotation_matrix(np.radians([7.0, -4.0, 6.0]))
    matrix[:3, 3] = [9.0, -7.0, 14.0]
    affine = np.diag([2.2, 1.8, 3.0, 1.0])
    affine[:3, 3] = [-100.0, -120.0, -110.0]
    voxels = resampling.resample_volume(image, np.linalg.inv(matrix) @ affine, (92, 140, 74))[0, 0].numpy()
    return Volume(np.asfortranarray(np.round(1000 * voxels)).astype(np.int16), affine), matrix


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR"])
def test_a_head_loses_its_face_and_keeps_its_brain(contrast: str) -> None:
    scan, matrix = turned_head(contrast)
    faceless = defacing.remove_face(scan, contrast)
    assert faceless is not None
    assert faceless.scan.voxels.dtype == scan.voxels.dtype
    to_voxels = np.linalg.inv(scan.affine) @ matrix
    for name, place in PLACES.items():
        i, j, k = np.round(to_voxels @ [*place, 1])[:3].astype(int)
        around = np.s_[i - 2 : i + 3, j - 2 : j + 3, k - 1 : k + 2]
        assert faceless.removed[around].all(), name
        assert scan.voxels[around].max() > 100 > faceless.scan.voxels[around].max(), name
    template = head_template.load_template_segmentation()
    brain = Volume(template.mask.astype(np.float32), template.affine)
    laid = resampling.resample_volume(brain, np.linalg.inv(matrix) @ scan.affine, scan.voxels.shape)[0, 0].numpy() > 0
    assert laid.sum() > 50_000
    assert not (faceless.removed & laid).any()
    kept = ~faceless.removed
    assert np.array_equal(faceless.scan.voxels[kept], scan.voxels[kept])


def test_noise_and_a_ball_are_no_heads() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (60, 60, 60)).astype(np.float32)
    edges = np.linspace(-1, 1, 60)
    ball = (edges[:, None, None] ** 2 + edges[:, None] ** 2 + edges**2 < 0.6) * noise
    for voxels in (noise, ball):
        assert defacing.remove_face(Volume(voxels, np.diag([3.0, 3.0, 3.0, 1.0])), "T1w") is None


def test_what_lies_doubtfully_on_the_template_is_not_sure() -> None:
    good = HeadAlignment(np.eye(4), 0.8, 0.2, 0.93, "T1w")
    assert defacing.is_face_place_sure(good)
    for doubtful in (
        replace(good, quality=0.09),
        replace(good, brain_overlap=0.86),
        replace(good, matrix=np.diag([1.5, 1, 1, 1])),
        replace(good, matrix=np.diag([1, 1, 0.6, 1])),
    ):
        assert not defacing.is_face_place_sure(doubtful)


def test_air_is_dark_also_where_the_lowest_value_is_padding() -> None:
    body = np.full(4000, 40.0)
    assert defacing.estimate_air_level(np.r_[body, np.full(6000, -1000.0), np.full(10, -3024.0)]) == -1000.0
    assert defacing.estimate_air_level(np.r_[np.arange(12.0), np.full(50, 300.0)]) == 0.0
