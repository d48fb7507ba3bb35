"""Where two scans of one patient differ by more than acquisitions do: the change head over a whole pair."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from siamese_med import files, intensity
from siamese_med.network import head, model
from siamese_med.network.head import ChangeHead, Watcher
from siamese_med.network.trunk import DEEPEST, Trunk

PATCH = 128
"""Larger scans are looked at in overlapping patches, so that memory does not grow with them."""
OVERLAP = 0.25
"""Of neighbouring patches; more than the head sees around a voxel."""


class Pair(Protocol):
    """Two scans (i, j, k) of one patient on one grid and one scale of brightness, and the body that both show."""

    @property
    def a(self) -> Tensor: ...
    @property
    def b(self) -> Tensor: ...
    @property
    def inside(self) -> Tensor: ...


def evidence(folder: Path, pair: Pair, _spacing_mm: float) -> Tensor:
    """Signed evidence (i, j, k) of a model folder, positive where b is brighter, 0 outside the body.

    Zero for a scan with itself, the negative for swapped ones. The spacing is the model's anyway, see `Model.measures`.
    The folder may be one that is being made, as long as its weights are there.
    """
    return found(loaded(folder), pair.a, pair.b, pair.inside)


def loaded(folder: Path) -> Watcher:
    """The part of a model that sees change, on an accelerator where there is one; read once a process."""
    return _loaded(folder / model.WEIGHTS, files.version(folder / model.WEIGHTS))


@lru_cache(maxsize=2)
def _loaded(path: Path, _version: tuple[int, int, int]) -> Watcher:
    from safetensors.torch import load_file

    weights = load_file(path)
    parts = {name: tensor for name, tensor in weights.items() if name.startswith(("trunk.", "change."))}
    trunk = Trunk(len(parts["trunk.halves.0.0.weight"]))
    watcher = Watcher(trunk, ChangeHead(trunk))
    watcher.load_state_dict(parts)
    return watcher.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def found(watcher: Watcher, a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """As `evidence`, for scans (i, j, k)."""
    from monai.inferers.utils import sliding_window_inference

    device = next(watcher.parameters()).device
    middle = intensity.middle(a, b, inside)
    mask = inside.to(a.dtype)
    dates = [(intensity.compressed(scan, middle) * mask)[None, None].to(device) for scan in (a, b)]
    with torch.inference_mode():
        plain = head.deviations(dates[0], dates[1], mask[None, None].to(device))
        shape = a.shape
        stack = _filled(torch.cat([*dates, plain], 1))
        windows = [min(PATCH, n) for n in stack.shape[2:]]
        seen = sliding_window_inference(
            stack, windows, 1, lambda part: _on_patch(watcher, part), overlap=OVERLAP, mode="gaussian"
        )
        signed: Tensor = seen[0, 0, : shape[0], : shape[1], : shape[2]].cpu()
    return signed * mask


def _on_patch(watcher: Watcher, part: Tensor) -> Tensor:
    evidence: Tensor = watcher(part[:, :1], part[:, 1:2], part[:, 2:])
    return evidence


def _filled(stack: Tensor) -> Tensor:
    """Channels (1, c, i, j, k) with nothing added up to multiples of eight."""
    missing = [-n % DEEPEST for n in reversed(stack.shape[2:])]
    return functional.pad(stack, [side for count in missing for side in (0, count)])
