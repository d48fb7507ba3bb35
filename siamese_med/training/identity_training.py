"""Identity training: early stopping on validation patients and one checkpoint for each epoch.

Every epoch draws from a generator seeded by (seed, epoch), so a resumed run repeats exactly what an uninterrupted one
does. Several ranks (see `siamese_med.training.distributed`) share every batch, and each of them takes the same steps.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from siamese_med.errors import NotEnoughDataError
from siamese_med.network import atlas
from siamese_med.network.atlas import MeanSubtraction
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, embed_learned_parts, fit_edge_descriptor
from siamese_med.runtime import files
from siamese_med.runtime.progress import show_progress
from siamese_med.study.config import TrainConfig
from siamese_med.training import augmentation, batch_sampling, change_training, encoder_bundle, rank_batches
from siamese_med.training.batch_transforms import BATCH_SUBJECT, IMAGE, PLACE, strip_meta

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from siamese_med.training.synthetic_follow_ups import ChangeSource

    Pairs = Sequence[tuple[int, int]]
    Sources = tuple[Sequence[ChangeSource], Sequence[ChangeSource]]


IDENTITY_CHECKPOINT = "checkpoint.pt"
CHECKPOINT_FILES = (IDENTITY_CHECKPOINT, change_training.CHANGE_CHECKPOINT)
"""Files that training leaves in its folder to go on from after a kill."""


@dataclass(frozen=True)
class TrainingEpoch:
    """One line of the training log: mean losses, AUC of all validation pairs, duration, number of training pairs."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    seconds: float
    pairs: int


@dataclass
class TrainingProgress:
    """Progress of training: the epochs of identity training and the validations of the change head.

    `marked_pairs` is the number of pairs with marked changes that the change head learned from.
    """

    log: list[TrainingEpoch] = field(default_factory=list)
    practised: list[change_training.ChangeValidation] = field(default_factory=list)
    marked_pairs: int = 0

    @property
    def best(self) -> TrainingEpoch:
        """The epoch with the lowest validation loss; the first one where several are equal."""
        return min(self.log, key=lambda epoch: epoch.validation_loss)

    def finished(self, config: TrainConfig) -> bool:
        """Return whether all epochs are done, or the last `patience` of them brought no improvement."""
        done = len(self.log)
        return done >= config.epochs or (done > 0 and done - 1 - self.best.epoch >= config.patience)


def train_network(
    train: ScanDataset,
    validation: ScanDataset,
    pairs: tuple[Pairs, Pairs] | None,
    config: TrainConfig,
    folder: Path,
    sources: Sources | None = None,
    bar: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = show_progress,
) -> tuple[SiameseNetwork, TrainingProgress]:
    """Train a network, or resume from the checkpoints in `folder`; return that of the best epoch, on the CPU.

    `pairs` are same-patient and different-patient pairs as positions in `train`; `sampling = "pairs"` needs them.
    `sources` of training and of validation patients are what the change head learns from. Then the backbone learns from
    them alone, because identity training rewards ignoring change; without them it learns from identity.
    `bar` is opened with a title and the number of steps, and is called with the number of steps that are done.

    Raises NotEnoughDataError where `train` or `validation` has too few scans or patients.
    """
    require_pairs(train, validation)
    fabric = rank_batches.launch_fabric(config)
    torch.manual_seed(config.seed)
    network = SiameseNetwork(config, atlas.fit_atlas(train)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    fit_edge_descriptor(network, train)
    encoder_bundle.load_initial_weights(network, folder)
    rank_batches.broadcast_weights(network, fabric)
    practised: list[change_training.ChangeValidation] = []
    with bar("training", count_training_steps(config, sources)) as advance:
        if sources:
            practised = change_training.train_change_head(network, sources, config, folder, fabric, advance)
        if sources or isinstance(network.atlas, MeanSubtraction):  # a plain view is not seen by the trunk
            network.trunk.requires_grad_(False)
        network.change.requires_grad_(False)
        network, progress = _train_identity(network, fabric, train, validation, pairs, config, folder, advance)
    marked = sum(source.marked for source in sources[0]) if sources else 0
    return network, replace(progress, practised=practised, marked_pairs=marked)


def _train_identity(
    network: SiameseNetwork,
    fabric: Fabric,
    train: ScanDataset,
    validation: ScanDataset,
    pairs: tuple[Pairs, Pairs] | None,
    config: TrainConfig,
    folder: Path,
    advance: Callable[[int], None],
) -> tuple[SiameseNetwork, TrainingProgress]:
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=config.learning_rate, weight_decay=config.weight_decay)
    model, wrapped = fabric.setup(network, optimizer)
    progress = _restore(folder, network, optimizer)
    rank_batches.require_same_checkpoint(len(progress.log), fabric)
    best = _best_weights(folder)
    advance(len(progress.log) * config.steps_per_epoch)
    while not progress.finished(config):
        epoch = _run_epoch(len(progress.log), fabric, model, wrapped, train, validation, pairs, config, advance)
        progress.log.append(epoch)
        if progress.best is epoch:
            best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if fabric.is_global_zero:
            _save(folder, network, optimizer, best, progress)
    network.load_state_dict(best)
    if fabric.is_global_zero:
        _write_log(folder, progress.log)
    return network.cpu().eval(), progress


def count_training_steps(config: TrainConfig, sources: Sources | None) -> int:
    """Count the steps of a whole training: those of the change head, where there are sources, and those of identity."""
    return (config.change_steps if sources else 0) + config.epochs * config.steps_per_epoch


def require_pairs(train: ScanDataset, validation: ScanDataset) -> None:
    """Raise NotEnoughDataError unless both datasets have two patients, one of them with two scans."""
    for name, cohort in (("training", train), ("validation", validation)):
        counts = np.bincount(cohort.labels) if len(cohort.volumes) else np.zeros(1)
        if len(counts) < 2 or counts.max() < 2:
            raise NotEnoughDataError(
                f"{name} has {len(cohort.volumes)} scans of {len(counts)} patients: at least two patients are needed, "
                "one of them with two scans; ingest more, or score with an existing model (--model)"
            )


def _run_epoch(
    number: int,
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    train: ScanDataset,
    validation: ScanDataset,
    pairs: tuple[Pairs, Pairs] | None,
    config: TrainConfig,
    advance: Any,
) -> TrainingEpoch:
    started = time.perf_counter()
    torch.manual_seed(config.seed * 100_003 + number)
    augment = augmentation.build_augmentation(config)
    losses, seen = [], 0
    model.train()
    for step, batch in enumerate(_batches(train, pairs, config, np.random.default_rng([config.seed, number]))):
        _set_rate(optimizer, config, number * config.steps_per_epoch + step)
        mine = rank_batches.find_rank_positions(len(batch.scans), fabric)
        scans = fabric.to_device(train.load_batch(batch.scans[mine], model.atlas.box))
        labels = fabric.to_device(torch.from_numpy(train.labels[batch.scans]))
        explicit = None if batch.pairs is None else tuple(fabric.to_device(torch.from_numpy(p)) for p in batch.pairs)
        augment.set_random_state(config.seed * 1_000_003 + number * 10_007 + step)
        drawn = augment({**scans, BATCH_SUBJECT: train.labels[batch.scans], PLACE: mine})
        embeddings = rank_batches.gather_rows(model(strip_meta(drawn[IMAGE])), len(labels), fabric)
        loss = model.recipe(embeddings, labels, explicit)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        seen += len(batch.scans) * (len(batch.scans) - 1) // 2 if batch.pairs is None else 2 * len(batch.pairs[0])
        advance(1)
    loss, auc = rank_batches.broadcast_values(_validate(model, validation, fabric), fabric)
    return TrainingEpoch(number, float(np.mean(losses)), loss, auc, time.perf_counter() - started, seen)


def _batches(
    train: ScanDataset, pairs: tuple[Pairs, Pairs] | None, config: TrainConfig, rng: np.random.Generator
) -> Iterator[batch_sampling.ScanBatch]:
    if config.sampling == "pairs" and pairs is not None:
        size = config.patients_per_batch * config.scans_per_patient
        return batch_sampling.sample_by_pairs(*pairs, size, config.steps_per_epoch, rng)
    return batch_sampling.sample_by_patient(
        list(train.labels), config.patients_per_batch, config.scans_per_patient, config.steps_per_epoch, rng
    )


def _set_rate(optimizer: Any, config: TrainConfig, step: int) -> None:
    """Linear warm-up over twenty steps, then a cosine down to zero at the last step."""
    total = config.epochs * config.steps_per_epoch
    rate = config.learning_rate * min(1.0, (step + 1) / 20) * 0.5 * (1 + float(np.cos(np.pi * step / total)))
    for group in optimizer.param_groups:
        group["lr"] = rate


def _validate(model: Any, validation: ScanDataset, fabric: Fabric) -> tuple[float, float]:
    """Loss and AUC over all pairs of the validation scans, without augmentation."""
    from sklearn.metrics import roc_auc_score

    mine = validation.part(rank_batches.find_rank_positions(len(validation.volumes), fabric))
    embeddings = rank_batches.gather_rows(embed_learned_parts(model, mine), len(validation.volumes), fabric)
    labels = torch.from_numpy(validation.labels)
    device = next(model.parameters()).device
    with torch.inference_mode():
        loss = float(model.recipe(embeddings.to(device), labels.to(device), None))
        first, second = torch.triu_indices(len(labels), len(labels), 1)
        distance = model.recipe.distance(embeddings[first].to(device), embeddings[second].to(device)).cpu()
    return loss, float(roc_auc_score(labels[first] == labels[second], -distance))


def _save(
    folder: Path,
    network: SiameseNetwork,
    optimizer: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
    progress: TrainingProgress,
) -> None:
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": best,
        "log": [asdict(epoch) for epoch in progress.log],
    }
    with files.replace_atomically(folder / IDENTITY_CHECKPOINT) as temporary:
        torch.save(state, temporary)


def _restore(folder: Path, network: SiameseNetwork, optimizer: torch.optim.Optimizer) -> TrainingProgress:
    path = folder / IDENTITY_CHECKPOINT
    if not path.is_file():
        return TrainingProgress()
    state = torch.load(path, weights_only=True)  # tensors and plain values alone, no code
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return TrainingProgress([TrainingEpoch(**epoch) for epoch in state["log"]])


def _best_weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / IDENTITY_CHECKPOINT
    best: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["best"] if path.is_file() else {}
    return best


def _write_log(folder: Path, log: Sequence[TrainingEpoch]) -> None:
    with files.replace_atomically(folder / "training_log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(TrainingEpoch.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in log)
