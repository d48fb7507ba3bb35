"""A model folder is a MONAI bundle: MONAI's own commands verify it, run it and train with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_metadata
from monai.data import list_data_collate

from siamese_med.errors import InputError, PluginError, UsageError
from siamese_med.imaging import volume
from siamese_med.network import bundle_files, model_folder
from siamese_med.network.bundle_encoder import BundleEncoder
from siamese_med.network.starter_model import STARTER_FOLDER
from siamese_med.pipeline import monai_bundle, single_scans, stages
from siamese_med.runtime import files
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import Study
from tests import studies
from tests.commands import ROOT
from tests.end_to_end.conftest import Tracked
from tests.studies import Made
from tests.training.test_encoder_bundle import make_bundle

REQUIRED = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"),
    *("description", "authors", "copyright", "network_data_format"),
)
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
SCHEMA = {
    "type": "object",
    "required": list(REQUIRED),
    "properties": {
        **{name: {"type": "string"} for name in REQUIRED},
        "required_packages_version": {"type": "object"},
        "changelog": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        },
    },
}
"""What MONAI's schema of 2024-07-25 asks for. MONAI downloads that one; tests have no internet."""


def run_monai(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `python -m monai.bundle` in the folder of a bundle."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "monai.bundle", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def scans(made_study: Made) -> list[Path]:
    """A patient's visit and a rescan."""
    first, second = sorted(made_study.export.glob("p0_*.nii.gz"))[:2]
    return [first, second]


@pytest.mark.long
def test_monais_own_command_verifies_the_metadata(made_study: Made, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    arguments = ("verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", schema)
    done = run_monai(*arguments, cwd=made_study.model)
    assert done.returncode == 0, done.stderr
    assert "metadata is verified with no error" in done.stdout + done.stderr
    metadata = json.loads((made_study.model / "configs" / "metadata.json").read_text())
    assert metadata["name"] == made_study.model.name


def test_the_metadata_of_the_starter_model_is_verified_and_one_without_a_key_is_not(tmp_path: Path) -> None:
    schema, less = tmp_path / "schema.json", tmp_path / "metadata.json"
    schema.write_text(json.dumps(SCHEMA))
    metadata = STARTER_FOLDER / "configs" / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=schema)
    known = json.loads(metadata.read_text())
    del known["network_data_format"]["outputs"]["pred"]["dtype"]
    less.write_text(json.dumps(known))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(less), filepath=schema)


@pytest.mark.slow
@pytest.mark.long
def test_monais_own_command_writes_the_map_and_the_figures_of_compare(
    made_study: Made, scans: list[Path], tmp_path: Path
) -> None:
    """Without a configuration, as `siamese-med compare` without --config."""
    arguments = ("run", "--config_file", "configs/inference.json", "--earlier", scans[0], "--later", scans[1])
    done = run_monai(*arguments, "--output_dir", tmp_path / "eval", cwd=made_study.model)
    assert done.returncode == 0, done.stderr
    study = Study(tmp_path / "data", tmp_path / "reports")
    facts = single_scans.compare(*scans, made_study.model, study, tmp_path / "compared.nii.gz")
    assert facts["map"] == str(tmp_path / "compared.nii.gz")
    told = json.loads((tmp_path / "eval" / "comparison.json").read_text())
    assert {**told, "map": facts["map"]} == json.loads(json.dumps(facts))
    ours, theirs = (volume.read_volume(tmp_path / name) for name in ("compared.nii.gz", "eval/change_map.nii.gz"))
    assert ours.voxels.shape == volume.read_volume(scans[0]).voxels.shape
    assert ours.voxels.max() > 0
    assert np.abs(ours.voxels - theirs.voxels).max() <= 1e-4
    assert np.abs(ours.affine - theirs.affine).max() <= 1e-4
    assert {path.name for path in (tmp_path / "eval").iterdir()} == {"comparison.json", "change_map.nii.gz"}


@pytest.mark.parametrize("which", ["trained", "starter"])
def test_the_inference_has_all_parts_that_monai_asks_for(made_study: Made, which: str) -> None:
    bundle = made_study.model if which == "trained" else STARTER_FOLDER
    workflow = ConfigWorkflow(bundle / "configs" / "inference.json", workflow_type="infer", bundle_root=str(bundle))
    workflow.initialize()
    assert workflow.check_properties() == []
    weights = workflow.network_def.state_dict()
    assert sum(tensor.numel() for tensor in weights.values()) > 10_000


def test_the_training_has_the_settings_of_the_model(tracked: Tracked) -> None:
    """The id of a model is a digest of its settings and scans: the one that is there is found again."""
    configuration = tracked.model / "configs" / "train.json"
    places = {"dataset_dir": str(tracked.study.data), "reports_dir": str(tracked.study.reports)}
    workflow = ConfigWorkflow(configuration, workflow_type="train", bundle_root=str(tracked.model), **places)
    workflow.initialize()
    assert workflow.run() == [tracked.model]


@pytest.mark.long
def test_a_study_is_trained_with_the_bundle_of_others_and_needs_it_no_more(made_study: Made, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    source = make_bundle(bundle)
    folder = made_study.copy(tmp_path / "study", scored=False)
    update = {"encoder": "bundle", "encoder_args": {"bundle": str(bundle)}, "change_steps": 0, "epochs": 1}
    whole = studies.small()
    config = whole.model_copy(update={"train": whole.train.model_copy(update=update)})
    model = stages.train(Study(folder / "data", folder / "reports", config), candidate=True)
    shutil.rmtree(bundle)
    assert str(tmp_path) not in (model / "model.json").read_text()
    assert "encoder.safetensors" not in {path.name for path in model.rglob("*")}
    encoder = model_folder.load_model(model).network.encoder
    assert isinstance(encoder, BundleEncoder)
    decoder = "model.2.conv.weight"  # the last layer, which the encoder does not use
    assert torch.equal(encoder.network.state_dict()[decoder], source.state_dict()[decoder])


def test_a_model_does_not_decide_what_a_training_imports(tracked: Tracked, tmp_path: Path) -> None:
    about = read_model_info(tracked.model).to_json_object()
    about["config"]["train"]["transform"] = "colorsys:rgb_to_hsv"
    files.write_json_file(tmp_path / "model.json", about)
    sys.modules.pop("colorsys", None)
    with pytest.raises(PluginError, match="transform colorsys:rgb_to_hsv"):
        monai_bundle.StudyTrainer(str(tmp_path), "data", "reports")
    assert "colorsys" not in sys.modules


@pytest.mark.long
def test_scans_without_a_map_are_refused_with_the_reason(made_study: Made, scans: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copyfile(scans[1], tmp_path / "later_T1w.nii.gz"))
    loaded = monai_bundle.LoadScand(["image", "later"])({"image": scans[0], "later": other})
    network = monai_bundle.ChangeMapNetwork(str(made_study.model))
    with pytest.raises(InputError, match="have no change map \\(other_contrast\\)"):
        network(*(list_data_collate([loaded[key]]) for key in ("image", "later")))
    study, written = Study(tmp_path / "data", tmp_path / "reports"), tmp_path / "map.nii"
    facts = single_scans.compare(scans[0], other, made_study.model, study, written)
    assert (facts["map"], written.exists()) == (None, False)


@pytest.mark.long
def test_a_batch_of_two_pairs_is_refused(made_study: Made, scans: list[Path]) -> None:
    loaded = monai_bundle.LoadScand("image")({"image": scans[0]})["image"]
    network = monai_bundle.ChangeMapNetwork(str(made_study.model))
    with pytest.raises(UsageError, match="batch_size"):
        network(*[list_data_collate([loaded, loaded])] * 2)


def test_what_ships_with_the_starter_model_is_what_its_model_json_gives(tmp_path: Path) -> None:
    from benchmarks.make_starter_model import TERMS

    bundle_files.write_bundle_files(tmp_path, read_model_info(STARTER_FOLDER), TERMS)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 5
    assert [path for path in written if (STARTER_FOLDER / path).read_bytes() != (tmp_path / path).read_bytes()] == []


def test_a_study_is_told_that_nobody_granted_a_licence(made_study: Made) -> None:
    assert "No licence is granted" in (made_study.model / "LICENSE").read_text()
    assert "not recorded" in (made_study.model / "configs" / "metadata.json").read_text()


def test_no_configuration_of_a_model_folder_is_read_by_siamese_med(made_study: Made, tmp_path: Path) -> None:
    """A model may come from a stranger; `monai.bundle run` runs what its configurations say."""
    folder = Path(shutil.copytree(made_study.model, tmp_path / "model"))
    for path in [*(folder / "configs").iterdir(), *(folder / "docs").iterdir()]:
        path.chmod(0o644)
        path.write_text("{")
    assert model_folder.load_model(folder).info.id == made_study.model.name


def test_a_model_made_before_folders_were_bundles_is_still_read(made_study: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made_study.model, tmp_path / "model"))
    for name in ("configs", "docs"):
        shutil.rmtree(folder / name)
    (folder / model_folder.WEIGHTS_FILE).rename(folder / model_folder.FORMER_WEIGHTS_FILE)
    assert model_folder.find_weights_file(folder) == folder / "model.safetensors"
    assert model_folder.load_model(folder).info.id == made_study.model.name
