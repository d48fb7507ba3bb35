"""A model folder is read as it was written, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.imaging import volume
from siamese_med.network import atlas, model_folder
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import files
from siamese_med.study.config import Config, ScoreConfig, TrainConfig
from siamese_med.study.model_info import MODEL_FORMAT, NEEDED_KEYS, read_model_info

SHAPE = (24, 24, 24)
BOX = ((0, 24), (0, 24), (3, 21))
SMALL = TrainConfig(width=8, embedding_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a model folder as loading needs."""
    torch.manual_seed(7)
    bright = np.random.default_rng(7).uniform(0, 1, SHAPE).astype(np.float32)
    volume.write_volume(tmp_path / "template.nii.gz", volume.Volume(bright, volume.make_centred_affine(SHAPE, 8.0)))
    stratum = {"contrast": "MR FLAIR", "scanner": "same scanner", "source": "rescans"}
    stratum |= {"figures": [0.1, 0.2, 0.3], "levels": [0.1, 0.1, 0.2], "tail": [0.1, 0.01]}
    floor = {"strata": [{**stratum, "noise_max": 1.0, "beyond": 0.0}]}
    about = {
        "id": "supcon-0",
        "format": MODEL_FORMAT,
        "shape": list(SHAPE),
        "box": [list(edges) for edges in BOX],
        "evidence": {"slope": -1.0, "intercept": 2.0, "alarm": -3.0},
        "config": {"train": SMALL.model_dump(mode="json"), "score": {"spacing_mm": 6.0, "smoothing_mm": 4.0}},
        "weights_sha256": model_folder.write_weights(
            tmp_path, SiameseNetwork(SMALL, atlas.build_empty_atlas(SHAPE, BOX))
        ),
        "template_sha256": files.compute_file_digest(tmp_path / "template.nii.gz"),
        "calibration": {"slope": -4.0, "intercept": 2.0, "threshold": 0.5, "false_match_rate": 0.01},
        "threshold": 0.5,
        "change": {"detector": "residual"},
        "change_reference": floor,
        "growth_reference": floor,
    }
    files.write_json_file(tmp_path / "model.json", about)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "model.json").read_text())
    files.write_json_file(folder / "model.json", {**about, **changes})


def test_a_loaded_network_gives_the_embeddings_of_the_saved_one(folder: Path) -> None:
    torch.manual_seed(7)
    scan = torch.rand(1, 1, 24, 24, 18)
    torch.manual_seed(7)
    saved = SiameseNetwork(SMALL, atlas.build_empty_atlas(SHAPE, BOX)).eval()
    loaded = model_folder.load_model(folder)
    with torch.inference_mode():
        assert torch.equal(loaded.network(scan), saved(scan))
    assert not loaded.network.training
    assert np.array_equal(loaded.read_template().voxels, volume.read_volume(folder / "template.nii.gz").voxels)


def test_the_digest_tells_weights_apart_and_nothing_else(tmp_path: Path) -> None:
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(seed)
        digests.append(
            model_folder.write_weights(
                tmp_path / str(number), SiameseNetwork(SMALL, atlas.build_empty_atlas(SHAPE, BOX))
            )
        )
    assert digests[0] == digests[1] != digests[2]


def test_no_folder_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        model_folder.load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 0}', '{"format": "1"}', "\x00\xff"])
def test_another_format_or_no_model_at_all_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError) as caught:
        model_folder.load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", NEEDED_KEYS)
def test_a_description_without_what_loading_needs_is_refused_in_one_line(folder: Path, key: str) -> None:
    about = json.loads((folder / "model.json").read_text())
    del about[key]
    files.write_json_file(folder / "model.json", about)
    with pytest.raises(ModelError) as caught:
        model_folder.load_model(folder)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / model_folder.WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match="missing"):
        model_folder.load_model(folder)


def test_tampered_weights_are_refused(folder: Path) -> None:
    path = folder / model_folder.WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not those"):
        model_folder.load_model(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    digest = model_folder.write_weights(
        folder, SiameseNetwork(SMALL.model_copy(update={"width": 16}), atlas.build_empty_atlas(SHAPE, BOX))
    )
    edit(folder, weights_sha256=digest)
    with pytest.raises(ModelError, match="do not fit") as caught:
        model_folder.load_model(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_a_pickle_are_not_opened(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / model_folder.WEIGHTS_FILE)
    edit(folder, weights_sha256=files.compute_file_digest(folder / model_folder.WEIGHTS_FILE))
    with pytest.raises(ModelError):
        model_folder.load_model(folder)


def test_an_unknown_setting_is_refused(folder: Path) -> None:
    edit(folder, config={"train": {**SMALL.model_dump(mode="json"), "code": "import os"}})
    with pytest.raises(ModelError):
        model_folder.load_model(folder)


def test_the_whole_configuration_can_be_kept(folder: Path) -> None:
    edit(folder, config=Config(train=SMALL).model_dump(mode="json"))
    assert model_folder.load_model(folder).info.config.list_settings()["prepare"]["shape"] == [64, 64, 64]


@pytest.mark.parametrize(
    "identity", ["../../../escape/evil", "/tmp/evil", "a/b", "..", ".hidden", "", "a\nb", "a\\b", 7, None]
)
def test_an_id_that_is_a_path_is_refused(folder: Path, identity: object) -> None:
    edit(folder, id=identity)
    for read in (read_model_info, model_folder.load_model, model_folder.find_checked_template):
        with pytest.raises(ModelError, match="is no name, or a path") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("threshold",), "NaN"),
        (("threshold",), "Infinity"),
        (("threshold",), "1e999"),
        (("threshold",), '"NaN"'),
        (("threshold",), "null"),
        (("threshold",), "true"),
        (("threshold",), "1.5"),
        (("calibration", "threshold"), "NaN"),
        (("calibration", "slope"), "-Infinity"),
        (("calibration",), "{}"),
        (("evidence", "alarm"), "NaN"),
        (("change_reference", "strata", 0, "noise_max"), "NaN"),
        (("change_reference", "strata", 0, "figures", 1), "NaN"),
        (("growth_reference", "strata", 0, "levels"), "[0.1]"),
        (("growth_reference", "strata", 0, "tail", 0), '"0.1"'),
        (("change_reference", "strata"), "null"),
        (("shape", 0), "24.5"),
        (("box", 0, 0), "NaN"),
        (("notes",), "[[NaN]]"),  # also where nothing reads it
    ],
)
def test_a_number_that_is_none_is_refused(folder: Path, place: tuple[str | int, ...], value: str) -> None:
    about = json.loads((folder / "model.json").read_text())
    part = about
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = "here"
    (folder / "model.json").write_text(json.dumps(about).replace('"here"', value))
    with pytest.raises(ModelError) as caught:
        model_folder.load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", ["first", "last"])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float, which: str) -> None:
    network = SiameseNetwork(SMALL, atlas.build_empty_atlas(SHAPE, BOX))
    tensors = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    tensors[0 if which == "first" else -1].view(-1)[0] = value
    edit(folder, weights_sha256=model_folder.write_weights(folder, network))
    with pytest.raises(ModelError, match="NaN or infinite"):
        model_folder.load_model(folder)


def flat() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    affine = volume.make_centred_affine(SHAPE, 8.0)
    affine[2] = affine[1]
    return affine


@pytest.mark.parametrize("fault", ["absent", "nan", "constant", "shape", "flat", "text", "other"])
def test_a_template_that_scans_cannot_lie_on_is_refused(folder: Path, fault: str) -> None:
    path = folder / "template.nii.gz"
    known = volume.read_volume(path)
    voxels, affine = known.voxels.copy(), known.affine
    if fault == "absent":
        path.unlink()
    elif fault == "text":
        path.write_text("not a NIfTI")
    else:
        if fault == "nan":
            voxels[3, 4, 5] = np.nan
        elif fault == "constant":
            voxels[:] = 1.0
        elif fault == "other":
            voxels[0, 0, 0] += 1.0
        elif fault == "shape":
            voxels = voxels[:-1]
        _write_as_it_is(path, voxels, flat() if fault == "flat" else affine)
    if fault not in ("absent", "other"):
        edit(folder, template_sha256=files.compute_file_digest(path))
    for read in (model_folder.load_model, model_folder.find_checked_template):
        with pytest.raises(ModelError, match="template") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def _write_as_it_is(path: Path, voxels: Any, affine: Any) -> None:
    import nibabel

    image = nibabel.Nifti1Image(voxels, None)  # type: ignore[no-untyped-call]
    image.header.set_sform(affine, code=1)
    image.to_filename(path)


@pytest.mark.parametrize(
    "learned",
    [{}, {"spacing_mm": 6.0}, {"spacing_mm": "6", "smoothing_mm": None}, {"spacing_mm": -1.0, "smoothing_mm": 4.0}],
)
def test_what_change_is_measured_at_has_to_be_known(folder: Path, learned: dict[str, object]) -> None:
    edit(folder, config={"train": SMALL.model_dump(mode="json"), "score": learned})
    with pytest.raises(ModelError):
        model_folder.load_model(folder).measures(ScoreConfig())


def test_change_is_measured_as_the_model_learned_it(folder: Path) -> None:
    found = model_folder.load_model(folder).measures(ScoreConfig(significance=0.01))
    assert (found.spacing_mm, found.smoothing_mm, found.significance) == (6.0, 4.0, 0.01)
