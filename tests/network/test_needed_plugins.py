"""A model that needs plug-ins: what it names is imported only where the user or an installed package says so."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.errors import PluginError
from siamese_med.imaging import volume
from siamese_med.network import atlas, model_folder
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.plugins import describe_plugin, find_plugin, import_plugin, trusted_plugins
from siamese_med.runtime import files
from siamese_med.study.config import Config, TrainConfig
from siamese_med.study.model_info import MODEL_FORMAT
from siamese_med.study.plugin_names import PluginKind
from tests import plugin_package
from tests.plugin_package import NAMES

SHAPE = (24, 24, 24)
BOX = ((0, 24), (0, 24), (3, 21))
TRAIN = TrainConfig(
    width=8, embedding_size=4, encoder=NAMES["encoders"], encoder_args={"width": 4}, loss=NAMES["losses"],
    transform=NAMES["transforms"],
)  # fmt: skip
NEEDED = frozenset((NAMES["encoders"], NAMES["losses"], NAMES["detectors"]))


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """The package of docs/plugins.md on the path, imported by nobody yet."""
    folder = plugin_package.write_package(tmp_path / "elsewhere")
    sys.path.insert(0, str(folder))
    forget()
    yield folder
    sys.path.remove(str(folder))
    forget()


def forget() -> None:
    """Of what was imported."""
    importlib.invalidate_caches()
    import_plugin.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_plugins"]:
        del sys.modules[name]


def imported() -> bool:
    return "my_plugins" in sys.modules


@pytest.fixture
def folder(package: Path, tmp_path: Path) -> Path:
    """A model whose encoder, loss and detector are plug-ins, as far as loading needs it; nothing is imported."""
    path = tmp_path / "model"
    path.mkdir()
    bright = np.random.default_rng(7).uniform(0, 1, SHAPE).astype(np.float32)
    volume.write_volume(path / "template.nii.gz", volume.Volume(bright, volume.make_centred_affine(SHAPE, 8.0)))
    stratum = {"contrast": "MR FLAIR", "scanner": "same scanner", "source": "rescans", "noise_max": 1.0, "beyond": 0.0}
    stratum |= {"figures": [0.1, 0.2, 0.3], "levels": [0.1, 0.1, 0.2], "tail": [0.1, 0.01]}
    named = [
        find_plugin(PluginKind.ENCODER, TRAIN.encoder, TRAIN.encoder_args),
        find_plugin(PluginKind.LOSS, TRAIN.loss),
        find_plugin(PluginKind.DETECTOR, NAMES["detectors"], {"width_mm": 9.0}),
    ]
    about: dict[str, Any] = {
        "id": "softmargin-0",
        "format": MODEL_FORMAT,
        "shape": list(SHAPE),
        "box": [list(edges) for edges in BOX],
        "evidence": {"slope": -1.0, "intercept": 2.0, "alarm": -3.0},
        "config": {"train": TRAIN.model_dump(mode="json"), "score": {"spacing_mm": 6.0, "smoothing_mm": 4.0}},
        "weights_sha256": model_folder.write_weights(path, SiameseNetwork(TRAIN, atlas.build_empty_atlas(SHAPE, BOX))),
        "template_sha256": files.compute_file_digest(path / "template.nii.gz"),
        "calibration": {"slope": -4.0, "intercept": 2.0, "threshold": 0.5, "false_match_rate": 0.01},
        "threshold": 0.5,
        "change": {"detector": NAMES["detectors"]},
        "change_reference": {"strata": [stratum]},
        "growth_reference": {"strata": [stratum]},
        "plugins": [describe_plugin(plugin).model_dump(mode="json") for plugin in named],
    }
    files.write_json_file(path / "model.json", about)
    assert package
    forget()
    return path


def edit(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "model.json").read_text())
    files.write_json_file(folder / "model.json", {**about, **changes})


def refusal(folder: Path, trusted: frozenset[str] = frozenset()) -> str:
    with pytest.raises(PluginError) as caught:
        model_folder.load_model(folder, trusted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_may_not_import_what_nobody_named(folder: Path) -> None:
    said = refusal(folder)
    assert "a model may not import what you did not name" in said
    assert "run.trusted_plugins" in said
    assert not imported()


def test_what_the_configuration_names_is_imported(folder: Path) -> None:
    config = Config.model_validate({"run": {"trusted_plugins": sorted(NEEDED)}})
    assert model_folder.load_model(folder, trusted_plugins(config)).network.training is False
    assert imported()
    assert trusted_plugins(Config(train=TRAIN)) >= {NAMES["encoders"], NAMES["losses"]}


@pytest.mark.parametrize("left_out", sorted(NEEDED))
def test_each_of_them_has_to_be_named(folder: Path, left_out: str) -> None:
    assert left_out in refusal(folder, NEEDED - {left_out})


def test_what_an_installed_package_declares_is_imported(folder: Path, package: Path) -> None:
    edit(folder, plugins=[{**one, "package": "my-plugins", "version": "1.2"} for one in plugins_of(folder)])
    assert not imported()
    plugin_package.declare_entry_points(package)
    importlib.invalidate_caches()
    assert model_folder.load_model(folder).info.change.detector == NAMES["detectors"]


def plugins_of(folder: Path) -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = json.loads((folder / "model.json").read_text())["plugins"]
    return known


def test_without_its_package_one_line_says_what_to_install(folder: Path, package: Path) -> None:
    edit(folder, plugins=[{**one, "package": "my-plugins", "version": "1.2"} for one in plugins_of(folder)])
    sys.path.remove(str(package))
    importlib.invalidate_caches()
    try:
        assert "install my-plugins==1.2" in refusal(folder)
        assert "which is not installed: install my-plugins==1.2" in refusal(folder, NEEDED)
    finally:
        sys.path.insert(0, str(package))


def test_a_short_name_without_its_package_says_what_to_install(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    about["config"]["train"]["encoder"] = "my-encoders"
    record = {**about["plugins"][0], "name": "my-encoders", "package": "my-plugins", "version": "1.2"}
    edit(folder, config=about["config"], plugins=[record, *about["plugins"][1:]])
    assert "no installed package brings: install my-plugins==1.2" in refusal(folder, NEEDED)


def test_another_version_is_refused(folder: Path, package: Path) -> None:
    edit(folder, plugins=[{**one, "package": "my-plugins", "version": "1.2"} for one in plugins_of(folder)])
    plugin_package.declare_entry_points(package, "2.0")
    importlib.invalidate_caches()
    assert "of my-plugins==1.2, and here it is my-plugins 2.0: install my-plugins==1.2" in refusal(folder)


def test_other_code_is_refused(folder: Path, package: Path) -> None:
    file = package / "my_plugins" / "detectors.py"
    file.write_text(f"{file.read_text()}\n# changed\n")
    assert "whose code is not what the model was made with" in refusal(folder, NEEDED)


def test_a_plug_in_without_a_record_is_refused(folder: Path) -> None:
    edit(folder, plugins=plugins_of(folder)[:2])
    assert "has no record of such a plug-in" in refusal(folder, NEEDED)
    assert not imported()


def test_a_record_that_names_something_else_does_not_lead_there(folder: Path) -> None:
    edit(folder, plugins=[{**one, "target": "os:system"} for one in plugins_of(folder)])
    assert "here that name is" in refusal(folder, NEEDED)


def test_a_transform_is_not_needed_to_use_a_model(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    about["config"]["train"]["transform"] = "an-entry-point-of-elsewhere"
    edit(folder, config=about["config"])
    assert model_folder.load_model(folder, NEEDED)


def test_the_plug_in_of_the_detector_belongs_to_the_instrument(folder: Path) -> None:
    loaded = model_folder.load_model(folder, NEEDED)
    others = tuple(
        one.model_copy(update={"version": "9"}) if one.kind is PluginKind.DETECTOR else one
        for one in loaded.info.plugins
    )
    changed = model_folder.TrainedModel(folder, loaded.network, loaded.info.model_copy(update={"plugins": others}))
    assert changed.instrument != loaded.instrument
