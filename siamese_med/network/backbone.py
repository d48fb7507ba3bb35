"""The encoder that both heads share: one scan to features at three scales, halves, quarters and eighths of its grid.

It keeps no statistics and normalises nothing, so a patch gives what the whole volume gives there.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

COARSEST_STRIDE = 8
"""Voxels of a scan along the edge of a coarsest feature."""
LEAKY_RELU_SLOPE = 0.1


class SharedBackbone(nn.Module):
    """Convolutions that halve the grid three times; `width`, 2 x `width` and 3 x `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = self.channels = (width, 2 * width, 3 * width)
        self.halves = nn.Sequential(_convolution(1, width, 4, 2), _convolution(width, width))
        self.quarters = nn.Sequential(
            _convolution(width, channels[1], stride=2), _convolution(channels[1], channels[1])
        )
        self.eighths = nn.Sequential(
            _convolution(channels[1], channels[2], stride=2), _convolution(channels[2], channels[2])
        )

    def forward(self, scans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of scans (b, 1, i, j, k), fine to coarse; axes must be multiples of eight, see `pad_to_stride`."""
        halves = self.halves(scans)
        quarters = self.quarters(halves)
        return halves, quarters, self.eighths(quarters)


def pad_to_stride(scans: Tensor) -> Tensor:
    """Scans (b, c, i, j, k) with their last voxels repeated up to multiples of eight."""
    missing = [-n % COARSEST_STRIDE for n in reversed(scans.shape[2:])]
    return functional.pad(scans, [side for count in missing for side in (0, count)], mode="replicate")


def count_coarsest_features(size: Sequence[int]) -> int:
    """How many coarsest features a scan of `size` voxels has, in one channel."""
    count = 1
    for n in size:
        count *= -(-n // COARSEST_STRIDE)
    return count


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel, stride, 1), nn.LeakyReLU(LEAKY_RELU_SLOPE))
