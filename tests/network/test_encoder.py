"""Every encoder gives embeddings of the configured length, for every grid it is offered."""

from __future__ import annotations

import pytest
import torch

from siamese_med.network import atlas, encoder
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.study.config import TrainConfig


def whole(config: TrainConfig, shape: tuple[int, int, int]) -> SiameseNetwork:
    """A network that looks at the whole grid."""
    return SiameseNetwork(config, atlas.build_empty_atlas(shape, tuple((0, n) for n in shape)))


@pytest.mark.parametrize("shape", [(32, 32, 32), (24, 28, 20), (8, 8, 1), (33, 17, 5), (64, 64, 12)])
def test_the_compact_encoder_takes_any_grid_down_to_one_slice(shape: tuple[int, int, int]) -> None:
    network = whole(TrainConfig(width=8, embedding_size=5), shape)
    assert network(torch.rand(2, 1, *shape)).shape == (2, 5)


@pytest.mark.parametrize("encoder", ["resnet10", "densenet121"])
def test_the_encoders_of_monai_fit_in(encoder: str) -> None:
    config = TrainConfig.model_validate({"encoder": encoder, "embedding_size": 5})
    with torch.inference_mode():
        assert whole(config, (64, 64, 64)).eval()(torch.rand(2, 1, 64, 64, 64)).shape == (2, 5)


def test_an_embedding_does_not_depend_on_the_batch_it_came_in() -> None:
    network = whole(TrainConfig(width=8, embedding_size=5), (16, 16, 16))
    scans = torch.rand(3, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(scans)[:1], network(scans[:1]), atol=1e-5, rtol=1e-4)


def test_before_training_the_compact_encoder_keeps_the_distances_of_what_it_is_given() -> None:
    torch.manual_seed(0)
    compact = encoder.build_encoder(TrainConfig(width=8, embedding_size=512), 4, (16, 16, 16))
    coarse = torch.randn(12, 4, 8, 8, 8)
    departures = torch.nn.functional.interpolate(coarse, scale_factor=2)  # nothing is lost by halving
    with torch.inference_mode():
        kept = torch.pdist(compact(departures)) / torch.pdist(coarse.flatten(1))
    assert kept.std() / kept.mean() < 0.1
