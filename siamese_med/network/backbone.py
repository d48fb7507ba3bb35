"""Convolutional backbone that the identity head and the change head share.

It turns one scan into features at a half, a quarter and an eighth of the scan's resolution. It has no normalisation
layers and keeps no statistics, so a patch gives the same features as the same region of the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

COARSEST_STRIDE = 8
"""Edge of one coarsest feature, in voxels of the scan. Three stages halve the grid, so it is 2 ** 3."""
LEAKY_RELU_SLOPE = 0.1
"""Slope of the activation for negative inputs."""


class SharedBackbone(nn.Module):
    """Three stages of 3D convolutions, each of which halves the resolution.

    Parameters
    ----------
    width
        Channels of the first stage; the second has twice and the third three times as many.

    Attributes
    ----------
    channels
        Channels of the three stages, fine to coarse.
    """

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
        """Compute the features of scans at three resolutions.

        Parameters
        ----------
        scans
            Tensor (b, 1, i, j, k); i, j and k must be multiples of `COARSEST_STRIDE`, see `pad_to_stride`.

        Returns
        -------
        tuple of Tensor
            Features at 1/2, 1/4 and 1/8 of the resolution, (b, c, i/2, j/2, k/2) and so on.
        """
        halves = self.halves(scans)
        quarters = self.quarters(halves)
        return halves, quarters, self.eighths(quarters)


def pad_to_stride(scans: Tensor) -> Tensor:
    """Pad scans (b, c, i, j, k) at the far end of each axis to a multiple of `COARSEST_STRIDE`.

    The last voxel along each axis is repeated.

    Examples
    --------
    >>> import torch
    >>> pad_to_stride(torch.zeros(1, 1, 9, 16, 1)).shape
    torch.Size([1, 1, 16, 16, 8])
    """
    missing = [-n % COARSEST_STRIDE for n in reversed(scans.shape[2:])]
    return functional.pad(scans, [side for count in missing for side in (0, count)], mode="replicate")


def count_coarsest_features(size: Sequence[int]) -> int:
    """Count the coarsest features of a scan of `size` voxels, in one channel.

    Examples
    --------
    >>> count_coarsest_features((9, 16, 1))
    4
    """
    count = 1
    for n in size:
        count *= -(-n // COARSEST_STRIDE)
    return count


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel, stride, 1), nn.LeakyReLU(LEAKY_RELU_SLOPE))
