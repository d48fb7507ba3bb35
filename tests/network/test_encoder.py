"""Every encoder gives embeddings of the configured length, for every grid it is offered."""

from __future__ import annotations

import pytest
import torch

from siamese_med.config import TrainConfig
from siamese_med.network import augmentation
from siamese_med.network.siamese import Siamese


@pytest.mark.parametrize("shape", [(32, 32, 32), (24, 28, 20), (8, 8, 1), (33, 17, 5), (64, 64, 12)])
def test_the_compact_encoder_takes_any_grid_down_to_one_slice(shape: tuple[int, int, int]) -> None:
    network = Siamese(TrainConfig(width=8, embedding=5), shape)
    assert network(torch.rand(2, 1, *shape)).shape == (2, 5)


@pytest.mark.parametrize("encoder", ["resnet10", "densenet121"])
def test_the_encoders_of_monai_fit_in(encoder: str) -> None:
    config = TrainConfig.model_validate({"encoder": encoder, "embedding": 5})
    with torch.inference_mode():
        assert Siamese(config, (32, 32, 32)).eval()(torch.rand(2, 1, 32, 32, 32)).shape == (2, 5)


def test_an_embedding_does_not_depend_on_the_batch_it_came_in() -> None:
    network = Siamese(TrainConfig(width=8, embedding=5), (16, 16, 16))
    scans = torch.rand(3, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(scans)[:1], network(scans[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 8, 1)])
def test_augmentation_keeps_the_grid_and_follows_its_seed(shape: tuple[int, int, int]) -> None:
    scan = torch.rand(1, *shape)
    drawn = []
    for seed in (0, 0, 1):
        transform = augmentation.build(1.0, shape)
        transform.set_random_state(seed=seed)
        drawn.append(torch.stack([torch.as_tensor(transform(scan.clone())) for _ in range(4)]))
    assert drawn[0].shape == (4, 1, *shape)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_no_augmentation_leaves_a_scan_as_it_is() -> None:
    scan = torch.rand(1, 16, 16, 16)
    assert torch.equal(torch.as_tensor(augmentation.build(0, (16, 16, 16))(scan)), scan)
