"""Volumes to embeddings: (b, 1, i, j, k) to (b, embedding). One encoder, shared by both scans of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from siamese_med.config import TrainConfig


def build(config: TrainConfig, shape: Sequence[int]) -> nn.Module:
    """The configured encoder for volumes of `shape`; fresh weights from torch's global seed."""
    if config.encoder == "compact":
        return _compact(config.width, config.embedding, shape)
    from monai.networks import nets

    if config.encoder == "densenet121":
        densenet: nn.Module = nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=config.embedding)
        return densenet
    resnet = {"resnet10": nets.resnet10, "resnet18": nets.resnet18}[config.encoder]
    network: nn.Module = resnet(spatial_dims=3, n_input_channels=1, num_classes=config.embedding, conv1_t_stride=2)
    return network


def _compact(width: int, embedding: int, shape: Sequence[int]) -> nn.Module:
    """Patch stem, three residual stages, and a head that keeps where things are, since scans come aligned.

    At 64^3 the stem strides by 4; strides shrink with the input, down to one-slice volumes.
    """
    from monai.networks.blocks import Convolution, ResidualUnit
    from torch import nn

    stem = [min(4, max(1, n // 16)) for n in shape]
    sizes = [[n // s for n, s in zip(shape, stem, strict=True)]]
    layers: list[nn.Module] = [
        Convolution(3, 1, width, strides=stem, kernel_size=stem, padding=0, act="RELU", norm=_groups(width))
        if max(stem) > 1
        else Convolution(3, 1, width, kernel_size=3, act="RELU", norm=_groups(width)),
        ResidualUnit(3, width, width, act="RELU", norm=_groups(width)),
    ]
    for stage in (1, 2):
        channels = width * 2**stage
        strides = [2 if n >= 8 else 1 for n in sizes[-1]]
        layers.append(ResidualUnit(3, channels // 2, channels, strides=strides, act="RELU", norm=_groups(channels)))
        sizes.append([-(-n // s) for n, s in zip(sizes[-1], strides, strict=True)])
    cells = sizes[-1][0] * sizes[-1][1] * sizes[-1][2]
    head = [
        Convolution(3, 4 * width, width, kernel_size=1, conv_only=True),
        nn.Flatten(),
        nn.Linear(cells * width, embedding),
    ]
    return nn.Sequential(*layers, *head)


def _groups(channels: int) -> tuple[str, dict[str, int]]:
    """GroupNorm rather than BatchNorm: a scan's embedding must not depend on the batch it came in."""
    groups = next(n for n in range(max(1, channels // 8), 0, -1) if channels % n == 0)
    return ("GROUP", {"num_groups": groups})
