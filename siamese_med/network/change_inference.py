"""Apply the change head to a whole pair: where do two scans differ by more than their acquisitions explain?"""

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
"""Longest edge, in voxels, processed at once; larger scans are cut into overlapping patches to limit memory."""
PATCH_OVERLAP_FRACTION = 0.25
"""Overlap of neighbouring patches, as a share of the patch; wider than the receptive field of the head."""


class PairImages(Protocol):
    """Two scans of one patient on one grid with matched intensity scales, and the body that both show."""

    @property
    def a(self) -> Tensor:
        """Earlier scan (i, j, k)."""

    @property
    def b(self) -> Tensor:
        """Later scan (i, j, k)."""

    @property
    def inside(self) -> Tensor:
        """Body mask (i, j, k): true where both scans show the body."""


@dataclass(frozen=True)
class NetworkDetector:
    """The change head of a model folder as a detector, see `detect_with_network`."""

    folder: Path

    def __call__(self, pair: PairImages, spacing_mm: float) -> Tensor:
        """Signed evidence (i, j, k) of a pair."""
        return detect_with_network(self.folder, pair, spacing_mm)


def detect_with_network(folder: Path, pair: PairImages, _spacing_mm: float) -> Tensor:
    """Compute the signed evidence of change of one pair with the change head of a model.

    Swapping the scans flips the sign, and a scan compared with itself gives zero.

    Parameters
    ----------
    folder
        Model folder. Only its weights are read, so the model may still be in the making.
    pair
        The two aligned scans and their body mask.
    _spacing_mm
        Ignored: a model measures at the spacing that it was trained with.

    Returns
    -------
    Tensor
        Evidence (i, j, k) on the CPU, positive where `b` is brighter, 0 outside the body.
    """
    return infer_change_evidence(load_change_network(folder), pair.a, pair.b, pair.inside)


def load_change_network(folder: Path) -> ChangeNetwork:
    """Load the backbone and change head of a model, on the GPU where there is one.

    The result is cached in the process until the weights file changes.

    Parameters
    ----------
    folder
        Model folder with its weights file.

    Returns
    -------
    ChangeNetwork
        Network in evaluation mode.
    """
    weights = model_folder.find_weights_file(folder)
    return _load_change_network(weights, files.read_file_signature(weights))


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
    """Compute the signed evidence of change of one pair with a loaded network.

    Parameters
    ----------
    watcher
        Backbone and change head, on any device.
    a, b
        Scans (i, j, k) on one grid with matched intensity scales.
    inside
        Body mask (i, j, k).

    Returns
    -------
    Tensor
        Evidence (i, j, k) on the CPU, positive where `b` is brighter, 0 outside the body.
    """
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
    """Pad channels (1, c, i, j, k) with zeros at the far end of each axis to multiples of eight."""
    missing = [-n % COARSEST_STRIDE for n in reversed(stack.shape[2:])]
    return functional.pad(stack, [side for count in missing for side in (0, count)])
