"""Training of the change head on patches of synthetic follow-ups and of marked pairs, with regular checkpoints.

The result is a running mean of the weights, taken at the step with the lowest validation loss; that may be the start
of training. Every step draws from a generator seeded by (seed, step), so a resumed run repeats what an uninterrupted
one does. Where several ranks share a step, every patch has a generator of its own, so that no rank has to make the
patches of the others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.network import change_head
from siamese_med.network.change_head import ChangeNetwork
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import files
from siamese_med.study.config import TrainConfig
from siamese_med.training import rank_batches, synthetic_follow_ups
from siamese_med.training.synthetic_follow_ups import ChangeBatch, ChangeSource

VALIDATION_INTERVAL_STEPS = 100
"""Steps between two validations, each followed by a checkpoint."""
VALIDATION_BATCHES = 32
"""Number of validation batches; they are the same every time."""
WARM_UP_STEPS = 50
"""Steps over which the learning rate rises linearly."""
CHANGED_VOXEL_WEIGHT = 4.0
"""Additional weight of a changed voxel in the cross-entropy, whose other voxels have a weight of 1."""
DICE_SMOOTHING_VOXELS = 20.0
"""Added to both sides of the soft Dice coefficient, to keep it stable in patches with few changed voxels."""
CHANGE_CHECKPOINT = "change.pt"
"""Name of the checkpoint in the training's folder."""


@dataclass(frozen=True)
class ChangeValidation:
    """One line of the training log of the change head.

    Parameters
    ----------
    step
        Steps done.
    train_loss
        Mean training loss since the line before.
    validation_loss
        Loss of the mean weights on the validation patches.
    """

    step: int
    train_loss: float
    validation_loss: float


class _CheckLine(TypedDict):
    """A Check as plain values, which a checkpoint holds."""

    step: int
    train_loss: float
    validation_loss: float


class _State(TypedDict):
    """Progress of training: running mean of the weights, the best mean so far, and the log."""

    step: int
    mean: dict[str, Tensor]
    best: dict[str, Tensor]
    log: list[_CheckLine]


def train_change_head(
    network: SiameseNetwork,
    sources: tuple[Sequence[ChangeSource], Sequence[ChangeSource]],
    config: TrainConfig,
    folder: Path,
    fabric: Any,
    advance: Callable[[int], None],
) -> list[ChangeValidation]:
    """Train the backbone and the change head of a network in place, or resume from the checkpoint in `folder`.

    `sources` are those of training patients, with marked pairs where there are any, and of validation patients.
    `fabric` is Lightning's, see `rank_batches.launch_fabric`. `advance` is called with the number of steps that are
    done.

    Returns the log, whose first line is the loss before training. It is also written to `change_log.csv`.
    """
    learning, checking = sources
    parts = network.watcher
    parts.to(fabric.device)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=config.change_learning_rate, weight_decay=1e-3)
    state = _restored(folder, parts, optimizer) or _initial_state(parts, checking, config, fabric)
    rank_batches.require_same_checkpoint(state["step"], fabric)
    model = fabric.strategy.setup_module(parts)  # averages gradients over the ranks; one rank's is `parts` itself
    losses: list[float] = []
    advance(state["step"])
    for step in range(state["step"], config.change_steps):
        _set_rate(optimizer, config, step)
        losses.append(_train_step(model, parts, optimizer, _draw_rank_batch(learning, config, step, fabric), fabric))
        _update_mean_weights(state["mean"], parts, step)
        advance(1)
        if (step + 1) % VALIDATION_INTERVAL_STEPS == 0 or step + 1 == config.change_steps:
            _validate_mean_weights(state, parts, checking, config, fabric, step + 1, float(np.mean(losses)))
            if fabric.is_global_zero:
                _save(folder, state, parts, optimizer)
            losses = []
    parts.load_state_dict(state["best"])
    log = [ChangeValidation(**line) for line in state["log"]]
    if fabric.is_global_zero:
        _write_log(folder, log)
    return log


def _draw_rank_batch(sources: Sequence[ChangeSource], config: TrainConfig, step: int, fabric: Any) -> ChangeBatch:
    """This rank's patches of a step; patches that another rank has as well get no weight."""
    seed, count = [config.seed, 11, step], config.change_patches
    if fabric.world_size == 1:
        return synthetic_follow_ups.draw_change_batch(
            sources, count, np.random.default_rng(seed), config.change_marked_share
        )
    mine = [
        synthetic_follow_ups.draw_change_batch(
            sources, 1, np.random.default_rng([*seed, int(n)]), config.change_marked_share
        )
        for n in rank_batches.find_rank_positions(count, fabric)
    ]
    made = ChangeBatch(*(torch.cat(part) for part in zip(*(vars(patch).values() for patch in mine), strict=True)))
    made.weight[torch.from_numpy(rank_batches.find_repeated_positions(count, fabric))] = 0
    return made


def _train_step(
    model: Any, parts: ChangeNetwork, optimizer: torch.optim.Optimizer, made: ChangeBatch, fabric: Any
) -> float:
    loss = _loss(rank_batches.sum_over_ranks(_loss_sums(model, parts, made, fabric), fabric))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _loss_sums(model: Any, parts: ChangeNetwork, made: ChangeBatch, fabric: Any) -> Tensor:
    """Compute the parts of the loss as sums over voxels, so that shares of a batch can be added: (6,).

    Weighed cross-entropy and weight; then common and whole volume of what is darker, and of what is brighter.
    """
    earlier, later, inside, truth, weight = (fabric.to_device(part) for part in vars(made).values())
    logits = parts.change.logits(model(earlier, later, change_head.compute_deviations(earlier, later, inside)))
    entropy = functional.cross_entropy(logits, (truth[:, 0] + 1).long(), reduction="none")[:, None]
    sums = [(entropy * weight * (1 + CHANGED_VOXEL_WEIGHT * truth.abs())).sum(), weight.sum()]
    likely = logits.softmax(1)
    for n in (0, 2):
        found, true = likely[:, n : n + 1] * weight, (truth == n - 1) * weight
        sums += [(found * true).sum(), (found + true).sum()]
    return torch.stack(sums)


def _loss(sums: Tensor) -> Tensor:
    """Cross-entropy of darker, unchanged, brighter, with changed voxels counting more, and the soft Dice of both."""
    entropy, weight, *overlaps = sums
    missed = [1 - _soft_dice(*overlaps[:2]), 1 - _soft_dice(*overlaps[2:])]
    loss: Tensor = 5 * (entropy / weight.clamp(min=1)) + (missed[0] + missed[1]) / 2
    return loss


def _soft_dice(common: Tensor, both: Tensor) -> Tensor:
    """Soft Dice coefficient (Milletari et al., 3DV 2016)."""
    share: Tensor = (2 * common + DICE_SMOOTHING_VOXELS) / (both + DICE_SMOOTHING_VOXELS)
    return share


def _validate_mean_weights(
    state: _State,
    parts: ChangeNetwork,
    sources: Sequence[ChangeSource],
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
    state["log"].append({"step": step, "train_loss": train_loss, "validation_loss": loss})
    if loss <= min(line["validation_loss"] for line in state["log"]):
        state["best"] = {name: tensor.clone() for name, tensor in state["mean"].items()}


def _validation_loss(parts: ChangeNetwork, sources: Sequence[ChangeSource], config: TrainConfig, fabric: Any) -> float:
    """Mean over batches that are the same every time, of which every rank takes some."""
    with torch.inference_mode():
        mine = [
            float(
                _loss(
                    _loss_sums(
                        parts,
                        parts,
                        synthetic_follow_ups.draw_change_batch(sources, config.change_patches, rng),
                        fabric,
                    )
                )
            )
            for rng in (
                np.random.default_rng([config.seed, 12, int(number)])
                for number in rank_batches.find_rank_positions(VALIDATION_BATCHES, fabric)
            )
        ]
    losses = rank_batches.gather_rows(torch.tensor(mine, dtype=torch.float64), VALIDATION_BATCHES, fabric)
    return rank_batches.broadcast_values((float(np.mean(losses.tolist())),), fabric)[0]


def _initial_state(parts: ChangeNetwork, sources: Sequence[ChangeSource], config: TrainConfig, fabric: Any) -> _State:
    mean, best = ({name: tensor.clone() for name, tensor in parts.state_dict().items()} for _ in range(2))
    loss = _validation_loss(parts, sources, config, fabric)
    log: list[_CheckLine] = [{"step": 0, "train_loss": loss, "validation_loss": loss}]
    return {"step": 0, "mean": mean, "best": best, "log": log}


def _update_mean_weights(mean: dict[str, Tensor], parts: ChangeNetwork, step: int) -> None:
    """Exponential running mean that starts as a plain one."""
    share = min(0.99, (step + 1) / (step + 21))
    for name, tensor in parts.state_dict().items():
        mean[name].mul_(share).add_(tensor, alpha=1 - share)


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    """Linear warm-up, then a cosine down to zero at the last step."""
    rate = config.change_learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS)
    for group in optimizer.param_groups:
        group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / config.change_steps))


def _save(folder: Path, state: _State, parts: ChangeNetwork, optimizer: torch.optim.Optimizer) -> None:
    with files.replace_atomically(folder / CHANGE_CHECKPOINT) as temporary:
        torch.save({**state, "parts": parts.state_dict(), "optimizer": optimizer.state_dict()}, temporary)


def _restored(folder: Path, parts: ChangeNetwork, optimizer: torch.optim.Optimizer) -> _State | None:
    path = folder / CHANGE_CHECKPOINT
    if not path.is_file():
        return None
    stored = torch.load(path, weights_only=True)  # tensors and plain values alone, no code
    parts.load_state_dict(stored["parts"])
    optimizer.load_state_dict(stored["optimizer"])
    return {"step": stored["step"], "mean": stored["mean"], "best": stored["best"], "log": stored["log"]}


def _write_log(folder: Path, log: Sequence[ChangeValidation]) -> None:
    with files.replace_atomically(folder / "change_log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(ChangeValidation.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(line) for line in log)
