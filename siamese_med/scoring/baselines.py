"""What a learned similarity has to beat: three classical measures on the same aligned volumes (i, j, k)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.alignment import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASELINES = ("ncc", "ncc_highpass", "mutual_information")
BINS = 32
HIGHPASS_VOXELS = 2.0


def scores(a: NDArray[np.generic], b: NDArray[np.generic]) -> dict[str, float]:
    """All baselines of one pair; higher is more alike. Only voxels inside both fields of view count."""
    first, second = (torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (a, b))
    shared = (first > 0) & (second > 0)
    if int(shared.sum()) < 100:
        return dict.fromkeys(BASELINES, 0.0)
    return {
        "ncc": _correlation(first[shared], second[shared]),
        "ncc_highpass": _correlation(_highpass(first)[shared], _highpass(second)[shared]),
        "mutual_information": _mutual_information(first[shared], second[shared]),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt().clamp(min=1e-9))


def _highpass(volume: Tensor) -> Tensor:
    return volume - smooth(volume[None, None], HIGHPASS_VOXELS)[0, 0]


def _mutual_information(a: Tensor, b: Tensor) -> float:
    """In nats, from a joint histogram of ranks, so that contrast curves do not matter (Viola and Wells, 1997)."""
    joint = torch.bincount(_ranks(a) * BINS + _ranks(b), minlength=BINS * BINS).double().view(BINS, BINS)
    joint = joint / joint.sum()
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    present = joint > 0
    return float((joint[present] * (joint[present] / independent[present]).log()).sum())


def _ranks(values: Tensor) -> Tensor:
    sample = values[:: max(1, values.numel() // 100_000)]
    edges = torch.quantile(sample, torch.linspace(0, 1, BINS + 1)[1:-1])
    return torch.bucketize(values, edges)
