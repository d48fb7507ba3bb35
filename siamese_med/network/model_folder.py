"""A model is a folder; it loads without pickle and refuses what it does not know.

model.safetensors   weights                    model.json       what it is, how it was calibrated
template.nii.gz     the grid scans must lie on  metrics.json     how well it does, baselines beside it
reference.parquet   scores of known pairs       training_log.csv, training.png, gallery.npz, README.md (the card)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.imaging import volume
from siamese_med.network import atlas
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import files, untrusted_input
from siamese_med.study import model_description
from siamese_med.study.config import ScoreConfig, TrainConfig

MODEL_FORMAT = 4
WEIGHTS_FILE, TEMPLATE_FILE = "model.safetensors", "template.nii.gz"
REQUIRED_KEYS = (
    *("id", "config", "shape", "box", "weights_sha256", "calibration", "threshold", "evidence"),
    *("change", "change_reference", "growth_reference"),
)
"""What a description must hold for scans to be scored by it."""
MODEL_SCORE_SETTINGS = ("spacing_mm", "smoothing_mm")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with everything needed to score new scans."""

    folder: Path
    network: SiameseNetwork
    about: dict[str, Any]

    @property
    def template(self) -> Path:
        """The template that scans must be aligned to."""
        return self.folder / TEMPLATE_FILE

    @property
    def instrument(self) -> str:
        """Digest of what the model brings to the change score of a pair: weights, detector, noise floors."""
        parts = [self.about[name] for name in ("weights_sha256", "change", "change_reference", "growth_reference")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def measures(self, config: ScoreConfig) -> ScoreConfig:
        """`config` with the voxels and the smoothing that the model learned and measured its reference with."""
        try:
            learned = {name: self.about["config"]["score"][name] for name in MODEL_SCORE_SETTINGS}
            return ScoreConfig.model_validate(config.model_dump() | learned)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the model.json in {self.folder} does not say at which "
                f"{' and '.join(MODEL_SCORE_SETTINGS)} change is measured: "
                "copy the folder again"
            ) from error


def write_weights(folder: Path, network: SiameseNetwork) -> str:
    """Write the weights as safetensors; returns their SHA-256, the model's digest."""
    from safetensors.torch import save_file

    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with files.replace_atomically(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    return files.compute_file_digest(folder / WEIGHTS_FILE)


def read_description(folder: Path) -> dict[str, Any]:
    """The description of a model folder; raises MissingFileError or ModelError in one line."""
    if not folder.is_dir():
        raise MissingFileError(f"no model folder at {folder}: check --model, or train one with `siamese-med train`")
    try:
        about: dict[str, Any] = untrusted_input.read_untrusted_json(folder / "model.json")
    except untrusted_input.NotFiniteError as error:
        raise ModelError(f"the model.json in {folder} has NaN or an infinite number: copy the folder again") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is not a model folder (no readable model.json): name one under data/models"
        ) from error
    found = about.get("format") if isinstance(about, dict) else None
    if found != MODEL_FORMAT:
        raise ModelError(f"{folder} has model format {found}, this version reads {MODEL_FORMAT}: train it again")
    if not untrusted_input.is_safe_name(about.get("id")):
        raise ModelError(f"the id in the model.json of {folder} is no name, or a path: copy the folder again")
    return about


def load_model(folder: Path) -> TrainedModel:
    """Read a model folder, check its weights and its template, and rebuild the network on the CPU."""
    from safetensors import SafetensorError

    about = read_description(folder)
    missing = [key for key in REQUIRED_KEYS if key not in about]
    if missing:
        raise ModelError(f"the model.json in {folder} lacks {', '.join(missing)}: copy the folder again")
    if wrong := model_description.find_description_flaw(about):
        raise ModelError(f"the model.json in {folder} cannot be used ({wrong}): copy the folder again")
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or files.compute_file_digest(weights) != about["weights_sha256"]:
        raise ModelError(f"the weights in {folder} are missing or not those of its model.json: copy the folder again")
    try:
        network = _rebuilt(about, weights)
    except (KeyError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} do not fit its description: train it again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(f"the weights in {folder} hold NaN or infinite numbers: train it again")
    check_template(folder, about)
    return TrainedModel(folder, network.eval(), about)


def check_template(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise ModelError where the template is not the one that the model was trained on, or scans cannot lie on it."""
    path = folder / TEMPLATE_FILE
    known = about.get("template_sha256")
    if not path.is_file() or (known is not None and files.compute_file_digest(path) != known):
        raise ModelError(f"the template in {folder} is missing or not that of its model.json: copy the folder again")
    try:
        template = volume.read_volume(path)
    except Exception as error:  # whatever nibabel makes of a broken file
        raise ModelError(f"the template in {folder} cannot be read: copy the folder again") from error
    if list(template.voxels.shape) != list(about.get("shape", ())):
        raise ModelError(f"the template in {folder} has another shape than its model.json says: copy the folder again")
    if wrong := volume.find_template_flaw(template):
        raise ModelError(f"the template in {folder} {wrong}: copy the folder again")


def find_checked_template(folder: Path) -> Path:
    """The template of a model folder, checked; raises as `load_model` does."""
    check_template(folder, read_description(folder))
    return folder / TEMPLATE_FILE


def _rebuilt(about: dict[str, Any], weights: Path) -> SiameseNetwork:
    from safetensors.torch import load_file

    box = tuple((int(start), int(stop)) for start, stop in about["box"])
    network = SiameseNetwork(
        TrainConfig.model_validate(about["config"]["train"]), atlas.build_empty_atlas(about["shape"], box)
    )
    network.load_state_dict(load_file(weights))
    return network
