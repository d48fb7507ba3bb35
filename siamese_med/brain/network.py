"""The segmentation network: a small 3D U-Net that sees 2 mm voxels, and works on blocks of 2 x 2 x 2 of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources

import torch
import torch.nn.functional as functional
from torch import nn

from siamese_med.brain.structures import Structure

WIDTHS = (24, 48, 64, 64)
"""Channels at 4, 8, 16 and 32 mm."""
WEIGHTS = "brain_network.safetensors"
"""File in `siamese_med/brain/data`."""
BLOCK = 8
"""Voxels of a block."""
COORDINATES = 3
"""Further inputs: the place of the block in the crop along i, j and k, so that left and right are told apart."""
LEAK = 0.05
"""Slope of the rectifier below zero."""


class ConvolutionBlock(nn.Module):
    """Convolution over 3 x 3 x 3, group normalisation (eight channels a group) and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (b, inputs, i, j, k) to (b, outputs, i, j, k)."""
        convolved = self.convolution(images)
        with torch.autocast("cpu", enabled=False):  # in the type of its input: faster in training
            scale, shift = self.scale.to(convolved.dtype), self.shift.to(convolved.dtype)
            normed = functional.group_norm(convolved, convolved.shape[1] // 8, scale, shift)
        return functional.leaky_relu(normed, LEAK, inplace=True)


def run_unet_stages(
    images: torch.Tensor, down: nn.ModuleList, up: nn.ModuleList, pool: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    """Run the stages of a U-Net: down to half the resolution each, then up again beside what was there on the way down.

    Parameters
    ----------
    images
        (b, c, i, j, k); each side is a multiple of 2 to the number of stages in `up`.
    down, up
        Stages of convolutions; there is one more in `down`.
    pool
        Halves the resolution, such as `torch.nn.functional.max_pool3d`.

    Returns
    -------
    torch.Tensor
        What the last stage gives, at the resolution of `images`.
    """
    skipped: list[torch.Tensor] = []
    for level, stage in enumerate(down):
        images = stage(pool(images, 2) if level else images)
        skipped.append(images)
    skipped.pop()
    for stage in up:
        wide = functional.interpolate(images, scale_factor=2, mode="nearest")
        images = stage(torch.cat([wide, skipped.pop()], 1))
    return images


class BrainUNet(nn.Module):
    """U-Net with four resolutions; its outputs are scores of every structure for every voxel of a block.

    Source: Ronneberger et al., MICCAI 2015; training by synthesis after Billot et al., Medical Image Analysis 2023.
    """

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.down = nn.ModuleList(
            nn.Sequential(ConvolutionBlock(n, m), ConvolutionBlock(m, m))
            for n, m in ((BLOCK + COORDINATES, a), (a, b), (b, c), (c, d))
        )
        self.up = nn.ModuleList(ConvolutionBlock(n, m) for n, m in ((d + c, b), (b + b, a), (a + a, a)))
        self.last = nn.Conv3d(a, BLOCK * len(Structure), 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the features of blocks, (b, WIDTHS[0], i/2, j/2, k/2), of images (b, 1, i, j, k)."""
        blocks = to_blocks(images[:, 0])
        carried = torch.cat([blocks, make_coordinates(blocks)], 1).contiguous(memory_format=torch.channels_last_3d)
        return run_unet_stages(carried, self.down, self.up, functional.avg_pool3d)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (b, 1, i, j, k), sides multiples of 16, to scores (b, 8, structures, i/2, j/2, k/2) of blocks.

        What is computed of the scores goes through `from_blocks`, not the scores: that is much faster.
        """
        scores: torch.Tensor = self.last(self.features(images)).contiguous().unflatten(1, (BLOCK, len(Structure)))
        return scores


def make_coordinates(blocks: torch.Tensor) -> torch.Tensor:
    """Make the place of each block, (b, 3, i, j, k), from -1 to 1 along each axis of `blocks` (b, c, i, j, k).

    Examples
    --------
    >>> make_coordinates(torch.zeros(1, 1, 3, 1, 1))[0, 0].flatten().tolist()
    [-1.0, 0.0, 1.0]
    """
    axes = [torch.linspace(-1, 1, n, dtype=blocks.dtype) for n in blocks.shape[2:]]
    grids = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grids.expand(len(blocks), -1, -1, -1, -1)


def to_blocks(images: torch.Tensor) -> torch.Tensor:
    """Rearrange images (b, i, j, k) to (b, 8, i/2, j/2, k/2): the eight voxels of a block become channels.

    Examples
    --------
    >>> to_blocks(torch.arange(8.0).view(1, 2, 2, 2)).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    b, i, j, k = images.shape
    blocks = images.reshape(b, i // 2, 2, j // 2, 2, k // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return blocks.reshape(b, BLOCK, i // 2, j // 2, k // 2)


def from_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """Rearrange blocks (b, 8, i/2, j/2, k/2) to images (b, i, j, k); the inverse of `to_blocks`.

    Examples
    --------
    >>> from_blocks(to_blocks(torch.arange(16.0).view(1, 4, 2, 2))).flatten().tolist() == list(range(16))
    True
    """
    b, _, i, j, k = blocks.shape
    parts = blocks.reshape(b, 2, 2, 2, i, j, k).permute(0, 4, 1, 5, 2, 6, 3)
    return parts.reshape(b, 2 * i, 2 * j, 2 * k)


@lru_cache(maxsize=1)
def load_brain_network() -> BrainUNet:
    """Load the network with the weights that ship with the package; cached, and not to be changed."""
    network = BrainUNet()
    load_shipped_weights(network, "siamese_med.brain", WEIGHTS)
    return network


def load_shipped_weights(network: nn.Module, package: str, name: str) -> None:
    """Give a network the weights that ship in the folder `data` of a package, and make it ready for inference."""
    from safetensors.torch import load

    stored = load((resources.files(package) / "data" / name).read_bytes())
    network.load_state_dict({key: values.float() for key, values in stored.items()})
    network.eval()
    for values in network.parameters():
        if values.ndim == 5:
            values.data = values.contiguous(memory_format=torch.channels_last_3d)  # a seventh faster on a CPU
