"""Four classical similarities of aligned volumes, as baselines for the learned one.

======================  ==========================================================================================
`ncc`                   normalised cross-correlation, that is Pearson's r of the voxels
`ncc_highpass`          the same after subtraction of a Gaussian smoothing
`mutual_information`    in nats, of the ranks of intensity (Viola and Wells, Int J Comput Vis, 1997)
`ssim`                  structural similarity (Wang et al., IEEE Trans Image Process, 2004)
======================  ==========================================================================================

Volumes are (i, j, k) on the template's grid, with air at 0 and the median of bright tissue at 1. Only voxels inside
both fields of view count, and inside both masks where there are some; a voxel outside a field of view is exactly 0.
Filters look at the scan as it is and the mask is applied afterwards, so that its edge is no edge of the anatomy.
Whatever a similarity needs of a single scan is computed once per scan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging.intensity import MAX_NORMALISED_INTENSITY
from siamese_med.imaging.resampling import smooth_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Mask = NDArray[np.bool_]

BASELINES = ("ncc", "ncc_highpass", "mutual_information", "ssim")
"""Names of the baselines, in the order of the columns."""
MUTUAL_INFORMATION_BINS = 32
"""Bins of intensity ranks, per scan."""
HIGHPASS_SD_VOXELS = 2.0
"""Standard deviation of the smoothing that is subtracted for `ncc_highpass`."""
MIN_SHARED_VOXELS = 100
"""Two scans that share fewer voxels have the similarity 0. Unit: voxels. Source: our choice."""

SSIM_WINDOW_SD_VOXELS, SSIM_WINDOW_STEP_VOXELS = 1.5, 2
"""Standard deviation of SSIM's Gaussian window (as in Wang et al., 2004), and the distance of neighbouring windows."""
SSIM_LUMINANCE_CONSTANT, SSIM_CONTRAST_CONSTANT = (
    (0.01 * MAX_NORMALISED_INTENSITY) ** 2,
    (0.03 * MAX_NORMALISED_INTENSITY) ** 2,
)
"""SSIM's constants (0.01 R)^2 and (0.03 R)^2 (Wang et al., 2004), for the range R of 0 to MAX_NORMALISED_INTENSITY."""


def score_baselines(
    a: NDArray[np.generic], b: NDArray[np.generic], *, masks: tuple[Mask | None, Mask | None] = (None, None)
) -> dict[str, float]:
    """Compute all baselines of one pair of aligned volumes (i, j, k); higher is more similar.

    Parameters
    ----------
    a, b
        The two volumes. Their order does not matter.
    masks
        Where each of them is to be looked at, (i, j, k), such as its brain; None for everywhere. Voxels count that are
        in both masks.

    Examples
    --------
    >>> scan = np.random.default_rng(0).uniform(0.5, 1.0, (8, 8, 8))
    >>> round(score_baselines(scan, scan)["ncc"], 3), round(score_baselines(scan, 1.5 - scan)["ncc"], 3)
    (1.0, -1.0)
    >>> half = np.arange(8)[:, None, None].repeat(8, 1).repeat(8, 2) < 4
    >>> round(score_baselines(scan, np.where(half, scan, 0.7), masks=(half, None))["ncc"], 3)
    1.0
    """
    return {name: float(matrix[0, 1]) for name, matrix in compute_baseline_matrices([a, b], masks).items()}


def compute_baseline_matrices(
    volumes: Sequence[NDArray[np.generic]], masks: Sequence[Mask | None] | None = None
) -> dict[str, Matrix]:
    """Compute each baseline for all pairs of n aligned volumes of one shape.

    Parameters
    ----------
    volumes
        n volumes (i, j, k). They are converted to float16; memory-mapped arrays are welcome.
    masks
        Where each volume is to be looked at, (i, j, k); None, for one or for all, is everywhere.

    Returns
    -------
    dict[str, Matrix]
        By name of the baseline, a symmetric matrix (n, n); higher is more similar. Pairs that share fewer than
        MIN_SHARED_VOXELS have 0.
    """
    scans = torch.from_numpy(np.stack([np.asarray(volume, dtype=np.float16) for volume in volumes]))
    valid = _valid_voxels(scans, masks)
    shared = _products(valid, valid)
    fine = torch.stack([_highpass(scan.float()).half() for scan in scans])
    found = {
        "ncc": _correlations(scans, valid, shared),
        "ncc_highpass": _correlations(fine, valid, shared),
        "mutual_information": _mirrored(_mutual_information(scans, valid), len(scans)),
        "ssim": _mirrored(_structural_similarity(scans, valid), len(scans)),
    }
    nothing = shared.numpy() < MIN_SHARED_VOXELS
    return {name: np.where(nothing, 0.0, matrix) for name, matrix in found.items()}


def _valid_voxels(scans: Tensor, masks: Sequence[Mask | None] | None) -> Tensor:
    """Voxels (n, i, j, k), bool, of each scan's field of view that are in its mask."""
    valid = scans > 0
    for one, mask in zip(valid, masks or [None] * len(scans), strict=True):
        if mask is not None:
            one &= torch.from_numpy(np.ascontiguousarray(mask, dtype=bool))
    return valid


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Sum over voxels the products of each scan of `a` with each of `b`, both (n, i, j, k): (n, n), slab by slab."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for one, other in zip(a.unbind(1), b.unbind(1), strict=True):
        total += one.flatten(1).float() @ other.flatten(1).float().T
    return total


def _correlations(values: Tensor, valid: Tensor, shared: Tensor) -> Matrix:
    """Pearson's r of all pairs, each over the voxels valid in both."""
    inside = values * valid
    count = shared.clamp(min=1)
    mean = _products(inside, valid) / count
    spread = (_products(inside.float().square(), valid) / count - mean.square()).clamp(min=1e-12).sqrt()
    covariance = _products(inside, inside) / count - mean * mean.T
    return np.asarray((covariance / (spread * spread.T)).clamp(-1, 1))


def _highpass(volume: Tensor) -> Tensor:
    return volume - smooth_images(volume[None, None], HIGHPASS_SD_VOXELS)[0, 0]


def _mutual_information(scans: Tensor, valid: Tensor) -> Iterator[list[float]]:
    """Mutual information in nats, from joint histograms of ranks, which do not depend on the contrast curve.

    Ranks are taken within the scan's own valid voxels. One more bin holds the voxels outside.
    """
    ranks = [_ranks((scan * inside).flatten().float()) for scan, inside in zip(scans, valid, strict=True)]
    for number, one in enumerate(ranks):
        wide = one * (MUTUAL_INFORMATION_BINS + 1)
        yield [
            _information(np.bincount(wide + other, minlength=(MUTUAL_INFORMATION_BINS + 1) ** 2))
            for other in ranks[number:]
        ]


def _ranks(values: Tensor) -> NDArray[np.int32]:
    inside = values[values > 0]
    if not inside.numel():
        return np.full(len(values), MUTUAL_INFORMATION_BINS, dtype=np.int32)
    sample = inside[:: max(1, inside.numel() // 100_000)]
    edges = torch.quantile(sample, torch.linspace(0, 1, MUTUAL_INFORMATION_BINS + 1)[1:-1])
    found = torch.bucketize(values, edges, out_int32=True)
    return found.masked_fill(values <= 0, MUTUAL_INFORMATION_BINS).numpy()


def _information(counts: NDArray[np.int64]) -> float:
    inside = counts.reshape(MUTUAL_INFORMATION_BINS + 1, MUTUAL_INFORMATION_BINS + 1)[
        :MUTUAL_INFORMATION_BINS, :MUTUAL_INFORMATION_BINS
    ]
    joint = inside / max(inside.sum(), 1)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    present = joint > 0
    # an exact sum: the order of the two scans must not change the last digit
    return math.fsum(joint[present] * np.log(joint[present] / independent[present]))


def _structural_similarity(scans: Tensor, valid: Tensor) -> Iterator[list[float]]:
    """SSIM (Wang et al., 2004), averaged over the windows whose centre is valid in both scans."""
    windows = [_windows(size) for size in scans.shape[1:]]
    mean = torch.stack([_local(scan[None].float(), windows)[0] for scan in scans])
    square = torch.stack([_local(scan[None].float().square(), windows)[0] for scan in scans])
    centres = valid[:, ::SSIM_WINDOW_STEP_VOXELS, ::SSIM_WINDOW_STEP_VOXELS, ::SSIM_WINDOW_STEP_VOXELS]
    for a in range(len(scans)):
        yield [_similarity(scans, mean, square, centres, windows, a, b) for b in range(a, len(scans))]


def _similarity(
    scans: Tensor, mean: Tensor, square: Tensor, valid: Tensor, windows: Sequence[Tensor], a: int, b: int
) -> float:
    both = mean[a] * mean[b]
    level = mean[a].square() + mean[b].square()
    covariance = _local((scans[a].float() * scans[b].float())[None], windows)[0] - both
    similar = (2 * both + SSIM_LUMINANCE_CONSTANT) * (2 * covariance + SSIM_CONTRAST_CONSTANT)
    similar = similar / ((level + SSIM_LUMINANCE_CONSTANT) * (square[a] + square[b] - level + SSIM_CONTRAST_CONSTANT))
    inside = valid[a] & valid[b]
    return float((similar * inside).sum() / inside.sum().clamp(min=1))


def _windows(size: int) -> Tensor:
    """Gaussian weights (windows, size) around every second voxel of an axis, cut to 11 voxels (Wang et al., 2004)."""
    away = torch.arange(0, size, SSIM_WINDOW_STEP_VOXELS)[:, None] - torch.arange(size)
    weights = torch.exp(-0.5 * (away / SSIM_WINDOW_SD_VOXELS).square()) * (away.abs() <= 5)
    return weights / weights.sum(1, keepdim=True)


def _local(values: Tensor, windows: Sequence[Tensor]) -> Tensor:
    """Weighted means of (n, i, j, k) in the windows, axis by axis; each product moves its axis to the end."""
    for weights in windows:
        values = torch.tensordot(values, weights, ([1], [1]))
    return values


def _mirrored(rows: Iterator[list[float]], n: int) -> Matrix:
    """Build the symmetric matrix (n, n) from its rows, each from the diagonal on."""
    matrix = np.zeros((n, n))
    for number, row in enumerate(rows):
        matrix[number, number:] = matrix[number:, number] = row
    return matrix
