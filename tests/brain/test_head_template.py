"""The template of real heads, and registration to it."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.brain import head_template
from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.structures import Structure
from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import shows_head
from siamese_med.simulation.scanner import make_rotation_matrix
from siamese_med.simulation.synthetic_head_scans import HeadProtocol
from tests.brain.real_people import scan_of


@pytest.mark.parametrize("contrast", head_template.TEMPLATE_CONTRASTS)
def test_each_template_shows_its_contrast(contrast: str) -> None:
    image, parts = head_template.load_head_template(contrast), head_template.load_template_segmentation()
    assert image.voxels.shape == parts.brain.shape
    assert np.allclose(image.affine, parts.affine)
    white, grey, fluid = (
        float(np.median(image.voxels[np.isin(parts.structures, chosen)])) for chosen in ((1, 2), (3, 4), (7, 8))
    )
    assert {
        "T1w": white > 1.3 * grey and white > 1.3 * fluid,  # the mean cortex is mixed with the fluid of sulci
        "T1wCE": white > fluid and grey > fluid,
        "T2w": fluid > grey > white,
        "FLAIR": grey > fluid and white > fluid,
    }[contrast]
    alone = head_template.load_head_template(contrast, brain_only=True)
    assert not alone.voxels[parts.brain == 0].any()


def test_the_template_has_a_level_brain_of_usual_size() -> None:
    parts = head_template.load_template_segmentation()
    assert 1100 < parts.volume_ml() < 1500
    centroids = parts.centroids
    across = centroids[Structure.RIGHT_CORTEX] - centroids[Structure.LEFT_CORTEX]
    assert abs(across[1:] / across[0]).max() < 0.05


def test_a_contrast_without_template_is_refused() -> None:
    with pytest.raises(KeyError):
        head_template.load_head_template("PD")


def test_the_template_moved_by_a_known_affine_is_found_again() -> None:
    image = head_template.load_head_template("T2w")
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.05, 0.95, 1.1]) @ make_rotation_matrix(np.radians([8.0, -5.0, 10.0]))
    matrix[:3, 3] = [12.0, -7.0, 20.0]
    affine = image.affine.copy()
    affine[:3, 3] += [12.0, -7.0, 20.0]
    moved = resampling.resample_volume(image, np.linalg.inv(matrix) @ affine, image.voxels.shape)[0, 0].numpy()
    scan = Volume(moved, affine)
    found = head_template.register_to_head_template([scan], [segment_brain(scan)], ["T2w"])[0]
    corners = np.array([[x, y, z, 1.0] for x in (-60, 60) for y in (-70, 70) for z in (-50, 60)])
    away = np.linalg.norm((corners @ (found.matrix - matrix).T)[:, :3], axis=1)
    assert away.max() < 3.0
    assert shows_head(found)


@pytest.mark.long
@pytest.mark.parametrize(
    "protocol",
    [HeadProtocol("T1w"), HeadProtocol("FLAIR", 2, 5.0, 6.0), HeadProtocol("T1w", removed="scalp")],
    ids=["whole head", "thick slices", "brain-extracted"],
)
def test_synthetic_scans_are_laid_on_the_template(protocol: HeadProtocol) -> None:
    scan = scan_of(protocol).scan
    found = head_template.register_to_head_template([scan], [segment_brain(scan)], [protocol.contrast or ""])[0]
    assert shows_head(found)
    assert found.brain_overlap > 0.85


def test_few_centroids_give_a_stiffer_guess() -> None:
    template = head_template.load_template_segmentation()
    whole = head_template.guess_from_centroids(template, template)
    assert np.allclose(whole, np.eye(4), atol=1e-6)
    few = np.where(np.isin(template.structures, [5, 6, 7, 8, 11]), template.structures, 0).astype(np.uint8)
    part = type(template)(few, template.brain, template.affine)
    assert np.allclose(head_template.guess_from_centroids(template, part), np.eye(4), atol=1e-6)
