"""A model folder is read as it was written, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from siamese_med import files
from siamese_med.config import Config, TrainConfig
from siamese_med.errors import MissingFileError, ModelError
from siamese_med.network import atlas, model
from siamese_med.network.siamese import Siamese

SHAPE = (24, 24, 24)
BOX = ((0, 24), (0, 24), (3, 21))
SMALL = TrainConfig(width=8, embedding=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a model folder as loading needs."""
    torch.manual_seed(7)
    about = {
        "id": "supcon-0",
        "format": model.FORMAT,
        "shape": list(SHAPE),
        "box": [list(edges) for edges in BOX],
        "evidence": {},
        "config": {"train": SMALL.model_dump(mode="json")},
        "weights_sha256": model.write_weights(tmp_path, Siamese(SMALL, atlas.blank(SHAPE, BOX))),
        "calibration": {},
        "threshold": 0.5,
        "change": {},
        "change_reference": {},
        "growth_reference": {},
    }
    files.write_json(tmp_path / "model.json", about)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "model.json").read_text())
    files.write_json(folder / "model.json", {**about, **changes})


def test_a_loaded_network_gives_the_embeddings_of_the_saved_one(folder: Path) -> None:
    torch.manual_seed(7)
    scan = torch.rand(1, 1, 24, 24, 18)
    torch.manual_seed(7)
    saved = Siamese(SMALL, atlas.blank(SHAPE, BOX)).eval()
    loaded = model.load(folder)
    with torch.inference_mode():
        assert torch.equal(loaded.network(scan), saved(scan))
    assert not loaded.network.training
    assert loaded.template == folder / "template.nii.gz"


def test_the_digest_tells_weights_apart_and_nothing_else(tmp_path: Path) -> None:
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(seed)
        digests.append(model.write_weights(tmp_path / str(number), Siamese(SMALL, atlas.blank(SHAPE, BOX))))
    assert digests[0] == digests[1] != digests[2]


def test_no_folder_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        model.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 0}', '{"format": "1"}', "\x00\xff"])
def test_another_format_or_no_model_at_all_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError) as caught:
        model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", model.NEEDED)
def test_a_description_without_what_loading_needs_is_refused_in_one_line(folder: Path, key: str) -> None:
    about = json.loads((folder / "model.json").read_text())
    del about[key]
    files.write_json(folder / "model.json", about)
    with pytest.raises(ModelError) as caught:
        model.load(folder)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        model.load(folder)


def test_tampered_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not those"):
        model.load(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    digest = model.write_weights(folder, Siamese(SMALL.model_copy(update={"width": 16}), atlas.blank(SHAPE, BOX)))
    edit(folder, weights_sha256=digest)
    with pytest.raises(ModelError, match="do not fit") as caught:
        model.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_a_pickle_are_not_opened(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")
    edit(folder, weights_sha256=files.digest(folder / "model.safetensors"))
    with pytest.raises(ModelError):
        model.load(folder)


def test_an_unknown_setting_is_refused(folder: Path) -> None:
    edit(folder, config={"train": {**SMALL.model_dump(mode="json"), "code": "import os"}})
    with pytest.raises(ModelError):
        model.load(folder)


def test_the_whole_configuration_can_be_kept(folder: Path) -> None:
    edit(folder, config=Config(train=SMALL).model_dump(mode="json"))
    assert model.load(folder).about["config"]["prepare"]["shape"] == [64, 64, 64]
