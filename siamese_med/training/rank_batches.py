"""What each of several ranks does of a batch, and how the parts become whole again.

A rank is one process of a training. All run the same loop, each on its share of every batch. What they find is gathered
with its gradients, every rank takes the loss of the whole batch, and gradients are averaged over the ranks: the way
back through the gathering adds up all ranks' losses, so the average is the gradient of one. So as many ranks as one
likes take the steps that a single one would, but for rounding. A single rank has everything and gathers nothing.
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
"""Names the file by which the ranks of a single host find each other: torch's other way listens to the network."""
RANK_TIMEOUT = timedelta(hours=6)
"""How long a rank waits for another one: who is gone is noticed at once, and who lays out sources is not gone."""


def launch_fabric(config: TrainConfig) -> Fabric:
    """Device, precision, and the other ranks where there are some; with these the process must be one of torchrun's."""
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
    """Give every rank the tensors of rank 0, since another kind of processor may have rounded them differently."""
    if fabric.world_size == 1:
        return
    for tensor in network.state_dict().values():
        there = tensor.to(fabric.device).contiguous()
        torch.distributed.broadcast(there, 0)
        tensor.copy_(there)


def find_rank_positions(count: int, fabric: Any) -> NDArray[np.int64]:
    """Which of `count` things are this rank's; all shares are of one length, so some begin again with the first."""
    if fabric.world_size == 1:
        return np.arange(count)
    length = -(-count // fabric.world_size)
    return np.asarray((fabric.global_rank * length + np.arange(length)) % count)


def find_repeated_positions(count: int, fabric: Any) -> NDArray[np.bool_]:
    """Which of this rank's places are somebody else's too, and count there."""
    length = len(find_rank_positions(count, fabric))
    return np.asarray(fabric.global_rank * length + np.arange(length) >= count)


def gather_rows(rows: Tensor, count: int, fabric: Any) -> Tensor:
    """Gather the rows (s, ...) of each rank's positions as all rows (count, ...), in order, with gradients."""
    if fabric.world_size == 1:
        return rows
    gathered: Tensor = fabric.all_gather(rows, sync_grads=rows.requires_grad)
    return gathered.flatten(0, 1)[:count]


def sum_over_ranks(parts: Tensor, fabric: Any) -> Tensor:
    """The sum over all ranks, with gradients."""
    if fabric.world_size == 1:
        return parts
    gathered: Tensor = fabric.all_gather(parts, sync_grads=parts.requires_grad)
    return gathered.sum(0)


def broadcast_values(values: tuple[float, ...], fabric: Any) -> tuple[float, ...]:
    """The values that rank 0 has, so that no rank stops before the others."""
    if fabric.world_size == 1:
        return values
    return tuple(fabric.all_gather(torch.tensor(values, dtype=torch.float64))[0].tolist())


def require_same_checkpoint(value: int, fabric: Any) -> None:
    """Raise SiameseMedError where ranks go on from different checkpoints."""
    if broadcast_values((value,), fabric) != (value,):
        raise SiameseMedError(
            "the hosts see different checkpoints: the data folder must be the same shared folder on all of them"
        )
