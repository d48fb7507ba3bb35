"""The losses by hand on a few 2-D vectors, and what holds for every distance."""

from __future__ import annotations

import math

import pytest
import torch

from siamese_med.network import losses
from siamese_med.study.config import TrainConfig

EMBEDDINGS = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.6, 0.0], [0.0, 2.0]])
LABELS = torch.tensor([0, 0, 1, 1])
PAIR = (torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0]), torch.tensor([2]))
"""Scans 0 and 1 are of one patient, 5 apart; 0 and 2 of two, 0.6 apart. The library gives a single pair no loss."""
RECIPES = ("supcon", "bce", "contrastive", "triplet")


def built(recipe: str, **settings: object) -> losses.MetricLoss:
    return losses.build_loss(TrainConfig.model_validate({"loss": recipe, "embedding_size": 2, **settings}))


def test_contrastive_is_the_distance_of_the_same_and_the_hinge_of_the_different() -> None:
    loss = built("contrastive", margin=1.0)(EMBEDDINGS, LABELS, PAIR)
    assert float(loss) == pytest.approx(5.0 + (1.0 - 0.6), abs=1e-5)


def test_contrastive_leaves_different_patients_beyond_the_margin_alone() -> None:
    pair = (torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([3, 3]))
    loss = built("contrastive", margin=1.5)(EMBEDDINGS, LABELS, pair)
    assert float(loss) == pytest.approx(0.0, abs=1e-3)


def test_cross_entropy_is_that_of_a_sigmoid_on_the_weighted_difference() -> None:
    recipe = losses.PairCrossEntropyLoss(TrainConfig(loss="bce", embedding_size=2))
    head = recipe.head
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-0.5, -0.25]]))
        head.bias.fill_(1.0)
    same, different = 1.0 - 0.5 * 3 - 0.25 * 4, 1.0 - 0.5 * 0.6
    expected = (-math.log(1 / (1 + math.exp(-same))) - math.log(1 - 1 / (1 + math.exp(-different)))) / 2
    assert float(recipe(EMBEDDINGS, LABELS, PAIR).detach()) == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_on_a_batch_takes_all_its_pairs() -> None:
    recipe = built("bce")
    first, second = torch.tensor([0, 2]), torch.tensor([1, 3])
    others, negatives = torch.tensor([0, 0, 1, 1]), torch.tensor([2, 3, 2, 3])
    explicit = recipe(EMBEDDINGS, LABELS, (first, second, others, negatives))
    assert float(recipe(EMBEDDINGS, LABELS, None).detach()) == pytest.approx(float(explicit.detach()), abs=1e-6)


def test_triplet_is_the_softplus_of_near_minus_far_on_the_hardest_triplets() -> None:
    distance = torch.cdist(EMBEDDINGS, EMBEDDINGS)
    hardest = [
        distance[0, 1] - distance[0, 2],
        distance[1, 0] - distance[1, 3],
        distance[2, 3] - distance[2, 0],
        distance[3, 2] - distance[3, 0],
    ]
    expected = sum(math.log1p(math.exp(float(value) + 0.2)) for value in hardest) / 4
    loss = built("triplet", margin=0.2, miner="batch_hard")(EMBEDDINGS, LABELS, None)
    assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_supervised_contrastive_is_the_log_share_of_the_own_patient() -> None:
    unit = torch.nn.functional.normalize(EMBEDDINGS + 0.1, dim=1)
    logits = unit @ unit.T / 0.5
    logits.fill_diagonal_(-torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    expected = -(log_share[0, 1] + log_share[1, 0] + log_share[2, 3] + log_share[3, 2]) / 4
    loss = built("supcon", temperature=0.5)(EMBEDDINGS + 0.1, LABELS, None)
    assert float(loss) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_distance_of_a_scan_with_itself_is_zero_and_the_order_does_not_matter(recipe: str) -> None:
    chosen = built(recipe, embedding_size=16)
    a, b = torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert chosen.distance(a, a).abs().max() == 0
        assert torch.equal(chosen.distance(a, b), chosen.distance(b, a))
        assert (chosen.distance(a, b) > 0).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_down_the_loss_brings_the_same_together_against_the_different(recipe: str) -> None:
    chosen = built(recipe)
    embeddings = (EMBEDDINGS + 0.5).requires_grad_(True)
    chosen(embeddings, LABELS, None).backward()
    assert embeddings.grad is not None
    moved = (embeddings - 0.05 * embeddings.grad).detach()
    with torch.no_grad():
        assert chosen(moved, LABELS, None) < chosen(embeddings, LABELS, None)
