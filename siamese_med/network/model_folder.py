"""A model is a folder, and a MONAI bundle. It loads without pickle; what it names is checked.

models/model.safetensors  weights                     model.json    what it is, and how it was calibrated
template.nii.gz           grid of the aligned scans   metrics.json  how well it does, beside the baselines
reference.parquet         scores of known pairs       README.md     model card
training_log.csv, training.png, gallery.npz           how training went, examples
configs, docs, LICENSE    for MONAI and for readers, see `bundle_files`; nothing here reads them
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from siamese_med.brain import head_template
from siamese_med.errors import ModelError
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import atlas
from siamese_med.network.needed_plugins import require_plugins
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import files
from siamese_med.study.config import ScoreConfig, TrainConfig
from siamese_med.study.model_info import ModelInfo, read_model_info
from siamese_med.study.plugin_names import PluginKind

WEIGHTS_FILE, TEMPLATE_FILE = "models/model.safetensors", "template.nii.gz"
FORMER_WEIGHTS_FILE = "model.safetensors"
"""Path of the weights before model folders were MONAI bundles; models of that time are still read."""
MODEL_SCORE_SETTINGS = ("spacing_mm", "smoothing_mm")
"""Settings of the `score` section that a model fixes, since its noise floors were measured with them."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with everything that is needed to score new scans: template, calibration, noise floors."""

    folder: Path
    network: SiameseNetwork
    info: ModelInfo

    def read_template(self) -> Volume:
        """Read the template that scans must be aligned to, or make it where it is the package's."""
        return _read_template(self.folder, self.info)

    @property
    def instrument(self) -> str:
        """SHA-256 (hex) of what the model brings to the change score of a pair: weights, detector, noise floors."""
        return self.info.compute_instrument_digest()

    def measures(self, config: ScoreConfig) -> ScoreConfig:
        """Return `config` with the voxel size and the smoothing (mm) that the model's noise floors were measured with.

        Raises
        ------
        ModelError
            The model does not record them.
        """
        learned = {name: getattr(self.info.config.score, name) for name in MODEL_SCORE_SETTINGS}
        if None in learned.values():
            raise ModelError(
                f"the model.json in {self.folder} does not say at which "
                f"{' and '.join(MODEL_SCORE_SETTINGS)} change is measured: "
                "copy the folder again"
            )
        return config.model_copy(update=learned)


def write_weights(folder: Path, network: SiameseNetwork) -> str:
    """Write the weights as safetensors, and return the SHA-256 (hex) of the file."""
    from safetensors.torch import save_file

    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with files.replace_atomically(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    return files.compute_file_digest(folder / WEIGHTS_FILE)


def find_weights_file(folder: Path) -> Path:
    """Return the path of a model's weights, whether there are any or not."""
    path, former = folder / WEIGHTS_FILE, folder / FORMER_WEIGHTS_FILE
    return former if former.is_file() and not path.is_file() else path


def load_model(folder: Path, trusted: frozenset[str] = frozenset()) -> TrainedModel:
    """Read a model folder, check its weights and its template, and rebuild the network on the CPU.

    Parameters
    ----------
    folder
        A folder that training wrote, here or elsewhere.
    trusted
        Plug-ins that the user's own configuration names, see `plugins.trusted_plugins`. What a model needs beside them
        and beside installed entry points is not imported.

    Returns
    -------
    TrainedModel
        In evaluation mode.

    Raises
    ------
    MissingFileError
        There is no such folder.
    ModelError
        A file of the folder is missing or damaged, or is not the one that model.json names.
    PluginError
        The model needs a plug-in that is not installed, is another version, or is not trusted.
    """
    from safetensors import SafetensorError

    info = read_model_info(folder)
    require_plugins(_needed(info), info.plugins, trusted, folder)
    weights = find_weights_file(folder)
    if not weights.is_file() or files.compute_file_digest(weights) != info.weights_sha256:
        raise ModelError(f"the weights in {folder} are missing or not those of its model.json: copy the folder again")
    try:
        network = _rebuilt(info, weights)
    except (KeyError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} do not fit its description: train it again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(f"the weights in {folder} hold NaN or infinite numbers: train it again")
    check_template(folder, info)
    return TrainedModel(folder, network.eval(), info)


def check_template(folder: Path, info: ModelInfo) -> None:
    """Check the template of a model folder.

    Raises
    ------
    ModelError
        It is not the one that the model was trained on, cannot be read, has another grid than model.json says, or no
        scan could be aligned to it.
    """
    path = folder / TEMPLATE_FILE
    known = info.template_sha256
    if info.head_template:  # made by the package, on a grid that model.json says
        return
    if not path.is_file() or (known is not None and files.compute_file_digest(path) != known):
        raise ModelError(f"the template in {folder} is missing or not that of its model.json: copy the folder again")
    try:
        template = volume.read_volume(path)
    except Exception as error:  # whatever nibabel makes of a broken file
        raise ModelError(f"the template in {folder} cannot be read: copy the folder again") from error
    if template.voxels.shape != info.shape:
        raise ModelError(f"the template in {folder} has another shape than its model.json says: copy the folder again")
    if wrong := volume.find_template_flaw(template):
        raise ModelError(f"the template in {folder} {wrong}: copy the folder again")


def find_checked_template(folder: Path) -> Path:
    """Return the path of a model's template, after it was checked; raises as `load_model` does.

    The template of heads is written to a temporary file, since the model folder has none.
    """
    info = read_model_info(folder)
    check_template(folder, info)
    return _write_head_template(info.shape) if info.head_template else folder / TEMPLATE_FILE


def _read_template(folder: Path, info: ModelInfo) -> Volume:
    if info.head_template:
        return head_template.make_head_template(info.shape)
    return volume.read_volume(folder / TEMPLATE_FILE)


@lru_cache(maxsize=1)
def _temporary_folder() -> TemporaryDirectory[str]:
    """A folder that lasts as long as this process."""
    return TemporaryDirectory(prefix="siamese-med-")


def _write_head_template(shape: tuple[int, int, int]) -> Path:
    """Write the template of heads for stages that take a path; it is copied into the study before this process ends."""
    path = Path(_temporary_folder().name) / TEMPLATE_FILE
    volume.write_volume(path, head_template.make_head_template(shape))
    return path


def _needed(info: ModelInfo) -> list[tuple[PluginKind, str]]:
    """Encoder, loss and detector as the description names them; whatever is no name is refused later."""
    named = TrainConfig.with_present_names(info.config.train.to_json_object())
    parts = [(PluginKind.ENCODER, named.get("encoder")), (PluginKind.LOSS, named.get("loss"))]
    parts.append((PluginKind.DETECTOR, info.change.detector))
    return [(kind, name) for kind, name in parts if isinstance(name, str)]


def _rebuilt(info: ModelInfo, weights: Path) -> SiameseNetwork:
    from safetensors.torch import load_file

    network = SiameseNetwork(info.config.parse_train_config(), atlas.build_empty_atlas(info.shape, info.box))
    network.load_state_dict(load_file(weights))
    return network
