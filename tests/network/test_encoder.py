"""Every encoder gives embeddings of the configured length, for every grid it is offered."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch

from siamese_med import testing
from siamese_med.errors import PluginError
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


@pytest.mark.parametrize(
    "arguments",
    [
        {"network": "DenseNet121", "arguments": {"init_features": 8, "block_config": [1, 1], "out_channels": 9}},
        {"network": "ResNetFeatures", "arguments": {"model_name": "resnet10"}},
        {"network": "resnet10", "arguments": {"n_input_channels": "$channels", "feed_forward": False}},
        {"network": "SegResNet", "multiple": 8},
        {"network": "UNet", "part": "model.0", "arguments": {"out_channels": 1, "channels": [4, 8], "strides": [2]}},
    ],
    ids=lambda given: given["network"],
)
def test_any_network_of_monai_is_an_encoder_by_its_name(arguments: dict[str, Any]) -> None:
    testing.check_encoder("monai", channels=3, grid=(20, 24, 18), **arguments)


@pytest.mark.long
@pytest.mark.skipif(find_spec("einops") is None, reason="MONAI's Swin transformers need einops: pip install einops")
def test_a_part_of_a_network_of_monai_is_an_encoder() -> None:
    own = {"out_channels": 1, "feature_size": 12}
    swin = {"network": "SwinUNETR", "part": "swinViT", "multiple": 32, "arguments": own}
    testing.check_encoder("monai", channels=3, grid=(20, 24, 18), **swin)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"network": "os"}, "'os' cannot be named here: give one of AttentionUnet"),
        ({"network": "CellSamWrapper"}, "cannot be named here"),
        ({"network": "__loader__"}, "cannot be named here"),
        (
            {"network": "DenseNet121", "arguments": {"out_channels": 2, "pretrained": True}},
            "pretrained weights are not fetched",
        ),
        (
            {"network": "DenseNet121", "arguments": {"out_channels": 2}, "part": "trunk"},
            "give one of features, class_layers",
        ),
        ({"network": "DenseNet121"}, "out_channels"),
        ({}, "network"),
    ],
)
def test_what_cannot_be_a_network_of_monai_is_told_in_one_line(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(PluginError, match=words) as caught:
        encoder.build_encoder(TrainConfig(encoder="monai", encoder_args=arguments), 1, (16, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "densenet121"])
def test_no_built_in_encoder_fetches_weights(name: str) -> None:
    with pytest.raises(PluginError, match="pretrained weights are not fetched"):
        encoder.build_encoder(TrainConfig(encoder=name, encoder_args={"pretrained": True}), 1, (16, 16, 16))


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
