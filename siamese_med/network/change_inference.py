"""Where two scans of one patient differ by more than acquisitions do: the change head over a whole pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from siamese_med.imaging import intensity
from siamese_med.network import change_head, model_folder
from siamese_med.network.backbone import COARSEST_STRIDE, SharedBackbone
from siamese_med.network.change_head import ChangeHead, ChangeNetwork
from siamese_med.runtime import files

PATCH_VOXELS = 128
"""Larger scans are looked at in overlapping patches, so that memory does not grow with them."""
PATCH_OVERLAP_FRACTION = 0.25
"""Of neighbouring patches; more than the head sees around a voxel."""


class PairImages(Protocol):
    """Two scans (i, j, k) of one patient on one grid and one scale of brightness, and the body that both show."""

    @property
    def a(self) -> Tensor: ...
    @property
    def b(self) -> Tensor: ...
    @property
    def inside(self) -> Tensor: ...


@dataclass(frozen=True)
class NetworkDetector:
    """The change head of a model folder as a detector, see `detect_with_network`."""

    folder: Path

    def __call__(self, pair: PairImages, spacing_mm: float) -> Tensor:
        """Signed evidence (i, j, k) of a pair."""
        return detect_with_network(self.folder, pair, spacing_mm)


def detect_with_network(folder: Path, pair: PairImages, _spacing_mm: float) -> Tensor:
    """Signed evidence (i, j, k) of a model folder, positive where b is brighter, 0 outside the body.

    Zero for a scan with itself, the negative for swapped ones. The spacing is the model's anyway, see `Model.measures`.
    The folder may be one that is being made, as long as its weights are there.
    """
    return infer_change_evidence(load_change_network(folder), pair.a, pair.b, pair.inside)


def load_change_network(folder: Path) -> ChangeNetwork:
    """The part of a model that sees change, on an accelerator where there is one; read once a process."""
    return _load_change_network(
        folder / model_folder.WEIGHTS_FILE, files.read_file_signature(folder / model_folder.WEIGHTS_FILE)
    )


@lru_cache(maxsize=2)
def _load_change_network(path: Path, _version: tuple[int, int, int]) -> ChangeNetwork:
    from safetensors.torch import load_file

    weights = load_file(path)
    parts = {name: tensor for name, tensor in weights.items() if name.startswith(("trunk.", "change."))}
    trunk = SharedBackbone(len(parts["trunk.halves.0.0.weight"]))
    watcher = ChangeNetwork(trunk, ChangeHead(trunk))
    watcher.load_state_dict(parts)
    return watcher.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def infer_change_evidence(watcher: ChangeNetwork, a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """As `detect_with_network`, for scans (i, j, k)."""
    from monai.inferers.utils import sliding_window_inference

    device = next(watcher.parameters()).device
    middle = intensity.measure_median_brightness(a, b, inside)
    mask = inside.to(a.dtype)
    dates = [(intensity.compress_intensity(scan, middle) * mask)[None, None].to(device) for scan in (a, b)]
    with torch.inference_mode():
        plain = change_head.compute_deviations(dates[0], dates[1], mask[None, None].to(device))
        shape = a.shape
        stack = _pad_to_stride(torch.cat([*dates, plain], 1))
        windows = [min(PATCH_VOXELS, n) for n in stack.shape[2:]]
        seen = sliding_window_inference(
            stack, windows, 1, lambda part: _on_patch(watcher, part), overlap=PATCH_OVERLAP_FRACTION, mode="gaussian"
        )
        signed: Tensor = seen[0, 0, : shape[0], : shape[1], : shape[2]].cpu()
    return signed * mask


def _on_patch(watcher: ChangeNetwork, part: Tensor) -> Tensor:
    evidence: Tensor = watcher(part[:, :1], part[:, 1:2], part[:, 2:])
    return evidence


def _pad_to_stride(stack: Tensor) -> Tensor:
    """Channels (1, c, i, j, k) with nothing added up to multiples of eight."""
    missing = [-n % COARSEST_STRIDE for n in reversed(stack.shape[2:])]
    return functional.pad(stack, [side for count in missing for side in (0, count)])
