"""Any network of `monai.networks.nets` as the encoder of identity, by configuration alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from siamese_med.network.monai_networks import INPUT_CHANNELS, NETWORKS, pad_to_multiple, refuse_pretrained

BUILDERS = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "ResNetFeatures")
"""Names allowed beside the classes of `monai_networks.NETWORKS`, for the same reason: nothing is opened."""


class MonaiEncoder(nn.Module):
    """A network of MONAI, whose features are averaged over space and projected to the embedding.

    Parameters
    ----------
    embedding
        Length of the embedding.
    channels, grid
        Channels and voxels (i, j, k) of the input.
    network
        Name of a class or function in `monai.networks.nets`, such as `SwinUNETR`: of NETWORKS or BUILDERS, since the
        name may come from an untrusted model folder. Any other network is a plug-in.
    part
        Submodule whose output is taken, such as `swinViT` of SwinUNETR; None for that of the whole network. The rest
        of the network is dropped.
    multiple
        The input is padded with zeros until each axis is a multiple of so many voxels.
    arguments
        Arguments of the network. `spatial_dims` is 3, the channels of the input are filled in, and `pretrained` is
        false: nothing is fetched from anywhere.

    Raises
    ------
    ValueError
        There is no such network or part, or what it gives is not (b, features, ...).

    Examples
    --------
    >>> small = {"init_features": 8, "growth_rate": 4, "block_config": [1, 1], "out_channels": 8}
    >>> encoder = MonaiEncoder(8, 3, (16, 16, 16), network="DenseNet121", arguments=small)
    >>> encoder(torch.zeros(2, 3, 16, 16, 16)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        embedding: int,
        channels: int,
        grid: Sequence[int],
        network: str,
        arguments: Mapping[str, Any] | None = None,
        part: str | None = None,
        multiple: int = 1,
    ) -> None:
        super().__init__()
        self.multiple = multiple
        made = _build_network(network, channels, arguments or {})
        self.network = made if part is None else _find_part(made, network, part)
        with torch.no_grad():
            size = self.eval()._compute_features(torch.zeros(2, channels, *grid)).shape[1]
        self.train()
        self.projection = nn.Linear(size, embedding)

    def forward(self, departures: Tensor) -> Tensor:
        """Return the embeddings (b, e) of departures from the atlas (b, c, i, j, k)."""
        embeddings: Tensor = self.projection(self._compute_features(departures))
        return embeddings

    def _compute_features(self, departures: Tensor) -> Tensor:
        found = self.network(pad_to_multiple(departures, self.multiple))
        while isinstance(found, list | tuple):  # several stages: the last one is the coarsest
            found = found[-1]
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(departures):
            raise ValueError("the network does not give features (b, c, ...): name a part of it that does")
        return found.flatten(2).mean(2) if found.ndim > 2 else found


def _build_network(name: str, channels: int, arguments: Mapping[str, Any]) -> nn.Module:
    from monai.networks import nets

    if name not in (*NETWORKS, *BUILDERS):
        given = ", ".join((*NETWORKS, *BUILDERS))
        raise ValueError(f"'{name[:80]}' cannot be named here: give one of {given}, or a plug-in")
    refuse_pretrained(arguments)
    make: Callable[..., Any] = getattr(nets, name)
    known = inspect.signature(make).parameters
    usual = {"spatial_dims": 3, "pretrained": False, **dict.fromkeys(INPUT_CHANNELS, channels)}
    made = make(**{**{key: value for key, value in usual.items() if key in known}, **arguments})
    if not isinstance(made, nn.Module):
        raise ValueError(f"monai.networks.nets.{name} is no network")
    return made


def _find_part(network: nn.Module, name: str, part: str) -> nn.Module:
    try:
        return network.get_submodule(part)
    except AttributeError:
        parts = ", ".join(child for child, _ in network.named_children())
        raise ValueError(f"{name} has no part '{part}': give one of {parts}") from None
