"""The change head's training: on patches of synthesised follow-ups, with a checkpoint now and then.

What is kept is a running mean of the weights, as it is where validation patients' patches speak for it; that may be
where training began. Every step draws from a generator seeded by (seed, step), so a resumed run repeats what an
unbroken one does; where several ranks share a step, every patch has a generator of its own, so that nobody has to make
the patches of the others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_med import files
from siamese_med.config import TrainConfig
from siamese_med.network import head, shares, synthesis
from siamese_med.network.head import Watcher
from siamese_med.network.siamese import Siamese
from siamese_med.network.synthesis import Batch, Source

CHECK_EVERY = 100
"""Steps between two looks at the validation patches, and between two checkpoints."""
CHECKED_BATCHES = 32
WARM_UP = 50
RARE = 4.0
"""What a changed voxel counts for above an unchanged one."""
FEW_VOXELS = 20.0
"""Keeps the overlap of patches with hardly a changed voxel from jumping."""
CHECKPOINT = "change.pt"


@dataclass(frozen=True)
class Check:
    """One line of the log; losses are means since the last."""

    step: int
    train_loss: float
    validation_loss: float


def fit(
    network: Siamese,
    sources: tuple[Sequence[Source], Sequence[Source]],
    config: TrainConfig,
    folder: Path,
    fabric: Any,
    advance: Callable[[int], None],
) -> list[Check]:
    """Train trunk and change head in place on sources of training patients; checked on those of validation patients."""
    learning, checking = sources
    parts = network.watcher
    parts.to(fabric.device)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=config.change_rate, weight_decay=1e-3)
    state = _restored(folder, parts, optimizer) or _begun(parts, checking, config, fabric)
    shares.require_same(state["step"], fabric)
    model = fabric.strategy.setup_module(parts)  # averages gradients over the ranks; one rank's is `parts` itself
    losses: list[float] = []
    advance(state["step"])
    for step in range(state["step"], config.change_steps):
        _set_rate(optimizer, config, step)
        losses.append(_step(model, parts, optimizer, _made(learning, config, step, fabric), fabric))
        _average(state["mean"], parts, step)
        advance(1)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == config.change_steps:
            _check(state, parts, checking, config, fabric, step + 1, float(np.mean(losses)))
            if fabric.is_global_zero:
                _save(folder, state, parts, optimizer)
            losses = []
    parts.load_state_dict(state["best"])
    log = [Check(**line) for line in state["log"]]
    if fabric.is_global_zero:
        _write_log(folder, log)
    return log


def _made(sources: Sequence[Source], config: TrainConfig, step: int, fabric: Any) -> Batch:
    """This rank's patches of a step; what is another rank's too has no weight here."""
    seed, count = [config.seed, 11, step], config.change_patches
    if fabric.world_size == 1:
        return synthesis.batch(sources, count, np.random.default_rng(seed))
    mine = [synthesis.batch(sources, 1, np.random.default_rng([*seed, int(n)])) for n in shares.places(count, fabric)]
    made = Batch(*(torch.cat(part) for part in zip(*(vars(patch).values() for patch in mine), strict=True)))
    made.weight[torch.from_numpy(shares.surplus(count, fabric))] = 0
    return made


def _step(model: Any, parts: Watcher, optimizer: torch.optim.Optimizer, made: Batch, fabric: Any) -> float:
    loss = _loss(shares.total(_sums(model, parts, made, fabric), fabric))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _sums(model: Any, parts: Watcher, made: Batch, fabric: Any) -> Tensor:
    """What the loss is made of, as sums over voxels, so that shares of a batch can be added: (6,).

    Weighed cross-entropy and weight; then common and whole volume of what is darker, and of what is brighter.
    """
    earlier, later, inside, truth, weight = (fabric.to_device(part) for part in vars(made).values())
    logits = parts.change.logits(model(earlier, later, head.deviations(earlier, later, inside)))
    entropy = functional.cross_entropy(logits, (truth[:, 0] + 1).long(), reduction="none")[:, None]
    sums = [(entropy * weight * (1 + RARE * truth.abs())).sum(), weight.sum()]
    likely = logits.softmax(1)
    for n in (0, 2):
        found, true = likely[:, n : n + 1] * weight, (truth == n - 1) * weight
        sums += [(found * true).sum(), (found + true).sum()]
    return torch.stack(sums)


def _loss(sums: Tensor) -> Tensor:
    """Cross-entropy of darker, unchanged, brighter, with changed voxels counting more, and the soft Dice of both."""
    entropy, weight, *overlaps = sums
    missed = [1 - _overlap(*overlaps[:2]), 1 - _overlap(*overlaps[2:])]
    loss: Tensor = 5 * (entropy / weight.clamp(min=1)) + (missed[0] + missed[1]) / 2
    return loss


def _overlap(common: Tensor, both: Tensor) -> Tensor:
    """Soft Dice coefficient (Milletari et al., 3DV 2016)."""
    share: Tensor = (2 * common + FEW_VOXELS) / (both + FEW_VOXELS)
    return share


def _check(
    state: dict[str, Any],
    parts: Watcher,
    sources: Sequence[Source],
    config: TrainConfig,
    fabric: Any,
    step: int,
    train_loss: float,
) -> None:
    """Measure the running mean of the weights on the validation patches, and keep it if it is the best so far."""
    now = {name: tensor.clone() for name, tensor in parts.state_dict().items()}
    parts.load_state_dict(state["mean"])
    loss = _validation_loss(parts, sources, config, fabric)
    parts.load_state_dict(now)
    state["step"] = step
    state["log"].append(asdict(Check(step, train_loss, loss)))
    if loss <= min(line["validation_loss"] for line in state["log"]):
        state["best"] = {name: tensor.clone() for name, tensor in state["mean"].items()}


def _validation_loss(parts: Watcher, sources: Sequence[Source], config: TrainConfig, fabric: Any) -> float:
    """Mean over batches that are the same every time, of which every rank takes some."""
    with torch.inference_mode():
        mine = [
            float(_loss(_sums(parts, parts, synthesis.batch(sources, config.change_patches, rng), fabric)))
            for rng in (
                np.random.default_rng([config.seed, 12, int(number)])
                for number in shares.places(CHECKED_BATCHES, fabric)
            )
        ]
    losses = shares.whole(torch.tensor(mine, dtype=torch.float64), CHECKED_BATCHES, fabric)
    return shares.agreed((float(np.mean(losses.tolist())),), fabric)[0]


def _begun(parts: Watcher, sources: Sequence[Source], config: TrainConfig, fabric: Any) -> dict[str, Any]:
    weights = {name: tensor.clone() for name, tensor in parts.state_dict().items()}
    loss = _validation_loss(parts, sources, config, fabric)
    return {"step": 0, "mean": weights, "best": dict(weights), "log": [asdict(Check(0, loss, loss))]}


def _average(mean: dict[str, Tensor], parts: Watcher, step: int) -> None:
    """Exponential running mean that starts as a plain one."""
    share = min(0.99, (step + 1) / (step + 21))
    for name, tensor in parts.state_dict().items():
        mean[name].mul_(share).add_(tensor, alpha=1 - share)


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    """Linear warm-up, then a cosine down to nothing at the last step."""
    rate = config.change_rate * min(1.0, (step + 1) / WARM_UP)
    for group in optimizer.param_groups:
        group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / config.change_steps))


def _save(folder: Path, state: dict[str, Any], parts: Watcher, optimizer: torch.optim.Optimizer) -> None:
    with files.replacing(folder / CHECKPOINT) as temporary:
        torch.save({**state, "parts": parts.state_dict(), "optimizer": optimizer.state_dict()}, temporary)


def _restored(folder: Path, parts: Watcher, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True)  # tensors and plain values alone, no code
    parts.load_state_dict(state.pop("parts"))
    optimizer.load_state_dict(state.pop("optimizer"))
    return state


def _write_log(folder: Path, log: Sequence[Check]) -> None:
    with files.replacing(folder / "change_log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(Check.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(line) for line in log)
