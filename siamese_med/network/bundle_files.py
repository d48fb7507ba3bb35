"""The files that make a model folder a MONAI bundle: metadata, the configurations of its runs, how to use it, licence.

======================  =====================================================================================
File                    Content
======================  =====================================================================================
configs/metadata.json   what the model takes and gives, and the versions it was made with; MONAI has a schema
configs/inference.json  from two scans to their change map; the parts are in `siamese_med.pipeline.monai_bundle`
configs/train.json      trains another model with the settings of this one, on the scans of a study
docs/README.md          the commands
LICENSE                 under which terms the model is handed on
======================  =====================================================================================

Siamese-med itself reads none of them, so that a model from elsewhere has no say in what runs. The weights are
safetensors (`model_folder.WEIGHTS_FILE`) and not the `models/model.pt` of MONAI's specification, which is a pickle.

References
----------
MONAI Bundle Specification, https://docs.monai.io/en/stable/mb_specification.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from siamese_med.runtime import files
from siamese_med.study.model_info import ModelInfo

JsonObject = Mapping[str, object]

METADATA_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
"""MONAI's own schema of metadata.json, which `monai.bundle verify_metadata` downloads."""
PARTS = "siamese_med.pipeline.monai_bundle"
"""Module of the classes that the configurations name."""
BUNDLE_PACKAGES = {"fire": "0.7.1", "pytorch-ignite": "0.5.5"}
"""Packages that `python -m monai.bundle` needs beside siamese-med: the extra `bundle` of pyproject.toml."""
MAP_NAME, FIGURES_FILE = "change_map", "comparison.json"
"""Names of what a run writes to its `output_dir`: the change map (`.nii.gz` is added) and the figures."""
UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True)
class BundleTerms:
    """Authors of a model, and terms under which it is handed on: `authors` and `copyright` in one line each."""

    authors: str = "not recorded"
    copyright: str = "belongs to those who trained the model; see LICENSE"
    licence: str = """\
No licence is granted by this file.

This model was trained by siamese-med (Apache-2.0) on scans that siamese-med knows nothing of. Whether it may be handed
on, to whom and under which terms is for those to say who trained it and who are responsible for the scans. Put their
licence here before you do.
"""


def write_bundle_files(folder: Path, info: ModelInfo, terms: BundleTerms | None = None) -> None:
    """Write the files that make a model folder a MONAI bundle; those that are there are replaced.

    Parameters
    ----------
    folder
        A model folder.
    info
        What its model.json holds.
    terms
        Authors and licence; without them it says that no licence is granted.
    """
    terms = terms or BundleTerms()
    files.write_json_file(folder / "configs" / "metadata.json", compose_metadata(info, terms))
    files.write_json_file(folder / "configs" / "inference.json", compose_inference())
    files.write_json_file(folder / "configs" / "train.json", compose_training())
    files.write_text_file(folder / "docs" / "README.md", compose_instructions(info))
    files.write_text_file(folder / "LICENSE", terms.licence)


def compose_metadata(info: ModelInfo, terms: BundleTerms) -> JsonObject:
    """Return the content of configs/metadata.json, as MONAI's schema wants it."""
    made_by = info.created_by
    version = made_by.get("siamese-med", UNKNOWN_VERSION)
    scans = {name: _describe_image(info.modalities, f"the {name} scan") for name in ("earlier", "later")}
    return {
        "schema": METADATA_SCHEMA,
        "name": info.id,
        "version": version,
        "changelog": {version: f"model {info.id}, as it was trained"},
        "monai_version": made_by.get("monai", UNKNOWN_VERSION),
        "pytorch_version": made_by.get("torch", UNKNOWN_VERSION).partition("+")[0],
        "numpy_version": made_by.get("numpy", UNKNOWN_VERSION),
        "required_packages_version": {"siamese-med": version, **BUNDLE_PACKAGES},
        "task": "Change between two scans of one patient",
        "description": "A Siamese 3D network of siamese-med, its calibration and its change detector "
        f"({info.change.detector}). From two scans of one patient to the probability of change in each voxel.",
        "authors": terms.authors,
        "copyright": terms.copyright,
        "intended_use": "Research use only. A trained reader decides; see README.md, the model card.",
        "data_type": "nibabel",
        "network_data_format": {
            "inputs": {"image": scans["earlier"], "later": scans["later"]},
            "outputs": {"pred": _CHANGE_MAP},
        },
    }


def _describe_image(modalities: Sequence[str], content: str) -> JsonObject:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": ", ".join(modalities) or "n/a",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": content},
    }


_CHANGE_MAP: JsonObject = {
    "type": "probabilities",
    "format": "segmentation",
    "num_channels": 1,
    "spatial_shape": ["*", "*", "*"],
    "dtype": "float32",
    "value_range": [0, 1],
    "is_patch_data": False,
    "channel_def": {"0": "probability of change, on the voxels of the earlier scan"},
}


def compose_inference() -> JsonObject:
    """Return the content of configs/inference.json: two scans are read, compared, and the map and figures written.

    Reading, preparation, registration and measurement are those of `siamese-med compare`.
    """
    return {
        "bundle_root": ".",
        "device": "cpu",
        "dataset_dir": ".",
        "earlier": "$@dataset_dir + '/earlier.nii.gz'",
        "later": "$@dataset_dir + '/later.nii.gz'",
        "output_dir": "eval",
        "config": None,
        "network_def": {"_target_": f"{PARTS}.ChangeMapNetwork", "folder": "@bundle_root", "config": "@config"},
        "preprocessing": _compose(
            {"_target_": f"{PARTS}.LoadScand", "keys": ["image", "later"], "config": "@config"},
        ),
        "dataset": {
            "_target_": "Dataset",
            "data": [{"image": "@earlier", "later": "@later"}],
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _compose(
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "output_dir": "@output_dir",
                "output_postfix": "",
                "separate_folder": False,
            },
            {"_target_": f"{PARTS}.SaveFiguresd", "keys": "pred", "output_dir": "@output_dir"},
        ),
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "prepare_batch": {"_target_": "PrepareBatchExtraInput", "extra_keys": "later"},
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _compose(*transforms: JsonObject) -> JsonObject:
    return {"_target_": "Compose", "transforms": [*transforms]}


def compose_training() -> JsonObject:
    """Return the content of configs/train.json: a model is trained with the settings of this one, in a study."""
    trainer = {
        "_target_": f"{PARTS}.StudyTrainer",
        "folder": "@bundle_root",
        "data": "@dataset_dir",
        "reports": "@reports_dir",
    }
    return {
        "bundle_root": ".",
        "dataset_dir": "data",
        "reports_dir": "reports",
        "train": {"trainer": trainer},
        "run": ["$@train::trainer.run()"],
    }


def compose_instructions(info: ModelInfo) -> str:
    """Return the content of docs/README.md, in Markdown."""
    return f"""\
# {info.id}: a MONAI bundle

A model folder of siamese-med. The model card, with figures and limits, is `README.md` one folder up.
Research use only. The commands are run in the folder of the bundle, and need `pip install "siamese-med[bundle]"`.

    python -m monai.bundle verify_metadata --meta_file configs/metadata.json --filepath schema.json
    python -m monai.bundle run --config_file configs/inference.json \\
        --earlier FIRST.nii.gz --later SECOND.nii.gz --output_dir eval
    python -m monai.bundle run --config_file configs/train.json --dataset_dir data

The first command downloads MONAI's schema, unless `schema.json` is there. The second one writes the change map,
`{MAP_NAME}.nii.gz`, on the voxels of the earlier scan, and `{FIGURES_FILE}`: the figures and the verdict, without
which no map should be read. Both are those of `siamese-med compare --map`. `--config` takes a TOML file of settings.
The third one trains another model with the settings of this one, from the scans that `siamese-med ingest` took into
`data`.

The weights are `models/model.safetensors`; there is no `model.pt`, since that is a pickle. `monai.bundle run` runs
whatever a configuration says: for a bundle from an untrusted source, use `siamese-med compare --model`, which reads no
configuration.
"""
