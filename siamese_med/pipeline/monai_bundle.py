"""The parts that the configurations of a model folder name, so that MONAI runs it as a bundle.

`network.bundle_files` writes these configurations. Each part calls what the command of the same purpose calls, so that
`python -m monai.bundle run` gives what `siamese-med compare` and `siamese-med train` give.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.transforms import MapTransform
from torch import Tensor, nn

from siamese_med.errors import InputError, PluginError, UsageError
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import single_scan
from siamese_med.ingestion.single_scan import SingleScan
from siamese_med.network.bundle_files import FIGURES_FILE, MAP_NAME
from siamese_med.pipeline import single_scans, stages
from siamese_med.plugins import named_plugins
from siamese_med.runtime import files
from siamese_med.study.config import Config, load_config
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import Study


class LoadScand(MapTransform):  # type: ignore[misc]
    """Read scans as `siamese-med compare` does: a NIfTI file, or the folder of a DICOM series, checked as by ingest.

    Parameters
    ----------
    keys
        Keys of the paths; each is replaced by a `MetaTensor` (1, i, j, k) with its affine to RAS+ mm, bright tissue
        high, and with `modality`, `contrast` and `scanner` in its `meta`.
    config
        A TOML file over the defaults; its `ingest` section is used.

    Raises
    ------
    InputError, MissingFileError
        See `single_scan.read_single_scan`.
    """

    def __init__(self, keys: Any, config: str | None = None) -> None:
        super().__init__(keys)
        self.settings = _load_config(config)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with a scan in the place of each path."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = _to_tensor(single_scan.read_single_scan(Path(loaded[key]), self.settings.ingest))
        return loaded


def _to_tensor(scan: SingleScan) -> MetaTensor:
    voxels = undo_monochrome1(scan.volume.voxels, scan.flags)
    known = {"modality": str(scan.modality), "contrast": str(scan.contrast), "scanner": scan.scanner}
    affine = torch.from_numpy(np.asarray(scan.volume.affine, dtype=np.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels))[None], affine=affine, meta=known)


def _to_scan(tensor: MetaTensor) -> SingleScan:
    affine = tensor.affine.numpy().astype(np.float64)
    return SingleScan(
        Volume(tensor.as_tensor()[0].numpy(), affine),
        *(tensor.meta[name] for name in ("modality", "contrast", "scanner")),
    )


class ChangeMapNetwork(nn.Module):
    """A model as a network of two scans: it aligns, registers, compares and judges them, and returns the change map.

    Parameters
    ----------
    folder
        The model folder.
    config
        A TOML file over the defaults, as for `siamese-med compare`.

    Raises
    ------
    ModelError, MissingFileError, PluginError
        The folder cannot be used, see `model_folder.load_model`.
    """

    def __init__(self, folder: str, config: str | None = None) -> None:
        super().__init__()
        self.settings = _load_config(config)
        self.model = single_scans.load_model_for_query(Path(folder), self.settings)
        self.network = self.model.network

    def forward(self, image: MetaTensor, later: MetaTensor) -> MetaTensor:
        """Compare two scans as `LoadScand` gives them, in batches (1, 1, i, j, k) of one.

        Returns
        -------
        MetaTensor
            The change map (1, 1, i, j, k), float32, on the voxels of `image`, the earlier scan. The facts of
            `siamese-med compare --json` are in its `meta` as JSON text, under `comparison`.

        Raises
        ------
        InputError
            The scans cannot be compared, so there is no map.
        UsageError
            There is not exactly one pair.
        """
        pairs = [decollate_batch(batch.cpu()) for batch in (image, later)]
        if any(len(scans) != 1 for scans in pairs):
            raise UsageError("a batch holds one pair, since each has a grid of its own: set batch_size to 1")
        (earlier,), (other,) = pairs
        compared = single_scans.compare_read_scans(_to_scan(earlier), _to_scan(other), self.model, self.settings)
        if compared.change_map is None:
            reasons = ", ".join(compared.facts["reasons"])
            raise InputError(f"these scans have no change map ({reasons}): see `siamese-med compare` for what is known")
        voxels: Tensor = torch.from_numpy(compared.change_map.voxels)
        affine = torch.from_numpy(compared.change_map.affine)
        meta = {"filename_or_obj": [MAP_NAME], "comparison": [json.dumps(compared.facts)]}
        found = MetaTensor(voxels[None, None], affine=affine[None], meta=meta)
        found.is_batch = True
        return found


class SaveFiguresd(MapTransform):  # type: ignore[misc]
    """Write the figures and the verdict that `ChangeMapNetwork` gives with a map, as `comparison.json`.

    Parameters
    ----------
    keys
        The key of the map.
    output_dir
        Folder for the file, which is replaced.
    """

    def __init__(self, keys: Any, output_dir: str) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary as it is."""
        for key in self.key_iterator(dict(data)):
            files.write_json_file(self.output_dir / FIGURES_FILE, json.loads(data[key].meta["comparison"]))
        return dict(data)


class StudyTrainer:
    """Trains a model with the settings that another one was trained with, on the scans of a study.

    Parameters
    ----------
    folder
        The model folder that the settings are taken from; its weights are not used.
    data, reports
        Folders of the study, whose scans were ingested.

    Raises
    ------
    PluginError
        The model was trained with plug-ins: a model folder never decides what is imported.
    ModelError, MissingFileError
        See `read_model_info`.
    """

    def __init__(self, folder: str, data: str, reports: str) -> None:
        recorded = read_model_info(Path(folder)).config.list_settings()
        known = {name: dict(values) for name, values in recorded.items() if name in Config.model_fields}
        known.setdefault("train", {})["hosts"] = 1
        config = Config.model_validate(known)
        if own := [str(plugin) for plugin in named_plugins(config)]:
            raise PluginError(
                f"{folder} was trained with {' and '.join(own)}: name it in the TOML of siamese-med train"
            )
        self.study = Study(Path(data), Path(reports), config)

    def run(self) -> Path:
        """Prepare and pair the scans and train; return the new model folder. Whether it is used, `promote` decides."""
        stages.prepare(self.study)
        stages.build_pairs(self.study)
        return stages.train(self.study, candidate=True)


def _load_config(path: str | None) -> Config:
    return load_config(None if path is None else Path(path))
