"""The encoder of a training that begins with a MONAI bundle of others: `train.encoder = "bundle"`.

A bundle is read once, at the beginning. What is recorded and handed on is the description of its network and the digest
of its weights, so the model that comes of it needs no bundle, and opens none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from siamese_med.errors import PluginError
from siamese_med.network.bundle_encoder import BUNDLE_ENCODER, BundleEncoder, build_described_network
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.runtime import untrusted_input
from siamese_med.study.config import TrainConfig

INITIAL_WEIGHTS_FILE = "encoder.safetensors"
"""The weights of the bundle's network, in the folder of a training."""
CONFIGURATIONS = ("inference.json", "train.json")
WEIGHTS = ("model.safetensors", "model.pt")
"""Names of the weights below `models`; the first one that is there counts.

TorchScript, `model.ts`, is never loaded: that runs code of the bundle."""
NESTED_STATES = ("state_dict", "model", "network", "net")
"""Keys under which checkpoints hold the weights of the network."""


def read_bundle_encoder(config: TrainConfig) -> tuple[TrainConfig, bytes | None]:
    """Read the network and the weights of the bundle that the settings name.

    Returns
    -------
    config
        The settings, with the description of the network and the digest of the weights in the place of the path.
    weights
        The weights as safetensors; None where the settings name no bundle.

    Raises
    ------
    PluginError
        There is no such bundle, it has no network or no weights that may be used, or they do not fit each other.
    """
    from safetensors.torch import save

    if config.encoder != BUNDLE_ENCODER:
        return config, None
    folder = config.encoder_args.get("bundle")
    if not isinstance(folder, str) or len(config.encoder_args) > 1:
        raise PluginError('train.encoder = "bundle" takes train.encoder_args = { bundle = "FOLDER" }, and nothing else')
    bundle = Path(folder)
    description = _read_description(bundle)
    network, weights = build_described_network(description), _read_weights(bundle)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise PluginError(f"the weights of the bundle {bundle} do not fit its network_def: copy it again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise PluginError(f"the weights of the bundle {bundle} hold NaN or infinite numbers: copy it again")
    content = save({name: tensor.clone().contiguous() for name, tensor in weights.items()})
    arguments = {"network": description, "weights_sha256": hashlib.sha256(content).hexdigest()}
    return config.model_copy(update={"encoder_args": arguments}), content


def load_initial_weights(network: SiameseNetwork, folder: Path) -> None:
    """Give the encoder of a network that is to be trained the weights of its bundle, where it is of one."""
    from safetensors.torch import load_file

    if isinstance(network.encoder, BundleEncoder):
        network.encoder.network.load_state_dict(load_file(folder / INITIAL_WEIGHTS_FILE))


def _read_description(bundle: Path) -> dict[str, JsonValue]:
    """The network_def of a bundle, with references to plain values of the same file resolved."""
    for name in CONFIGURATIONS:
        path = bundle / "configs" / name
        if not path.is_file():
            continue
        try:
            whole = untrusted_input.read_untrusted_json(path)
        except (OSError, ValueError) as error:
            raise PluginError(f"{path} is no JSON that can be read: copy the bundle again") from error
        if isinstance(whole, dict) and isinstance(whole.get("network_def"), dict):
            return {key: _resolve(value, whole) for key, value in whole["network_def"].items()}
    tried = " and ".join(CONFIGURATIONS)
    raise PluginError(f"{bundle} has no network_def in configs ({tried}): name the folder of a MONAI bundle")


def _resolve(value: JsonValue, whole: Mapping[str, Any]) -> JsonValue:
    if isinstance(value, list):
        return [_resolve(one, whole) for one in value]
    if isinstance(value, str) and value.startswith("@"):
        found = whole.get(value[1:])
        return found if isinstance(found, int | float | str | list) else value
    return value


def _read_weights(bundle: Path) -> dict[str, Tensor]:
    paths = [bundle / "models" / name for name in WEIGHTS]
    path = next((one for one in paths if one.is_file()), None)
    if path is None:
        raise PluginError(f"{bundle} has neither {' nor '.join(WEIGHTS)} in models: TorchScript is not loaded")
    try:
        found = _load_tensors(path)
    except Exception as error:  # whatever torch and safetensors make of a damaged or hostile file
        raise PluginError(f"{path} holds no plain tensors, and nothing else is loaded: export a state dict") from error
    for key in NESTED_STATES:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise PluginError(f"{path} holds no state dict: export that of the network")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _load_tensors(path: Path) -> Any:
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
