"""The classical measures that a learned similarity has to beat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ssim_and_cs

from siamese_med.imaging.intensity import MAX_NORMALISED_INTENSITY
from siamese_med.scoring.identity import baselines


@pytest.fixture(scope="module")
def scans() -> tuple[np.ndarray, np.ndarray]:
    """Two unlike scans, 24^3, tissue at 1 in a ball, air at 0."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij")) - 11.5
    ball = np.linalg.norm(grid, axis=0) < 10
    one, other = (np.clip(1 + 0.3 * rng.standard_normal(ball.shape), 0.01, None) * ball for _ in range(2))
    return one.astype(np.float16), other.astype(np.float16)


@pytest.fixture(scope="module")
def several(scans: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Five scans, one of them with a narrow field of view."""
    rng = np.random.default_rng(3)
    mixed = [scans[0] * share + scans[1] * (1 - share) for share in (0.2, 0.5, 0.8)]
    noisy = [(scan * (1 + 0.1 * rng.standard_normal(scan.shape))).astype(np.float16) for scan in mixed]
    noisy[2][:10] = 0
    return [*scans, *noisy]


def test_all_pairs_at_once_are_what_each_pair_is_alone(several: list[np.ndarray]) -> None:
    found = baselines.compute_baseline_matrices(several)
    for a in range(5):
        for b in range(5):
            alone = baselines.score_baselines(several[a], several[b])
            assert {name: found[name][a, b] for name in found} == pytest.approx(alone, abs=1e-5)


def test_correlation_counts_the_voxels_that_both_scans_show(several: list[np.ndarray]) -> None:
    one, other = (several[n].astype(float) for n in (0, 4))
    shared = (one > 0) & (other > 0)
    expected = np.corrcoef(one[shared], other[shared])[0, 1]
    assert baselines.score_baselines(several[0], several[4])["ncc"] == pytest.approx(expected, abs=1e-5)


def test_the_structural_similarity_is_that_of_monai(scans: tuple[np.ndarray, np.ndarray]) -> None:
    """MONAI slides an 11^3 window from voxel 5 on; ours is at every second voxel, here inside a small field."""
    field = np.zeros((24,) * 3)
    field[6:18, 6:18, 6:18] = 1
    one, other = (scan.astype(np.float32) * field.astype(np.float32) for scan in scans)
    theirs, _ = compute_ssim_and_cs(
        *(torch.from_numpy(scan)[None, None] for scan in (one, other)),
        3,
        (11,) * 3,
        (1.5,) * 3,
        data_range=MAX_NORMALISED_INTENSITY,
    )
    centres = [voxel for voxel in np.argwhere((one > 0) & (other > 0)) if (voxel % 2 == 0).all()]
    expected = np.mean([float(theirs[0, 0][tuple(voxel - 5)]) for voxel in centres])
    assert baselines.score_baselines(one, other)["ssim"] == pytest.approx(expected, abs=1e-4)


def test_a_scan_with_itself_correlates_fully(scans: tuple[np.ndarray, np.ndarray]) -> None:
    found = baselines.score_baselines(scans[0], scans[0])
    assert found["ncc"] == pytest.approx(1.0, abs=1e-6)
    assert found["ncc_highpass"] == pytest.approx(1.0, abs=1e-6)
    assert found["mutual_information"] == pytest.approx(np.log(baselines.MUTUAL_INFORMATION_BINS), abs=0.01)


def test_the_order_of_the_scans_does_not_matter(scans: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = baselines.score_baselines(*scans), baselines.score_baselines(*scans[::-1])
    assert one == pytest.approx(other, abs=1e-6)


def test_unlike_scans_score_lower_than_like_ones_in_every_measure(scans: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    again = (scans[0] + 0.1 * rng.standard_normal(scans[0].shape) * (scans[0] > 0)).clip(0.001).astype(np.float16)
    like, unlike = baselines.score_baselines(scans[0], again), baselines.score_baselines(*scans)
    assert all(like[name] > unlike[name] + 0.2 for name in baselines.BASELINES)


def test_a_contrast_curve_leaves_mutual_information_as_it_is(scans: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = scans
    curved = other.astype(np.float32) ** 2
    plain, warped = baselines.score_baselines(one, other), baselines.score_baselines(one, curved)
    assert warped["mutual_information"] == pytest.approx(plain["mutual_information"], abs=1e-3)


def test_a_smooth_bias_field_costs_the_plain_correlation_more_than_the_high_pass(
    scans: tuple[np.ndarray, np.ndarray],
) -> None:
    one = scans[0].astype(np.float32)
    biased = one * np.linspace(0.5, 2.0, 24, dtype=np.float32)[:, None, None]
    found = baselines.score_baselines(one, biased)
    assert found["ncc_highpass"] > found["ncc"] + 0.05


def test_scans_that_share_no_tissue_score_nothing() -> None:
    left, right = np.zeros((2, 24, 24, 24), dtype=np.float16)
    left[:8], right[16:] = 1, 1
    assert baselines.score_baselines(left, right) == dict.fromkeys(baselines.BASELINES, 0.0)


def test_what_lies_outside_a_mask_changes_nothing_and_the_order_of_the_scans_neither(
    scans: tuple[np.ndarray, np.ndarray],
) -> None:
    """Changed far outside the mask only, since filters look at the scan as it is."""
    inside = np.zeros((24, 24, 24), dtype=bool)
    inside[:, :, :8] = True
    other = scans[1].copy()
    other[:, :, 20:] *= np.float16(1.5)
    for masks in ((inside, inside), (inside, None), (None, inside)):
        found = baselines.score_baselines(scans[0], scans[1], masks=masks)
        if masks[1] is not None:  # ranks of a scan without a mask are those of the whole scan
            assert baselines.score_baselines(scans[0], other, masks=masks) == pytest.approx(found, abs=1e-6)
        assert baselines.score_baselines(scans[1], scans[0], masks=masks[::-1]) == pytest.approx(found, abs=1e-6)
        assert found["ncc"] != pytest.approx(baselines.score_baselines(*scans)["ncc"], abs=1e-4)


def test_masks_of_everything_are_no_masks(several: list[np.ndarray]) -> None:
    everything = [np.ones(scan.shape, dtype=bool) for scan in several]
    plain = baselines.compute_baseline_matrices(several)
    for name, matrix in baselines.compute_baseline_matrices(several, everything).items():
        np.testing.assert_array_equal(matrix, plain[name])
    with pytest.raises(ValueError, match="zip"):
        baselines.compute_baseline_matrices(several, everything[:2])
