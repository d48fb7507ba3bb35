"""Divide a batch over several ranks, and gather their results.

A rank is one process of a training. All ranks run the same loop, each on its share of every batch. Their embeddings
are gathered together with the gradients, every rank computes the loss of the whole batch, and the gradients are
averaged over the ranks. The backward pass through the gathering adds up the losses of all ranks, so that average is
the gradient of a single loss. Training with any number of ranks therefore takes the steps that a single rank would
take, apart from rounding. A single rank has the whole batch and gathers nothing.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siamese_med.errors import SiameseMedError
from siamese_med.study.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STORE_VARIABLE = "SIAMESE_MED_STORE"
"""Environment variable with the file through which the ranks of a single host find each other.

The default of torch would listen on the network.
"""
RANK_TIMEOUT = timedelta(hours=6)
"""Longest wait of a rank for another one, which may still be writing sources; ended ranks are noticed at once."""


def launch_fabric(config: TrainConfig) -> Fabric:
    """Set up the device, the precision and the connection to the other ranks.

    With several ranks this process must have been started by torchrun.

    Parameters
    ----------
    config
        Accelerator, devices, hosts and precision.

    Returns
    -------
    Fabric
        Launched `lightning_fabric.Fabric`.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    if config.ranks == 1:
        alone = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
        alone.launch()
        return alone
    # buffers are the atlas, which does not change, or statistics, of which those of rank 0 are kept
    strategy = DDPStrategy(timeout=RANK_TIMEOUT, broadcast_buffers=False)
    together = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.hosts,
        precision=config.precision,
        strategy=strategy,
    )
    if STORE_VARIABLE in os.environ:
        _join_by_file(Path(os.environ[STORE_VARIABLE]), together.device)
    together.launch()
    return together


def _join_by_file(store: Path, device: torch.device) -> None:
    """Join the other ranks of this host by a file; Lightning takes the group that is there."""
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    meeting = torch.distributed.FileStore(str(store), count)  # type: ignore[attr-defined]
    torch.distributed.init_process_group(backend, store=meeting, rank=rank, world_size=count, timeout=RANK_TIMEOUT)


def broadcast_weights(network: nn.Module, fabric: Fabric) -> None:
    """Copy the weights and buffers of rank 0 to every rank, in place.

    Ranks on different processors may have rounded them differently, for example in the fit of the atlas.

    Parameters
    ----------
    network
        Network with the same tensors on all ranks.
    fabric
        Connection to the other ranks.
    """
    if fabric.world_size == 1:
        return
    for tensor in network.state_dict().values():
        there = tensor.to(fabric.device).contiguous()
        torch.distributed.broadcast(there, 0)
        tensor.copy_(there)


def find_rank_positions(count: int, fabric: Any) -> NDArray[np.int64]:
    """Return the positions of the items of a batch that belong to this rank.

    All shares have the same length, so the last ones may begin again with the first items of the batch.

    Parameters
    ----------
    count
        Number of items in the batch.
    fabric
        Gives `world_size` and `global_rank`.

    Returns
    -------
    ndarray
        Positions (s,) with s = ceil(count / world_size).

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> find_rank_positions(5, SimpleNamespace(world_size=2, global_rank=1)).tolist()
    [3, 4, 0]
    """
    if fabric.world_size == 1:
        return np.arange(count)
    length = -(-count // fabric.world_size)
    return np.asarray((fabric.global_rank * length + np.arange(length)) % count)


def find_repeated_positions(count: int, fabric: Any) -> NDArray[np.bool_]:
    """Mark which of this rank's positions repeat an item of another rank and must not count twice: (s,), bool.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> find_repeated_positions(5, SimpleNamespace(world_size=2, global_rank=1)).tolist()
    [False, False, True]
    """
    length = len(find_rank_positions(count, fabric))
    return np.asarray(fabric.global_rank * length + np.arange(length) >= count)


def gather_rows(rows: Tensor, count: int, fabric: Any) -> Tensor:
    """Gather the rows of all ranks in the order of the batch, with gradients.

    Parameters
    ----------
    rows
        Rows (s, ...) at this rank's positions, see `find_rank_positions`.
    count
        Number of rows of the whole batch.
    fabric
        Connection to the other ranks.

    Returns
    -------
    Tensor
        All rows (count, ...).
    """
    if fabric.world_size == 1:
        return rows
    gathered: Tensor = fabric.all_gather(rows, sync_grads=rows.requires_grad)
    return gathered.flatten(0, 1)[:count]


def sum_over_ranks(parts: Tensor, fabric: Any) -> Tensor:
    """Add up a tensor over all ranks, with gradients.

    Parameters
    ----------
    parts
        Tensor of one shape on all ranks.
    fabric
        Connection to the other ranks.

    Returns
    -------
    Tensor
        The sum, the same on every rank.
    """
    if fabric.world_size == 1:
        return parts
    gathered: Tensor = fabric.all_gather(parts, sync_grads=parts.requires_grad)
    return gathered.sum(0)


def broadcast_values(values: tuple[float, ...], fabric: Any) -> tuple[float, ...]:
    """Return the values of rank 0 on every rank, so that all ranks take the same decisions, such as when to stop."""
    if fabric.world_size == 1:
        return values
    return tuple(fabric.all_gather(torch.tensor(values, dtype=torch.float64))[0].tolist())


def require_same_checkpoint(value: int, fabric: Any) -> None:
    """Raise SiameseMedError if ranks resume from different checkpoints, since their hosts then do not share one folder.

    Parameters
    ----------
    value
        Step or epoch that this rank resumes from.
    fabric
        Connection to the other ranks.
    """
    if broadcast_values((value,), fabric) != (value,):
        raise SiameseMedError(
            "the hosts see different checkpoints: the data folder must be the same shared folder on all of them"
        )
