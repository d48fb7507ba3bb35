"""What tells patients apart without looking at their anatomy: five narrow views of a scan, and of a pair of scans.

Whatever a view is, a pair is described so that the order of its scans does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging.intensity import MAX_NORMALISED_INTENSITY

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from siamese_med.imaging.volume import Volume

    Values = NDArray[np.float64]
    Places = tuple[NDArray[np.intp], NDArray[np.intp]]

NetworkView = Callable[["NDArray[np.generic]"], "NDArray[np.float32]"]
"""From an aligned volume (i, j, k) to what a network is shown of it, zero where it is shown nothing."""

HEADER_WORDS = ("modality", "contrast", "scanner", "protocol")
HEADER_SIZES = ("shape", "spacing_mm")
MIN_BACKGROUND_DISTANCE_MM = 15.0
MIN_BACKGROUND_VOXELS = 100
"""Voxels; with fewer well outside the body there is no background to look at."""

VIEW_BLOCKS, OUTLINE_BLOCKS = 8, 16
HISTOGRAM_BINS = 48
TISSUE_INTENSITY_FRACTION = 0.25
"""Of the bright tissue's intensity; what is darker than that, and not enclosed, is no body."""

MAX_PRINCIPAL_COMPONENTS = 16
SCANS_PER_COMPONENT = 4


def compare_headers(scans: pd.DataFrame, places: Places) -> Values:
    """Which words of the header agree, and by how much the sizes differ: (pairs, features)."""
    first, second = places
    words = [scans[name].to_numpy(str) for name in HEADER_WORDS]
    sizes = [np.log(np.stack([np.asarray(row, float) for row in scans[name]])) for name in HEADER_SIZES]
    equal = np.stack([word[first] == word[second] for word in words], 1)
    apart = np.hstack([np.abs(size[first] - size[second]) for size in sizes])
    return np.hstack([equal, apart, (apart.max(1, keepdims=True) < 1e-3)]).astype(float)


def extract_confound_views(
    volumes: Sequence[NDArray[np.generic]], template: Volume, shown: NetworkView | None = None
) -> dict[str, Values | None]:
    """Of each aligned volume (i, j, k) what each view sees: (scans, features); None where there is nothing to see."""
    import torch

    outside = torch.from_numpy(find_background(template))
    looks: dict[str, Callable[[Tensor], Tensor]] = {
        "background": lambda voxels: _blocks(voxels * outside, VIEW_BLOCKS),
        "outline": lambda voxels: _blocks(_shown_region(voxels) if shown else _halved_body(voxels), OUTLINE_BLOCKS),
        "histogram": _histogram,
        "thumbnail": lambda voxels: _blocks(voxels, VIEW_BLOCKS),
    }
    seen: dict[str, list[Values]] = {name: [] for name in looks}
    for volume in volumes:
        voxels = torch.from_numpy(np.asarray(shown(volume) if shown else volume, dtype=np.float32))
        for name, look in looks.items():
            seen[name].append(look(voxels).flatten().double().numpy())
    found: dict[str, Values | None] = {name: np.stack(rows) for name, rows in seen.items()}
    return found if outside.sum() >= MIN_BACKGROUND_VOXELS else {**found, "background": None}


def find_background(template: Volume) -> NDArray[np.bool_]:
    """Voxels well outside the template's body: fixed, so that no scan's own outline shows in it."""
    from scipy.ndimage import distance_transform_edt

    body = _body(template.voxels)
    if body.all() or not body.any():
        return np.zeros(body.shape, dtype=bool)
    return np.asarray(distance_transform_edt(body == 0, sampling=template.spacing_mm) > MIN_BACKGROUND_DISTANCE_MM)


def _body(voxels: NDArray[Any]) -> NDArray[np.float32]:
    """One where there is tissue or what tissue encloses."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(
        binary_fill_holes(voxels > TISSUE_INTENSITY_FRACTION * np.quantile(voxels, 0.9)), dtype=np.float32
    )


def _shown_region(voxels: Tensor) -> Tensor:
    return (voxels != 0).float()


def _halved_body(voxels: Tensor) -> Tensor:
    """The body at half the resolution, where noise makes no holes and filling them costs an eighth."""
    import torch
    from torch.nn.functional import avg_pool3d

    fine = [2 if size > 1 else 1 for size in voxels.shape]
    return torch.from_numpy(_body(avg_pool3d(voxels[None], fine, ceil_mode=True)[0].numpy()))


def _blocks(voxels: Tensor, blocks: int) -> Tensor:
    """Means of `blocks` cubed blocks."""
    from torch.nn.functional import adaptive_avg_pool3d

    return adaptive_avg_pool3d(voxels[None], blocks)[0]


def _histogram(voxels: Tensor) -> Tensor:
    """Square roots of the shares of the voxels at equal steps of intensity."""
    counts = voxels[voxels > 0].histc(HISTOGRAM_BINS, 0, MAX_NORMALISED_INTENSITY)
    return (counts / counts.sum().clamp(min=1)).sqrt()


@dataclass(frozen=True)
class PrincipalProjection:
    """A view in the few directions in which the training scans differ most, each of unit spread."""

    mean: Values
    directions: Values

    def pairs(self, seen: Values, places: Places) -> Values:
        """Differences and products along each direction, and how far and how parallel the two scans lie."""
        first, second = ((seen - self.mean) @ self.directions)[np.stack(places)]
        apart = np.abs(first - second)
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        parallel = (first * second).sum(1) / np.maximum(lengths, 1e-9)
        return np.column_stack([apart, first * second, np.linalg.norm(apart, axis=1), parallel])


def fit_projection(seen: Values) -> PrincipalProjection:
    """Principal components of the training scans (scans, features)."""
    mean = seen.mean(0)
    _, spread, directions = np.linalg.svd(seen - mean, full_matrices=False)
    kept = min(
        MAX_PRINCIPAL_COMPONENTS, max(1, len(seen) // SCANS_PER_COMPONENT), int((spread > 1e-6 * spread[0]).sum())
    )
    scale = np.maximum(spread[:kept], 1e-9) / np.sqrt(len(seen))
    return PrincipalProjection(mean, directions[:kept].T / scale)
