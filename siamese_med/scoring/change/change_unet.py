"""The change network that ships with the package: a small 3D U-Net that sees both scans of a pair at 1.5 mm.

It was trained on pairs whose change is known, painted from label maps and real heads (`benchmarks.change_synthesis`),
so it needs no training by the user.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from siamese_med.brain.network import ConvolutionBlock, load_shipped_weights, run_unet_stages

WIDTHS = (16, 32, 64, 64)
"""Channels at 1.5, 3, 6 and 12 mm."""
INPUTS = 4
"""Channels of a voxel: earlier, later, their difference in units of its noise, and whether it is compared."""
CLASSES = 3
"""Scores of a voxel: unchanged, brighter by a change, darker by a change."""
MULTIPLE = 8
"""Sides of the input, in voxels, are multiples of this."""
WEIGHTS = "change_network.safetensors"
"""File in `siamese_med/scoring/change/data`. With other weights, raise `scoring.score_table.SCORE_METHOD_VERSION`."""
MAX_CONTRAST = 2.0
"""Intensities are clipped this far over their median, as a share of it."""
MAX_DIFFERENCE = 8.0
"""Differences are clipped at this many standard deviations of their noise."""
MIN_NOISE = 0.01
"""Least standard deviation of the noise, as a share of the median intensity."""


class ChangeUNet(nn.Module):
    """U-Net with four resolutions from the two scans of a pair to scores of change.

    Source: Ronneberger et al., MICCAI 2015.
    """

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.down = nn.ModuleList(
            nn.Sequential(ConvolutionBlock(n, m), ConvolutionBlock(m, m))
            for n, m in ((INPUTS, a), (a, b), (b, c), (c, d))
        )
        self.up = nn.ModuleList(ConvolutionBlock(n, m) for n, m in ((d + c, c), (c + b, b), (b + a, a)))
        self.last = nn.Conv3d(a, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map inputs (b, INPUTS, i, j, k), see `make_inputs`, to scores (b, CLASSES, i, j, k)."""
        carried = images.contiguous(memory_format=torch.channels_last_3d)
        scores: Tensor = self.last(run_unet_stages(carried, self.down, self.up, functional.max_pool3d))
        return scores


def make_inputs(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """Make the network's input (1, INPUTS, i, j, k) of two matched scans (i, j, k) and the mask that is compared."""
    mask = inside.float()
    known = inside.bool()
    if not known.any():
        return torch.zeros(1, INPUTS, *a.shape)
    middle = ((a[known] + b[known]) / 2).median().clamp(min=1e-3)
    noise = (1.4826 * (b - a)[known].abs().median()).clamp(min=float(MIN_NOISE * middle))
    scans = [(scan / middle - 1).clamp(-1, MAX_CONTRAST) * mask for scan in (a, b)]
    difference = ((b - a) / noise).clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE) / MAX_DIFFERENCE * 2 * mask
    return torch.stack([*scans, difference, mask])[None]


def swap_inputs(images: Tensor) -> Tensor:
    """Return the inputs with the two scans exchanged."""
    return torch.stack([images[:, 1], images[:, 0], -images[:, 2], images[:, 3]], 1)


@lru_cache(maxsize=1)
def load_change_network() -> ChangeUNet:
    """Load the network with the weights that ship with the package; cached, and not to be changed."""
    network = ChangeUNet()
    load_shipped_weights(network, "siamese_med.scoring.change", WEIGHTS)
    return network
