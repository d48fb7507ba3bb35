"""An encoder made of the network of a MONAI bundle: what it sees in a scan, projected to the embedding.

A network is described as in the `network_def` of a bundle: `_target_` names a class of `monai.networks.nets`, one of
NETWORKS, the rest are its arguments. Nothing else is made, and nothing that it describes is evaluated, downloaded or
opened, since a model folder from elsewhere holds such a description too. `training.encoder_bundle` reads it from a
bundle, with the weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from siamese_med.errors import PluginError
from siamese_med.network.monai_networks import INPUT_CHANNELS, NETWORKS, pad_to_multiple

BUNDLE_ENCODER = "bundle"
"""The name of this encoder in `train.encoder`."""
MODULE = "monai.networks.nets"
CELLS = 4
"""Cells along each axis to which features are averaged, so that the embedding knows where something is."""
MULTIPLE = 32
"""The input is padded with zeros to a multiple of this, since networks halve it up to five times."""


def build_bundle_encoder(
    embedding: int, channels: int, grid: Sequence[int], network: JsonValue = None, weights_sha256: str | None = None
) -> nn.Module:
    """Build an encoder from the description of a MONAI network, with fresh weights.

    Parameters
    ----------
    embedding
        Length of the embedding.
    channels, grid
        Channels and voxels (i, j, k) of the input.
    network
        The description, see `build_described_network`. Training takes it from the bundle.
    weights_sha256
        Digest of the weights that training begins with; recorded, so that other weights make another model.

    Raises
    ------
    PluginError
        It describes none of NETWORKS, or one that does not take such an input.

    Examples
    --------
    >>> sizes = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "block_config": [1]}
    >>> encoder = build_bundle_encoder(8, 2, (16, 16, 16), {"_target_": "DenseNet", **sizes})
    >>> encoder(torch.zeros(3, 2, 16, 16, 16)).shape
    torch.Size([3, 8])
    """
    del weights_sha256
    if network is None:
        raise PluginError('train.encoder = "bundle" needs a bundle: train.encoder_args = { bundle = "FOLDER" }')
    described = build_described_network(network)
    return BundleEncoder(described, embedding, channels, grid, _count_inputs(network) or channels)


def _count_inputs(description: JsonValue) -> int | None:
    """The channels that a described network takes, where it says so."""
    values = [description.get(name) for name in INPUT_CHANNELS] if isinstance(description, dict) else []
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def build_described_network(description: JsonValue) -> nn.Module:
    """Make the network of a description, with fresh weights; raises PluginError where it must not or cannot be made.

    Parameters
    ----------
    description
        `_target_`: one of NETWORKS, with or without the prefix `monai.networks.nets`. The rest: arguments, which
        are numbers, texts, lists and objects. `pretrained` is always false: nothing is downloaded.
    """
    if not isinstance(description, dict) or not isinstance(description.get("_target_"), str):
        raise PluginError("network_def of the bundle has no _target_: it must name a network of monai.networks.nets")
    name = str(description["_target_"]).removeprefix(f"{MODULE}.")
    made = _find_network_class(name)
    arguments = {key: value for key, value in description.items() if key != "_target_"}
    if wrong := _find_expression(arguments):
        raise PluginError(f"network_def of the bundle has {wrong[:80]!r}: only plain values are taken, no expressions")
    if "pretrained" in arguments or "pretrained" in inspect.signature(made).parameters:
        arguments["pretrained"] = False
    try:
        return made(**arguments)
    except Exception as error:
        raise PluginError(f"network_def of the bundle makes no {name} ({type(error).__name__}): correct it") from error


def _find_network_class(name: str) -> type[nn.Module]:
    from monai.networks import nets

    if name not in NETWORKS:
        raise PluginError(
            f"network_def of the bundle names {name[:80]!r}: it must name one of {', '.join(NETWORKS)}; "
            "others can be plug-ins, see docs/plugins.md"
        )
    found: type[nn.Module] = getattr(nets, name)
    return found


def _find_expression(value: JsonValue) -> str | None:
    """The first text, at any depth, that MONAI would evaluate or look up."""
    if isinstance(value, str):
        return value if value.startswith(("$", "@", "%")) else None
    if isinstance(value, dict):
        if "_target_" in value:
            return "_target_"
        value = list(value.values())
    return next(filter(None, map(_find_expression, value)), None) if isinstance(value, list) else None


class BundleEncoder(nn.Module):
    """Encoder of a scan: features of a network, averaged over CELLS cells along each axis, projected to the embedding.

    Features are the output of the network if that is a vector, and its coarsest feature map otherwise: the deepest
    layer of a U-Net. Weights that these do not depend on are kept and not trained. The network stays in evaluation
    mode, so that normalisation over the batch keeps the statistics that it was trained with.

    Parameters
    ----------
    network
        The network, (b, inputs, i, j, k) to one tensor or several.
    embedding
        Length of the embedding.
    channels, grid
        Channels and voxels (i, j, k) of the input.
    inputs
        Channels that the network takes; a convolution with a kernel of one voxel makes them where they are others.

    Raises
    ------
    PluginError
        The network does not take such an input.
    """

    def __init__(self, network: nn.Module, embedding: int, channels: int, grid: Sequence[int], inputs: int) -> None:
        super().__init__()
        self.adapter = nn.Identity() if inputs == channels else nn.Conv3d(channels, inputs, 1)
        self.network = network.eval()
        self.layer = _find_coarsest_layer(network, pad_to_multiple(torch.zeros(1, inputs, *grid), MULTIPLE))
        features = self._see(torch.zeros(1, channels, *grid))
        if features.requires_grad:
            features.sum().backward()
        for weight in network.parameters():
            weight.requires_grad_(weight.grad is not None)
            weight.grad = None
        self.adapter.zero_grad()
        self.projection = nn.Linear(features.shape[1], embedding)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the network."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, departures: Tensor) -> Tensor:
        """Return the embeddings (b, e) of departures from the atlas (b, c, i, j, k)."""
        embeddings: Tensor = self.projection(self._see(departures))
        return embeddings

    def _see(self, scans: Tensor) -> Tensor:
        padded = pad_to_multiple(self.adapter(scans), MULTIPLE)
        seen: list[Tensor] = []
        layer = self.network.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            self.network(padded)
        finally:
            handle.remove()
        found = seen[-1]
        return found.flatten(1) if found.ndim == 2 else nn.functional.adaptive_avg_pool3d(found, CELLS).flatten(1)


def _find_coarsest_layer(network: nn.Module, scan: Tensor) -> str:
    """The name of the layer that a network is read at; the network itself, "", where it gives a vector."""
    sizes: dict[str, int] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            sizes[name] = output[0, 0].numel()

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, module in network.named_modules()
    ]
    try:
        with torch.no_grad():
            output = network(scan)
    except Exception as error:
        size = tuple(scan.shape[1:])
        raise PluginError(
            f"the network of the bundle does not take an input of {size}: {_first_line(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if isinstance(output, Tensor) and output.ndim == 2:
        return ""
    if not sizes:
        raise PluginError("the network of the bundle has no feature maps in three dimensions: name another one")
    least = min((size for size in sizes.values() if size > 1), default=1)  # a single voxel is a mean over all of them
    return [name for name, size in sizes.items() if size == least][-1]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
