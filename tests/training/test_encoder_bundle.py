"""A MONAI bundle of others as the encoder: what is taken from it, and what is refused."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from siamese_med.errors import PluginError
from siamese_med.network import atlas, monai_networks
from siamese_med.network.bundle_encoder import BundleEncoder, build_bundle_encoder, build_described_network
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.study.config import TrainConfig
from siamese_med.training import encoder_bundle, identity_training

UNET = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2}
UNET |= {"channels": [4, 8, 8], "strides": [2, 2], "norm": "batch"}
GRID = (24, 24, 18)


def make_bundle(folder: Path, description: dict[str, Any] | None = None, **others: object) -> nn.Module:
    """Write a bundle as the makers of others do; returns its network."""
    torch.manual_seed(3)
    network = nets.UNet(**{key: value for key, value in UNET.items() if key != "_target_"})
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    content = {"network_def": UNET if description is None else description, **others}
    (folder / "configs" / "inference.json").write_text(json.dumps(content))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return network


def settings(folder: Path, **others: object) -> TrainConfig:
    given = {"encoder": "bundle", "encoder_args": {"bundle": str(folder)}, "embedding_size": 8, "width": 8, **others}
    return TrainConfig.model_validate(given)


def refusal(folder: Path) -> str:
    with pytest.raises(PluginError) as caught:
        encoder_bundle.read_bundle_encoder(settings(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_recorded_is_the_network_and_a_digest_of_its_weights_and_no_path(tmp_path: Path) -> None:
    make_bundle(tmp_path / "a")
    make_bundle(
        tmp_path / "b", {**UNET, "in_channels": "@channels", "_target_": "monai.networks.nets.UNet"}, channels=1
    )
    found = [encoder_bundle.read_bundle_encoder(settings(tmp_path / name))[0].encoder_args for name in "ab"]
    assert found[0]["network"] == UNET
    assert found[1]["network"] == {**UNET, "_target_": "monai.networks.nets.UNet"}
    assert found[0]["weights_sha256"] == found[1]["weights_sha256"]
    assert str(tmp_path) not in json.dumps(found)


@pytest.mark.parametrize("key", [None, *encoder_bundle.NESTED_STATES])
def test_weights_are_found_where_checkpoints_hold_them(tmp_path: Path, key: str | None) -> None:
    network = make_bundle(tmp_path)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "models" / "model.pt")
    assert encoder_bundle.read_bundle_encoder(settings(tmp_path))[1]


def test_training_begins_with_the_weights_of_the_bundle_and_keeps_those_that_it_does_not_use(
    cohort: ScanDataset, brief: TrainConfig, tmp_path: Path
) -> None:
    source = make_bundle(tmp_path / "bundle")
    named = {"encoder": "bundle", "encoder_args": {"bundle": str(tmp_path / "bundle")}}
    config, weights = encoder_bundle.read_bundle_encoder(brief.model_copy(update=named))
    assert weights is not None
    (tmp_path / encoder_bundle.INITIAL_WEIGHTS_FILE).write_bytes(weights)
    trained, _ = identity_training.train_network(cohort, cohort, None, config, tmp_path)
    assert isinstance(trained.encoder, BundleEncoder)
    before, after = source.state_dict(), trained.encoder.network.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved
    assert all(name.startswith(("model.0.", "model.1.submodule.0.", "model.1.submodule.1.")) for name in moved)
    assert not any("running" in name for name in moved)
    assert max(float((before[name] - after[name]).abs().max()) for name in moved) < 0.5  # not drawn anew


def test_a_model_is_loaded_without_the_bundle(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    config, _ = encoder_bundle.read_bundle_encoder(settings(tmp_path))
    frame = atlas.build_empty_atlas((24, 24, 24), ((0, 24), (0, 24), (3, 21)))
    saved = SiameseNetwork(config, frame).eval()
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = SiameseNetwork(TrainConfig.model_validate_json(config.model_dump_json()), frame).eval()
    again.load_state_dict(saved.state_dict())
    scan = torch.rand(1, 1, *GRID)
    with torch.inference_mode():
        assert torch.equal(again(scan), saved(scan))


def test_a_model_of_a_stranger_that_names_a_bundle_does_not_get_it_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path)
    opened: list[Path] = []
    monkeypatch.setattr(Path, "read_text", lambda self, **_: opened.append(self) or "")
    with pytest.raises(PluginError):
        SiameseNetwork(settings(tmp_path), atlas.build_empty_atlas((24, 24, 24), ((0, 24), (0, 24), (3, 21))))
    assert opened == []


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "models" / "model.pt")
    assert "holds no plain tensors" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_torchscript_is_not_loaded(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    (tmp_path / "models" / "model.pt").rename(tmp_path / "models" / "model.ts")
    assert "TorchScript is not loaded" in refusal(tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        *("os.mkdir", "monai.networks.nets.get_pretrained_resnet_medicalnet", "resnet18", "torch.nn.Linear", ""),
        *("monai.networks.nets.unet.UNet", "__builtins__", "nets.UNet", "HoVerNet", "CellSamWrapper", "$UNet"),
    ],
)
def test_only_networks_of_monai_that_open_nothing_are_made(tmp_path: Path, target: str) -> None:
    make_bundle(tmp_path, {**UNET, "_target_": target})
    assert "must name one of" in refusal(tmp_path)


@pytest.mark.parametrize(
    "value", ["$__import__('os').mkdir('ran')", "@nowhere", ["$1"], {"_target_": "torch.nn.ReLU"}, {"a": ["%x.json"]}]
)
def test_expressions_are_not_evaluated(tmp_path: Path, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path, {**UNET, "act": value})
    assert "only plain values are taken" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(nets.densenet, "_load_state_dict", lambda *found: asked.append(found))
    described = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "pretrained": True}
    nets.DenseNet121(**described)
    assert len(asked) == 1
    build_described_network({"_target_": "DenseNet121", **described})
    assert len(asked) == 1


def test_all_networks_that_may_be_named_are_there_and_take_no_file_or_address() -> None:
    for name in monai_networks.NETWORKS:
        parameters = inspect.signature(getattr(nets, name)).parameters
        assert [one for one in parameters if re.search(r"url|file|folder|^checkpoint|weights|state_dict", one)] == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "configs" / "inference.json").unlink(), "has no network_def"),
        (lambda folder: (folder / "configs" / "inference.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "configs" / "inference.json").write_text('{"network_def": 3}'), "has no network_def"),
        (lambda folder: (folder / "models" / "model.pt").write_bytes(b"\x80"), "holds no plain tensors"),
        (lambda folder: torch.save([1], folder / "models" / "model.pt"), "holds no state dict"),
        (lambda folder: torch.save({"a": torch.zeros(1)}, folder / "models" / "model.pt"), "do not fit"),
    ],
)
def test_a_bundle_that_is_none_is_refused_in_one_line(tmp_path: Path, spoil: Any, said: str) -> None:
    make_bundle(tmp_path)
    spoil(tmp_path)
    assert said in refusal(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = make_bundle(tmp_path).state_dict()
    next(iter(state.values())).view(-1)[0] = float("nan")
    torch.save(state, tmp_path / "models" / "model.pt")
    assert "NaN" in refusal(tmp_path)


def test_without_a_bundle_one_line_says_how_to_name_it() -> None:
    with pytest.raises(PluginError, match="FOLDER"):
        encoder_bundle.read_bundle_encoder(TrainConfig(encoder="bundle"))


@pytest.mark.parametrize(
    "network",
    [
        {"_target_": "DenseNet", "spatial_dims": 3, "in_channels": 2, "out_channels": 5, "block_config": [1]},
        {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 4, "out_channels": 3, "init_filters": 8},
        {"_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3]}
        | {"strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]},
    ],
    ids=lambda one: str(one["_target_"]),
)
def test_networks_of_several_kinds_give_embeddings_that_do_not_depend_on_the_batch(network: dict[str, Any]) -> None:
    encoder = build_bundle_encoder(8, 1, GRID, network).train()
    scans = torch.rand(3, 1, *GRID)
    assert encoder(scans).shape == (3, 8)
    assert torch.allclose(encoder(scans)[:1], encoder(scans[:1]), atol=1e-5)
    assert isinstance(encoder, BundleEncoder)
    assert any(weight.requires_grad for weight in encoder.network.parameters())


def test_a_network_for_images_of_two_dimensions_is_refused() -> None:
    with pytest.raises(PluginError, match="does not take an input of"):
        build_bundle_encoder(8, 1, GRID, {**UNET, "spatial_dims": 2})
