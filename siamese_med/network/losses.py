"""Losses of the identity head, each with the distance that it learns; four are built in, others are plug-ins.

Losses and miners are those of pytorch-metric-learning. Each takes (embeddings, labels, pairs), where `pairs` are the
indices (a1, positive, a2, negative) of explicit pairs, or None for all pairs of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from siamese_med.errors import PluginError
from siamese_med.plugins import Plugin, build_plugin, find_plugin, plugin_failure
from siamese_med.study.config import TrainConfig
from siamese_med.study.plugin_names import PluginKind

if TYPE_CHECKING:
    Pairs = tuple[Tensor, Tensor, Tensor, Tensor] | None


class MetricLoss(nn.Module):
    """A loss on embeddings, and the distance that goes with it.

    The distance is 0 for a scan with itself, and the same both ways. Subclasses implement `forward`, and `unit` where
    embeddings are normalised before they are compared.
    """

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        """Return the mean loss of a batch (b, e) with patient labels (b,)."""
        raise NotImplementedError

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each row of `a` (n, e) to the same row of `b` (n, e), as (n,)."""
        return (self.unit(a) - self.unit(b)).square().sum(-1).sqrt()

    def distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each row of `a` (n, e) to each row of `b` (m, e), as (n, m)."""
        apart: Tensor = torch.cdist(self.unit(a), self.unit(b))
        return apart

    def unit(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings as the distance takes them; here, as they are."""
        return embeddings


class SupervisedContrastiveLoss(MetricLoss):
    """The supervised contrastive loss on all pairs of a batch; embeddings lie on the unit sphere.

    References
    ----------
    Khosla et al., Supervised contrastive learning, NeurIPS 2020.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        from pytorch_metric_learning.losses import SupConLoss

        self.loss: Any = SupConLoss(temperature=config.temperature)

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels, pairs)
        return loss

    def unit(self, embeddings: Tensor) -> Tensor:
        return nn.functional.normalize(embeddings, dim=-1)


class PairContrastiveLoss(MetricLoss):
    """The contrastive loss: it pulls the scans of a patient together, and pushes others beyond `train.margin`.

    References
    ----------
    Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping, CVPR 2006.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import ContrastiveLoss

        self.loss: Any = ContrastiveLoss(
            pos_margin=0, neg_margin=config.margin, distance=LpDistance(normalize_embeddings=False)
        )

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels, pairs)
        return loss


class MinedTripletLoss(MetricLoss):
    """The triplet loss, with a smooth hinge, on the triplets that a miner picks: batch-hard or semi-hard.

    References
    ----------
    Schroff et al., FaceNet, CVPR 2015 (semi-hard). Hermans et al., In defense of the triplet loss, 2017 (batch-hard).
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner

        distance = LpDistance(normalize_embeddings=False)
        self.loss: Any = TripletMarginLoss(margin=config.margin, distance=distance, smooth_loss=True)
        self.miner: Any = (
            BatchHardMiner(distance=distance)
            if config.miner == "batch_hard"
            else TripletMarginMiner(margin=config.margin, distance=distance, type_of_triplets="semihard")
        )

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels, pairs if pairs is not None else self.miner(embeddings, labels))
        return loss


class PairCrossEntropyLoss(MetricLoss):
    """Binary cross-entropy on a sigmoid of the weighted |a - b|; pairs of one and of two patients weigh the same.

    References
    ----------
    Koch, Zemel and Salakhutdinov, Siamese neural networks for one-shot image recognition, 2015.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.head = nn.Linear(config.embedding_size, 1)
        # near is the same and far is different from the first step on, or the head learns for as long as the encoder
        nn.init.constant_(self.head.weight, -2 / config.embedding_size**0.5)
        nn.init.constant_(self.head.bias, 1.0)

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        anchors, positives, others, negatives = pairs if pairs is not None else _all_pairs(labels)
        same = self.head((embeddings[anchors] - embeddings[positives]).abs())
        different = self.head((embeddings[others] - embeddings[negatives]).abs())
        return (nn.functional.softplus(-same).mean() + nn.functional.softplus(different).mean()) / 2

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return -nn.functional.linear((a - b).abs(), self.head.weight)[..., 0]

    def distances(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([self.distance(row.expand_as(b), b) for row in a])


def _all_pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    same = labels[first] == labels[second]
    return first[same], second[same], first[~same], second[~same]


class PluginLoss(MetricLoss):
    """A loss of a plug-in, such as any of pytorch-metric-learning's, with the Euclidean distance.

    Embeddings are normalised first where the loss does so: by its `distance.normalize_embeddings`, as
    pytorch-metric-learning has it, or by a method `unit` of its own.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss: Any = loss

    def forward(self, embeddings: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels, pairs)
        return loss

    def unit(self, embeddings: Tensor) -> Tensor:
        own = getattr(self.loss, "unit", None)
        if own is not None:
            seen: Tensor = own(embeddings)
            return seen
        normalised = getattr(getattr(self.loss, "distance", None), "normalize_embeddings", False)
        return nn.functional.normalize(embeddings, dim=-1) if normalised else embeddings


def build_loss(config: TrainConfig) -> MetricLoss:
    """Build the loss that the configuration names.

    Raises
    ------
    PluginError
        A plug-in cannot be made, or does not turn embeddings (b, e), labels (b,) and None into one finite number. It is
        tried on four embeddings.

    Examples
    --------
    >>> loss = build_loss(TrainConfig(recipe="contrastive", embedding=2))
    >>> loss.distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]]))
    tensor([5.])
    """
    plugin = find_plugin(PluginKind.LOSS, config.loss, config.loss_args)
    if plugin.built_in:
        recipe: MetricLoss = build_plugin(plugin, config=config)
        return recipe
    return _checked(build_plugin(plugin, embedding=config.embedding_size), plugin, config.embedding_size)


def _checked(made: object, plugin: Plugin, embedding: int) -> MetricLoss:
    if not isinstance(made, nn.Module):
        raise PluginError(f"{plugin} is a {type(made).__name__}: it must be a torch.nn.Module")
    recipe = made if isinstance(made, MetricLoss) else PluginLoss(made)
    apart = torch.linspace(-1, 1, 4 * embedding).sin().reshape(4, embedding)
    try:
        with torch.no_grad():
            loss = recipe(apart, torch.tensor([0, 0, 1, 1]), None)
    except Exception as error:
        raise plugin_failure(plugin, error) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not bool(loss.isfinite().all()):
        raise PluginError(f"{plugin} gives {loss!r:.80} for four embeddings: it must give one finite number")
    return recipe
