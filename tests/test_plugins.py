"""Plug-ins by name, from a package outside the tree: found, called, checked, described, and refused in one line."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from siamese_med import plugins, testing
from siamese_med.errors import ConfigError, PluginError
from siamese_med.ingestion import scan_checks, verdict_rules
from siamese_med.network import encoder, losses
from siamese_med.plugins import describe_plugin, find_plugin, import_plugin
from siamese_med.runtime import parallel
from siamese_med.scoring.change.detectors import PluginDetector
from siamese_med.study.config import Config, IngestConfig, TrainConfig, load_config
from siamese_med.study.config_text import as_toml, effective_values
from siamese_med.study.plugin_names import BUILT_IN, PluginKind
from siamese_med.training.plugin_transform import wrap_plugin
from tests import plugin_package
from tests.plugin_package import NAMES
from tests.registered_pairs import make_pair

BROKEN = '''
import torch
from torch import nn


class Wrong(nn.Module):
    """Of no use as an encoder or a loss."""

    def __init__(self, embedding=8):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, *given):
        return torch.zeros(3)


class PerBatch(nn.Module):
    def __init__(self, embedding, channels):
        super().__init__()
        self.layer = nn.Linear(channels, embedding)

    def forward(self, scans):
        return self.layer(scans.mean((2, 3, 4)) - scans.mean())


class Flat(nn.Module):
    def forward(self, embeddings, labels, pairs):
        return embeddings.sum() * 0


def unsigned(pair, spacing_mm):
    return (pair.b - pair.a).abs()


def later(pair, spacing_mm):
    return pair.b - pair.b.mean()


def small(pair, spacing_mm):
    return pair.a[1:]


def failing(pair, spacing_mm):
    raise ValueError("no luck\\nat all")


def one(pair):
    return pair.a


def still(moving, fixed):
    return [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def mirrored(moving, fixed):
    return [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def unseeded(scan, generator):
    return scan + torch.rand(1)


def nothing(scan, generator):
    return scan


def wordless(scan):
    return False


def taken(scan):
    return False


def dividing(scan):
    return 1 / 0 > 1


taken.word, taken.hint = "too_large", "a word of siamese-med's own"
dividing.word, dividing.hint = "divided", "a check that fails"
NUMBER = 7
'''
"""Plug-ins that break their contracts."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package of docs/plugins.md, with one module more, on the path of this process."""
    folder = plugin_package.write_package(tmp_path_factory.mktemp("elsewhere"))
    (folder / "my_plugins" / "broken.py").write_text(BROKEN)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_plugins"]:
        del sys.modules[name]
    import_plugin.cache_clear()


@pytest.fixture
def installed(package: Path) -> Iterator[Path]:
    """The same package with its entry points declared."""
    plugin_package.declare_entry_points(package)
    importlib.invalidate_caches()
    yield package
    shutil.rmtree(package / "my_plugins-1.dist-info")
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in BUILT_IN.items() for name in names], ids="-".join
)
def test_every_built_in_name_leads_to_an_object(kind: PluginKind, name: str) -> None:
    plugin = find_plugin(kind, name)
    assert plugin.built_in
    assert callable(import_plugin(plugin))
    assert plugins.identify_plugin(plugin) == ""


def test_the_examples_of_the_page_pass_their_checks(package: Path) -> None:
    assert package
    testing.check_encoder(NAMES["encoders"], width=4)
    testing.check_loss(NAMES["losses"])
    testing.check_transform(NAMES["transforms"], strength=0.2)
    testing.check_transform("my_plugins.batch_transforms:RandGaind", strength=0.2)
    testing.check_detector(NAMES["detectors"], width_mm=12.0)
    testing.check_registration(NAMES["registrations"])
    testing.check_reason(NAMES["reasons"], fewest_values=16)


@pytest.mark.long
def test_what_is_built_in_passes_too() -> None:
    testing.check_encoder("compact")
    testing.check_loss("supcon")
    testing.check_detector("residual")
    testing.check_detector("pretrained")
    testing.check_registration("correlation_ratio")


def test_networks_and_losses_and_transforms_of_others_need_no_code() -> None:
    wanted = {"spatial_dims": 3, "in_channels": "$channels", "out_channels": "$embedding"}
    testing.check_encoder("monai.networks.nets:DenseNet121", **wanted)
    testing.check_loss("pytorch_metric_learning.losses:CircleLoss", m=0.4, gamma=80)
    testing.check_transform("monai.transforms:RandGaussianNoise", prob=0.5, std=0.1)
    testing.check_transform("monai.transforms:RandGibbsNoised", keys="image", prob=0.3, alpha=[0.0, 0.5])


@pytest.mark.parametrize(
    ("check", "name", "words"),
    [
        ("encoder", "Wrong", "must be (2, 8)"),
        ("encoder", "PerBatch", "alone than in a batch"),
        ("loss", "Wrong", "one finite number"),
        ("loss", "Flat", "no lower for patients that are told apart"),
        ("detector", "unsigned", "does not flip its sign"),
        ("detector", "later", "not zero for a scan with itself"),
        ("detector", "small", "must be a tensor of (24, 20, 22)"),
        ("detector", "failing", "failed (ValueError: no luck)"),
        ("detector", "one", "too many positional arguments"),
        ("registration", "still", "a turned and shifted scan"),
        ("registration", "mirrored", "mirrors the scan"),
        ("transform", "unseeded", "something else for the same seed"),
        ("transform", "nothing", "left the scan as it was"),
        ("reason", "wordless", "needs a `word` of its own"),
        ("reason", "taken", "needs a `word` of its own"),
        ("reason", "dividing", "ZeroDivisionError"),
    ],
)
def test_a_broken_plug_in_is_told_in_one_line(package: Path, check: str, name: str, words: str) -> None:
    assert package
    with pytest.raises(AssertionError) as caught:
        getattr(testing, f"check_{check}")(f"my_plugins.broken:{name}")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_object_is_checked_as_well_as_its_name(package: Path) -> None:
    assert package
    module = importlib.import_module("my_plugins.detectors")
    testing.check_detector(module.local_difference)
    with pytest.raises(AssertionError, match="at the top of a module"):
        testing.check_detector(lambda pair, spacing_mm: pair.b - pair.a)  # noqa: ARG005


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("nowhere.nets:Net", {}, "there is no module nowhere: install its package"),
        ("my_plugins.nets:Net", {}, "there is no module my_plugins.nets"),
        ("my_plugins.encoders:Net", {}, "Net is not in it"),
        ("my_plugins.broken:NUMBER", {}, "cannot be called"),
        ("my_plugins.encoders:SmallEncoder", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("my_plugins.encoders:SmallEncoder", {"width": "wide"}, "could not be made (TypeError"),
        ("my_plugins.encoders:SmallEncoder", {"width": "$depth"}, "known are $channels, $embedding, $grid"),
        ("my_plugins.encoders:nn", {}, "cannot be called"),
    ],
)
def test_what_is_wrong_with_a_name_or_its_arguments_is_told(
    package: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    assert package
    config = TrainConfig(encoder=name, encoder_args=arguments)
    with pytest.raises(PluginError, match=re.escape(words)) as caught:
        encoder.build_encoder(config, 1, (16, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('train.encoder = "resnet11"', "give one of compact, resnet10, resnet18, densenet121, monai, bundle, or"),
        ('train.loss = "tripplet"', "'train.loss' names no loss ('tripplet')"),
        ('train.transform = "noise"', "give 'package.module:object'"),
        ('score.detector = "my-detectors"', "give one of auto, residual, pretrained, network, or"),
        ("ingest.reasons = { noisy = {} }", "names no reason ('noisy')"),
        ("train.encoder_args = { width = nan }", "should be a finite number"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_configuration(tmp_path: Path, setting: str, words: str) -> None:
    (tmp_path / "config.toml").write_text(setting)
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(tmp_path / "config.toml")


def test_built_in_choices_leave_no_trace_in_digests_and_models() -> None:
    config = Config()
    written = config.model_dump(mode="json")
    assert "encoder_args" not in written["train"]
    assert "detector" not in written["score"]
    assert effective_values(config)["score"]["detector"] == "auto"
    assert (config.train.fingerprint(), config.score.calibration_fingerprint()) == ("b69c2289b306", "195e501e64a7")
    assert plugins.named_plugins(config) == ()


def test_a_configuration_with_plug_ins_can_be_printed_and_read_back(tmp_path: Path) -> None:
    config = Config.model_validate(tomllib.loads(plugin_package.whole_config()))
    (tmp_path / "printed.toml").write_text(as_toml(config))
    assert load_config(tmp_path / "printed.toml") == config
    assert len(plugins.named_plugins(config)) == 6


def test_an_entry_point_is_a_name(installed: Path) -> None:
    assert installed
    plugin = find_plugin(PluginKind.DETECTOR, "my-detectors", {"width_mm": 9.0})
    assert plugin.target == NAMES["detectors"]
    assert Config.model_validate({"score": {"detector": "my-detectors"}})
    testing.check_detector("my-detectors", width_mm=9.0)
    record = describe_plugin(plugin)
    assert (record.package, record.version, record.arguments) == (
        "my-plugins",
        plugin_package.VERSION,
        {"width_mm": 9.0},
    )


def test_name_version_code_and_arguments_make_the_identity(installed: Path) -> None:
    def identity(width: int = 4) -> str:
        importlib.invalidate_caches()
        return plugins.identify_plugin(find_plugin(PluginKind.ENCODER, NAMES["encoders"], {"width": width}))

    first, other = identity(), identity(5)
    plugin_package.declare_entry_points(installed, "1.3")
    newer = identity()
    plugin_package.declare_entry_points(installed)
    file = installed / "my_plugins" / "encoders.py"
    text = file.read_text()
    file.write_text(f"{text}\n# changed\n")
    edited = identity()
    file.write_text(text)
    assert len({first, other, newer, edited}) == 4
    assert identity() == first


def test_a_detector_travels_by_name(package: Path) -> None:
    assert package
    plugin = find_plugin(PluginKind.DETECTOR, NAMES["detectors"])
    assert pickle.loads(pickle.dumps(PluginDetector(plugin, 2.0))) == PluginDetector(plugin, 2.0)
    assert b"local_difference" in pickle.dumps(PluginDetector(plugin, 2.0))


def test_a_detector_is_imported_by_worker_processes(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert package
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    detector = PluginDetector(find_plugin(PluginKind.DETECTOR, NAMES["detectors"], {"width_mm": 9.0}), 2.0)
    found = list(parallel.run_in_parallel(detected, [detector] * parallel.MIN_PARALLEL_JOBS, "detecting"))
    assert os.getpid() not in {process for process, _ in found}
    assert {figure for _, figure in found} == {detected(detector)[1]}


def detected(detector: PluginDetector) -> tuple[int, float]:
    """Which process this is, and what the detector sees in a pair with a bright spot."""
    a = torch.ones(8, 8, 8)
    b = a.clone()
    b[3:5, 3:5, 3:5] = 2.0
    pair = make_pair(a, b, a > 0, 3.0)
    return os.getpid(), float(detector(pair, 3.0).max())


def test_a_transform_does_not_depend_on_the_other_scans_of_a_batch(package: Path) -> None:
    assert package
    change = wrap_plugin(find_plugin(PluginKind.TRANSFORM, NAMES["transforms"])).set_random_state(seed=5)
    scans, subjects = torch.rand(4, 1, 6, 6, 6), ["a", "a", "b", "b"]
    together = change({"image": scans, "subject": subjects})["image"]
    shares = [{"image": scans[part], "batch_subject": subjects, "place": part} for part in ([0, 1], [2, 3])]
    apart = [change(share)["image"] for share in shares]
    assert torch.equal(torch.cat(apart), together)
    assert not torch.equal(together, scans)


def test_the_distance_goes_with_a_loss_of_others() -> None:
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    names = {"pytorch_metric_learning.losses:CircleLoss": 0.0, "my.own:Loss": 2.0}
    built = losses.build_loss(TrainConfig(embedding_size=2, loss=next(iter(names))))
    own = losses.PluginLoss(torch.nn.Identity())
    for recipe, distance in zip((built, own), names.values(), strict=True):
        assert float(recipe.distance(a, b)) == pytest.approx(distance, abs=1e-5)


def test_a_check_decides_about_scans_again_when_it_changes(package: Path) -> None:
    assert package
    configs = [IngestConfig(reasons={NAMES["reasons"]: {"fewest_values": n}}) for n in (8, 16)]
    assert len({verdict_rules.compute_rules_digest(config) for config in (IngestConfig(), *configs)}) == 3
    assert verdict_rules.scan_depends_on_rules((), (20, 20, 20), configs[0], "name")
    assert not verdict_rules.scan_depends_on_rules((), (20, 20, 20), IngestConfig(), "name")
    assert set(scan_checks.own_hints(configs[0])) == {"label_map"}
