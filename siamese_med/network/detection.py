"""Where two scans of one patient differ by more than acquisitions do: the change head over a whole pair."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from siamese_med.errors import ModelError
from siamese_med.network import head, model, synthesis
from siamese_med.network.siamese import Siamese
from siamese_med.network.trunk import DEEPEST

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


def evidence(folder: Path, pair: Pair, spacing_mm: float) -> Tensor:
    """Signed evidence (i, j, k) of a model folder, positive where b is brighter, 0 outside the body.

    Zero for a scan with itself, the negative for swapped ones. Raises ModelError where the voxels are not as large as
    those that the model learned from.
    """
    network, learned_mm = loaded(folder)
    if not math.isclose(spacing_mm, learned_mm, rel_tol=0.01):
        raise ModelError(
            f"the model learned from voxels of {learned_mm:g} mm, these have {spacing_mm:g}: "
            f"set score.spacing_mm = {learned_mm:g}, or train again"
        )
    return found(network, pair.a, pair.b, pair.inside)


@lru_cache(maxsize=2)
def loaded(folder: Path) -> tuple[Siamese, float]:
    """The network of a model folder, on an accelerator where there is one, and its voxels' edge; once a process."""
    chosen = model.load(folder)
    network = chosen.network.cuda() if torch.cuda.is_available() else chosen.network
    return network, float(chosen.about["config"]["score"]["spacing_mm"])


def found(network: Siamese, a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """As `evidence`, of a network in memory and of scans (i, j, k)."""
    from monai.inferers.utils import sliding_window_inference

    device = next(network.parameters()).device
    middle, spread = synthesis.scale(a, b, inside)
    mask = inside.to(a.dtype)
    dates = [synthesis.shown(scan, middle, spread, mask)[None, None].to(device) for scan in (a, b)]
    with torch.inference_mode():
        plain = head.deviations(dates[0], dates[1], mask[None, None].to(device))
        shape = a.shape
        stack = _filled(torch.cat([*dates, plain], 1))
        windows = [min(PATCH, n) for n in stack.shape[2:]]
        seen = sliding_window_inference(
            stack, windows, 1, lambda part: _on_patch(network, part), overlap=OVERLAP, mode="gaussian"
        )
        signed: Tensor = seen[0, 0, : shape[0], : shape[1], : shape[2]].cpu()
    return signed * mask


def _on_patch(network: Siamese, part: Tensor) -> Tensor:
    evidence: Tensor = network.change(network.trunk, part[:, :1], part[:, 1:2], part[:, 2:])
    return evidence


def _filled(stack: Tensor) -> Tensor:
    """Channels (1, c, i, j, k) with nothing added up to multiples of eight."""
    missing = [-n % DEEPEST for n in reversed(stack.shape[2:])]
    return functional.pad(stack, [side for count in missing for side in (0, count)])
