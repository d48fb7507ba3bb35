"""Directions of the edges of a scan, place by place, as one vector: a description of anatomy that needs no training.

An edge runs the same way in every contrast, although it may go from dark to bright in one and from bright to dark in
another. So the direction n of the gradient is described by the products n n', which do not know its sign. The mean of
the training scans is taken away, and so are "modes": what differs most between scans of one patient, which is what
contrasts and scanners do. The rest is hashed to SKETCH_SIZE numbers, which keeps scalar products nearly as they are,
and scaled to length 1: the scalar product of two descriptors is the similarity of two scans, so all pairs of many scans
are one matrix product.

References
----------
Haber and Modersitzki, MICCAI 2006 (normalised gradient fields). Weinberger et al., ICML 2009 (feature hashing).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.network.patient_modes import find_within_patient_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE_MODES = 4
"""Largest number of modes that are taken away; on real and simulated people eight tell no more."""
SCANS_PER_EDGE_MODE = 4
"""Training scans beyond each patient's first that are needed for each mode."""
FLAT_GRADIENT = 0.02
"""Gradients well below this count as none: noise has no direction. Unit: bright tissue per voxel."""
POOLED_VOXELS = 2
"""Products are averaged over blocks of this many voxels along each axis; a longer edge loses people's differences."""
SKETCH_BITS = 12
SKETCH_SIZE = 2**SKETCH_BITS
"""Length of a descriptor. On 36 real people 4,096 numbers tell as much as all 30,000 products, 1,024 clearly less."""
HASH_FACTOR, SIGN_FACTOR = 2_654_435_761, 2_246_822_519
"""Odd numbers near 2^32 / golden ratio and 2^32 x 0.52: multiplied by them, consecutive numbers scatter evenly."""
RIM_VOXELS = 1
"""Edges this near to where a scan shows nothing are no anatomy."""
AXES = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class EdgeDescriptor(nn.Module):
    """From volumes to descriptors.

    Parameters
    ----------
    size
        Voxels (i, j, k) of the volumes.

    Attributes
    ----------
    mean
        Products of the average training scan (f,).
    modes
        Orthonormal modes (m, f); unused ones are zero.

    Examples
    --------
    >>> descriptor = EdgeDescriptor((8, 8, 8))
    >>> scan = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    >>> one, other = descriptor(scan, torch.ones_like(scan)), descriptor(2 - scan, torch.ones_like(scan))
    >>> round(float((one * other).sum()), 3)  # dark and bright exchanged
    1.0
    """

    mean: Tensor
    modes: Tensor
    bucket: Tensor
    sign: Tensor

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        length = len(AXES) * int(np.prod([-(-n // POOLED_VOXELS) for n in size]))
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("modes", torch.zeros(EDGE_MODES, length))
        bucket, sign = _hash_numbers(length)
        self.register_buffer("bucket", bucket, persistent=False)
        self.register_buffer("sign", sign, persistent=False)

    def forward(self, volumes: Tensor, region: Tensor) -> Tensor:
        """Describe volumes (b, 1, i, j, k) inside a region (1, 1, i, j, k), 0 or 1; returns (b, SKETCH_SIZE)."""
        apart = multiply_edges(volumes, region) - self.mean
        apart = apart - (apart @ self.modes.T) @ self.modes
        sketch = apart.new_zeros(len(apart), SKETCH_SIZE).index_add_(1, self.bucket, apart * self.sign)
        return functional.normalize(sketch, dim=1)

    def fit(self, products: Tensor, patients: NDArray[np.int64]) -> None:
        """Set the mean and the modes from the products (n, f) of training scans, see `multiply_edges`.

        `patients` has the number of each scan's patient (n,).
        """
        self.mean.copy_(products.mean(0))
        modes = find_within_patient_modes(products, patients, EDGE_MODES, SCANS_PER_EDGE_MODE)
        self.modes[: len(modes)] = modes


def multiply_edges(volumes: Tensor, region: Tensor) -> Tensor:
    """Compute the products of the edges' directions of volumes (b, 1, i, j, k) inside a region, pooled and flat.

    Returns
    -------
    Tensor
        (b, f): six products a block, zero outside the region, and near voxels that are 0, where a field of view ends.
    """
    whole = 1 - functional.max_pool3d((volumes <= 0).to(volumes), 2 * RIM_VOXELS + 1, stride=1, padding=RIM_VOXELS)
    slope = torch.cat(list(_slopes(volumes)), 1) * whole * region
    direction = slope / (slope.square().sum(1, keepdim=True) + FLAT_GRADIENT**2).sqrt()
    products = torch.stack(
        [direction[:, a] * direction[:, b] * (1.0 if a == b else np.sqrt(2.0)) for a, b in AXES], 1
    )  # with the root, the scalar product of two sets of products is the squared cosine of the angle between the edges
    blocks = [min(POOLED_VOXELS, n) for n in volumes.shape[2:]]
    return functional.avg_pool3d(products, blocks, ceil_mode=True).flatten(1)


def _slopes(volumes: Tensor) -> Iterator[Tensor]:
    """Central differences (b, 1, i, j, k) along each axis, zero at the ends and along an axis of one or two voxels."""
    for axis in (2, 3, 4):
        slope = torch.zeros_like(volumes)
        if (inside := volumes.shape[axis] - 2) > 0:
            ahead, behind = volumes.narrow(axis, 2, inside), volumes.narrow(axis, 0, inside)
            slope.narrow(axis, 1, inside).copy_((ahead - behind) / 2)
        yield slope


def _hash_numbers(count: int) -> tuple[Tensor, Tensor]:
    """The place in the sketch and the sign of each of `count` products; the same on every machine."""
    numbers = np.arange(1, count + 1, dtype=np.uint64)
    place = (numbers * np.uint64(HASH_FACTOR) % np.uint64(2**32)) >> np.uint64(32 - SKETCH_BITS)
    positive = (numbers * np.uint64(SIGN_FACTOR) % np.uint64(2**32)) >> np.uint64(31)
    return torch.from_numpy(place.astype(np.int64)), torch.from_numpy(2 * positive.astype(np.float32) - 1)
