"""What a learned similarity has to beat: four classical measures of aligned volumes (i, j, k), air at 0, tissue at 1.

Only voxels inside both fields of view count (a voxel outside is exactly 0). What a measure needs of one scan is
computed once a scan: the correlations of all pairs are then four matrix products, mutual information a joint
histogram of ranks, SSIM one smoothing of a product a pair.
"""

from __future__ import annotations

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

BASELINES = ("ncc", "ncc_highpass", "mutual_information", "ssim")
MUTUAL_INFORMATION_BINS = 32
HIGHPASS_SD_VOXELS = 2.0
MIN_SHARED_VOXELS = 100
"""Voxels that two scans must share for anything to be said."""

SSIM_WINDOW_SD_VOXELS, SSIM_WINDOW_STEP_VOXELS = 1.5, 2
"""SSIM's Gaussian window in voxels, as its authors have it, and how far one window lies from the next."""
SSIM_LUMINANCE_CONSTANT, SSIM_CONTRAST_CONSTANT = (
    (0.01 * MAX_NORMALISED_INTENSITY) ** 2,
    (0.03 * MAX_NORMALISED_INTENSITY) ** 2,
)
"""SSIM's two constants for volumes that run from 0 to CEILING."""


def score_baselines(a: NDArray[np.generic], b: NDArray[np.generic]) -> dict[str, float]:
    """All baselines of one pair; higher is more alike."""
    return {name: float(matrix[0, 1]) for name, matrix in compute_baseline_matrices([a, b]).items()}


def compute_baseline_matrices(volumes: Sequence[NDArray[np.generic]]) -> dict[str, Matrix]:
    """Each baseline over all pairs of n volumes: symmetric (n, n), higher is more alike."""
    scans = torch.from_numpy(np.stack([np.asarray(volume, dtype=np.float16) for volume in volumes]))
    shared = _products(scans > 0, scans > 0)
    fine = torch.stack([_highpass(scan.float()).half() for scan in scans])
    found = {
        "ncc": _correlations(scans, scans > 0, shared),
        "ncc_highpass": _correlations(fine, scans > 0, shared),
        "mutual_information": _mirrored(_mutual_information(scans), len(scans)),
        "ssim": _mirrored(_structural_similarity(scans), len(scans)),
    }
    nothing = shared.numpy() < MIN_SHARED_VOXELS
    return {name: np.where(nothing, 0.0, matrix) for name, matrix in found.items()}


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Sums over voxels of all products of a scan of `a` and one of `b`, both (n, i, j, k): (n, n), slab by slab."""
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


def _mutual_information(scans: Tensor) -> Iterator[list[float]]:
    """In nats, from joint histograms of ranks, so that contrast curves do not matter (Viola and Wells, 1997).

    Ranks are those within the scan's own field of view; one bin more holds what lies outside.
    """
    ranks = [_ranks(scan.flatten().float()) for scan in scans]
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
    return float((joint[present] * np.log(joint[present] / independent[present])).sum())


def _structural_similarity(scans: Tensor) -> Iterator[list[float]]:
    """SSIM (Wang et al., IEEE TIP 2004), the mean over windows whose centre lies in both fields of view."""
    windows = [_windows(size) for size in scans.shape[1:]]
    mean = torch.stack([_local(scan[None].float(), windows)[0] for scan in scans])
    square = torch.stack([_local(scan[None].float().square(), windows)[0] for scan in scans])
    valid = scans[:, ::SSIM_WINDOW_STEP_VOXELS, ::SSIM_WINDOW_STEP_VOXELS, ::SSIM_WINDOW_STEP_VOXELS] > 0
    for a in range(len(scans)):
        yield [_similarity(scans, mean, square, valid, windows, a, b) for b in range(a, len(scans))]


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
    """Gaussian weights (windows, size) around every second voxel of an axis, cut at 11 voxels as is usual."""
    away = torch.arange(0, size, SSIM_WINDOW_STEP_VOXELS)[:, None] - torch.arange(size)
    weights = torch.exp(-0.5 * (away / SSIM_WINDOW_SD_VOXELS).square()) * (away.abs() <= 5)
    return weights / weights.sum(1, keepdim=True)


def _local(values: Tensor, windows: Sequence[Tensor]) -> Tensor:
    """Windowed means of (n, i, j, k), axis by axis; each product moves its axis to the end."""
    for weights in windows:
        values = torch.tensordot(values, weights, ([1], [1]))
    return values


def _mirrored(rows: Iterator[list[float]], n: int) -> Matrix:
    """The symmetric matrix (n, n) whose upper rows, from the diagonal on, are given."""
    matrix = np.zeros((n, n))
    for number, row in enumerate(rows):
        matrix[number, number:] = matrix[number:, number] = row
    return matrix
