"""The brain in head scans: on synthetic scans of a person not trained on, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from siamese_med.brain.head_grid import CROP_SHAPE
from siamese_med.brain.segmentation import BrainSegmentation, segment_brain
from siamese_med.brain.structures import Structure, convert_freesurfer_labels
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_brain
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation.synthetic_head_scans import HeadProtocol, SyntheticHead
from tests.brain.real_people import person, scan_of


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def find_truth(head: SyntheticHead, found: BrainSegmentation) -> NDArray[np.bool_]:
    """Where the brain lies on the grid of a segmentation, as far as the scan shows it."""
    places = head.warp.sample(person(), found.affine, CROP_SHAPE, np.zeros((1, 3)))[0]
    return (synthesis.get_structures(person(), places).numpy() > 0) & found.inside


@pytest.mark.parametrize(
    "protocol",
    [
        HeadProtocol("T1w", 0, 2.0),
        HeadProtocol("T2w", 2, 5.0, 6.0),
        HeadProtocol("FLAIR", 2, 3.0, 3.0, removed="face"),
        HeadProtocol("T1wCE", 2, 6.0, 6.0, tumour=True),
        HeadProtocol("T1w", 1, 2.0, removed="scalp"),
    ],
    ids=["T1w", "T2w, 6 mm", "FLAIR, defaced", "T1wCE, tumour", "brain-extracted"],
)
def test_the_brain_is_found_in_every_contrast(protocol: HeadProtocol) -> None:
    head = scan_of(protocol)
    found = segment_brain(head.scan)
    assert found.found()
    assert dice(find_truth(head, found), found.mask) > 0.92  # a guard; what is reached is in docs/brain.md


def test_left_is_where_the_affine_says() -> None:
    scan = scan_of(HeadProtocol("T1w")).scan
    flipped = Volume(np.ascontiguousarray(scan.voxels[::-1]), scan.affine.copy())  # the image mirrored, not the affine
    stored = Volume(np.ascontiguousarray(scan.voxels[::-1]), scan.affine @ np.diag([-1.0, 1, 1, 1]))
    stored.affine[:, 3] = scan.affine @ [scan.voxels.shape[0] - 1, 0, 0, 1]  # the same scan, stored the other way round
    for one in (scan, flipped, stored):
        centroids = segment_brain(one).centroids
        assert centroids[Structure.LEFT_CEREBELLUM][0] < centroids[Structure.RIGHT_CEREBELLUM][0]
    assert np.array_equal(segment_brain(scan).structures, segment_brain(stored).structures)


def test_a_slab_shows_what_it_shows() -> None:
    head = scan_of(HeadProtocol("T1w"))
    whole = head.scan
    slab = Volume(np.ascontiguousarray(whole.voxels[:, :, 40:70]), whole.affine.copy())
    slab.affine[:3, 3] += whole.affine[:3, 2] * 40
    found = segment_brain(slab)
    assert dice(find_truth(head, found), found.mask) > 0.85  # 6 cm alone say less about where the brain ends
    assert Structure.LEFT_CORTEX not in found.centroids


@pytest.mark.parametrize("kind", ["noise", "ball", "empty"])
def test_what_is_no_head_has_no_brain_or_does_not_lie_on_the_template(kind: str) -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 64)] * 3, indexing="ij"))
    ball = (np.sqrt((grid**2).sum(0)) < 0.3).astype(np.float32)
    voxels = {"noise": rng.random((64, 64, 64)), "ball": 100 * ball, "empty": np.zeros((64, 64, 64))}[kind]
    assert find_brain(Volume(voxels.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))) is None


def test_structures_cut_off_by_the_field_of_view_have_no_centroid() -> None:
    structures = np.zeros((20, 20, 20), dtype=np.uint8)
    structures[5:15, 5:15, 0:8] = Structure.BRAIN_STEM
    structures[5:15, 5:15, 10:18] = Structure.LEFT_CORTEX
    found = BrainSegmentation(structures, 255 * (structures > 0).astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert list(found.centroids) == [Structure.LEFT_CORTEX]
    assert found.centroids[Structure.LEFT_CORTEX] == pytest.approx([19, 19, 27])
    assert found.volume_ml() == pytest.approx(1600 * 8 / 1000)


def test_every_label_of_the_brain_has_a_structure() -> None:
    labels = np.array([2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28, 41, 42, 43, 44, 46, 47, 85])
    assert (convert_freesurfer_labels(labels) > 0).all()
    assert not convert_freesurfer_labels(np.array([0, 502, 515, 530])).any()
