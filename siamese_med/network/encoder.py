"""Encoders of the identity head: departures from the atlas (b, c, i, j, k) to embeddings (b, embedding).

The same encoder, with the same weights, is applied to both scans of a pair.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from siamese_med.errors import PluginError
from siamese_med.network.monai_networks import refuse_pretrained
from siamese_med.plugins import Plugin, build_plugin, find_plugin, plugin_failure
from siamese_med.study.config import TrainConfig
from siamese_med.study.plugin_names import PluginKind


def build_encoder(config: TrainConfig, channels: int, grid: Sequence[int]) -> nn.Module:
    """Build the encoder that the configuration names, with fresh weights from torch's global random state.

    Parameters
    ----------
    config
        Names the encoder, its arguments, and the length of the embedding.
    channels
        Channels of the input.
    grid
        Voxels (i, j, k) of the input.

    Returns
    -------
    torch.nn.Module
        (b, channels, i, j, k) to (b, embedding), float32.

    Raises
    ------
    PluginError
        A plug-in cannot be made, or does not return that shape. It is tried on two empty inputs.

    Examples
    --------
    >>> network = build_encoder(TrainConfig(embedding=8), channels=1, grid=(16, 16, 16))
    >>> network(torch.zeros(2, 1, 16, 16, 16)).shape
    torch.Size([2, 8])
    """
    plugin = find_plugin(PluginKind.ENCODER, config.encoder, config.encoder_args)
    network = build_plugin(plugin, embedding=config.embedding_size, channels=channels, grid=tuple(grid))
    return network if plugin.built_in else _checked(network, plugin, (channels, *grid), config.embedding_size)


def _checked(network: object, plugin: Plugin, size: tuple[int, ...], embedding: int) -> nn.Module:
    """The network, if it gives an embedding for each of two empty inputs."""
    if not isinstance(network, nn.Module):
        raise PluginError(f"{plugin} is a {type(network).__name__}: it must be a torch.nn.Module")
    training = network.training
    try:
        with torch.no_grad():
            found = network.eval()(torch.zeros(2, *size))
    except Exception as error:
        raise plugin_failure(plugin, error) from error
    network.train(training)
    shape = tuple(getattr(found, "shape", ()))
    if shape != (2, embedding):
        wanted = f"{(2, embedding)} (train.embedding_size = {embedding})"
        raise PluginError(f"{plugin} makes {shape or type(found).__name__} of {(2, *size)}: it must be {wanted}")
    return network


def build_resnet10(embedding: int, channels: int, **arguments: Any) -> nn.Module:
    """Build MONAI's ResNet-10 in 3-D (He et al., CVPR 2016).

    `arguments` are those of `monai.networks.nets.resnet10`, and override those that are set here.
    """
    from monai.networks import nets

    return _resnet(nets.resnet10, embedding, channels, arguments)


def build_resnet18(embedding: int, channels: int, **arguments: Any) -> nn.Module:
    """Build MONAI's ResNet-18 in 3-D (He et al., CVPR 2016).

    `arguments` are those of `monai.networks.nets.resnet18`, and override those that are set here.
    """
    from monai.networks import nets

    return _resnet(nets.resnet18, embedding, channels, arguments)


def _resnet(
    make: Callable[..., nn.Module], embedding: int, channels: int, arguments: Mapping[str, object]
) -> nn.Module:
    refuse_pretrained(arguments)
    usual = {"spatial_dims": 3, "n_input_channels": channels, "num_classes": embedding, "conv1_t_stride": 2}
    return make(**{**usual, **arguments})


def build_densenet121(embedding: int, channels: int, **arguments: Any) -> nn.Module:
    """Build MONAI's DenseNet-121 in 3-D (Huang et al., CVPR 2017).

    `arguments` are those of `monai.networks.nets.DenseNet121`, and override those that are set here.
    """
    from monai.networks import nets

    refuse_pretrained(arguments)
    usual = {"spatial_dims": 3, "in_channels": channels, "out_channels": embedding}
    network: nn.Module = nets.DenseNet121(**{**usual, **arguments})
    return network


class CompactEncoder(nn.Module):
    """A linear map that keeps the place of what it sees: means of 2 x 2 x 2 voxels, projected to the embedding.

    Parameters
    ----------
    embedding
        Length of the embedding.
    channels, grid
        Channels and voxels (i, j, k) of the input. An axis of fewer than 8 voxels is not reduced.

    Notes
    -----
    It starts as a random projection, which keeps distances, so training starts from the plain distances of the inputs.

    References
    ----------
    Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984.
    """

    def __init__(self, embedding: int, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.path = _pooled_projection(embedding, channels, grid)

    def forward(self, departures: Tensor) -> Tensor:
        """Return the embeddings (b, e) of departures from the atlas (b, c, i, j, k)."""
        embeddings: Tensor = self.path(departures)
        return embeddings


def _pooled_projection(embedding: int, channels: int, grid: Sequence[int]) -> nn.Module:
    strides = _strides(grid)
    cells = _cells(grid, strides)
    # as MONAI's block of that name, whose import takes longer than to embed a scan; stored weights have its names
    edges = (strides[0], strides[1], strides[2])
    mean = nn.Conv3d(channels, channels, edges, edges, groups=channels, bias=False)
    nn.init.constant_(mean.weight, 1 / math.prod(edges))
    projection = nn.Linear(cells * channels, embedding)
    nn.init.normal_(projection.weight, std=(cells * channels * embedding) ** -0.5)
    return nn.Sequential(nn.Sequential(OrderedDict(conv=mean)), nn.Flatten(), projection)


def build_thin_grid_encoder(width: int, embedding: int, channels: int, grid: Sequence[int]) -> nn.Module:
    """Build a small convolutional encoder for grids that are too thin for the shared backbone.

    Its last layer starts with zeros, so that it adds nothing to the embedding before training.

    Parameters
    ----------
    width
        Channels of its first stage.
    embedding, channels, grid
        As for `build_encoder`.
    """
    from monai.networks.blocks import Convolution, ResidualUnit

    stem = _strides(grid)
    inner = [n // s for n, s in zip(grid, stem, strict=True)]
    deeper = _strides(inner)
    cells = _cells([-(-n // s) * s for n, s in zip(inner, deeper, strict=True)], deeper)
    projection = nn.Linear(cells * width, embedding)
    nn.init.zeros_(projection.weight)
    nn.init.zeros_(projection.bias)
    return nn.Sequential(
        Convolution(3, channels, width, strides=stem, kernel_size=stem, padding=0, act="RELU", norm=_groups(width)),
        ResidualUnit(3, width, width, act="RELU", norm=_groups(width)),
        ResidualUnit(3, width, 2 * width, strides=deeper, act="RELU", norm=_groups(2 * width)),
        Convolution(3, 2 * width, width, kernel_size=1, conv_only=True),
        nn.Flatten(),
        projection,
    )


def _strides(grid: Sequence[int]) -> list[int]:
    """Two where there is room, so that one-slice volumes keep their slice."""
    return [2 if n >= 8 else 1 for n in grid]


def _cells(grid: Sequence[int], strides: Sequence[int]) -> int:
    cells = 1
    for n, stride in zip(grid, strides, strict=True):
        cells *= n // stride
    return cells


def _groups(channels: int) -> tuple[str, dict[str, int]]:
    """GroupNorm rather than BatchNorm: a scan's embedding must not depend on the batch it came in."""
    groups = next(n for n in range(max(1, channels // 8), 0, -1) if channels % n == 0)
    return ("GROUP", {"num_groups": groups})
