"""Five views of a scan that could tell patients apart without their anatomy, and the features of pairs made of them.

==============  ===========================================================================================
`header`        modality, contrast, scanner, protocol, and size of the image (`compare_headers`)
`background`    the image well outside the body
`outline`       the mask of the body, or of what the network is shown
`histogram`     the distribution of intensities
`thumbnail`     the image at 8 x 8 x 8
==============  ===========================================================================================

The features of a pair do not depend on the order of its scans.
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
"""Columns of the scan table whose equality is a feature of a pair."""
HEADER_SIZES = ("shape", "spacing_mm")
"""Columns of the scan table (three numbers each) whose absolute log ratios are features of a pair."""
MIN_BACKGROUND_DISTANCE_MM = 15.0
"""The background begins at this distance from the template's body, so that no scan's own outline reaches it."""
MIN_BACKGROUND_VOXELS = 100
"""With fewer voxels of background, that view has no input. Unit: voxels of the template."""

VIEW_BLOCKS, OUTLINE_BLOCKS = 8, 16
"""Blocks along each axis to which background and thumbnail, and the outline, are averaged."""
HISTOGRAM_BINS = 48
"""Bins of intensity, from 0 to MAX_NORMALISED_INTENSITY."""
TISSUE_INTENSITY_FRACTION = 0.25
"""Intensity below which voxels not enclosed by tissue are outside the body. Unit: share of the 90th percentile."""

MAX_PRINCIPAL_COMPONENTS = 16
"""Largest number of principal components of a view."""
SCANS_PER_COMPONENT = 4
"""There is at most one principal component per this many training scans."""


def compare_headers(scans: pd.DataFrame, places: Places) -> Values:
    """Compute the header features of pairs: equality of HEADER_WORDS, absolute log ratios of HEADER_SIZES.

    Parameters
    ----------
    scans
        Scan table, one row per scan.
    places
        Row numbers of the first and of the second scan of each pair.

    Returns
    -------
    Values
        (pairs, 11): four equalities, six log ratios, and whether all sizes agree.

    Examples
    --------
    >>> import pandas as pd
    >>> one = {"modality": "MR", "contrast": "T1w", "scanner": "Skyra", "protocol": "3D"}
    >>> sizes = {"shape": [256, 256, 180], "spacing_mm": [1, 1, 1]}
    >>> scans = pd.DataFrame([{**one, **sizes}, {**one, **sizes, "scanner": "Prisma"}])
    >>> compare_headers(scans, (np.array([0]), np.array([1])))
    array([[1., 1., 0., 1., 0., 0., 0., 0., 0., 0., 1.]])
    """
    first, second = places
    words = [scans[name].to_numpy(str) for name in HEADER_WORDS]
    sizes = [np.log(np.stack([np.asarray(row, float) for row in scans[name]])) for name in HEADER_SIZES]
    equal = np.stack([word[first] == word[second] for word in words], 1)
    apart = np.hstack([np.abs(size[first] - size[second]) for size in sizes])
    return np.hstack([equal, apart, (apart.max(1, keepdims=True) < 1e-3)]).astype(float)


def extract_confound_views(
    volumes: Sequence[NDArray[np.generic]], template: Volume, shown: NetworkView | None = None
) -> dict[str, Values | None]:
    """Extract the image views (all but the header) of aligned volumes.

    Parameters
    ----------
    volumes
        Aligned volumes (i, j, k) on the grid of the template.
    template
        Decides where the background is.
    shown
        Applied to every volume, if the views are to be those of the network's input.

    Returns
    -------
    dict
        By view, features (scans, features); None for a background of fewer than MIN_BACKGROUND_VOXELS.
    """
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
    """Find the background: voxels (i, j, k) further than MIN_BACKGROUND_DISTANCE_MM from the body of the template."""
    from scipy.ndimage import distance_transform_edt

    body = _body(template.voxels)
    if body.all() or not body.any():
        return np.zeros(body.shape, dtype=bool)
    return np.asarray(distance_transform_edt(body == 0, sampling=template.spacing_mm) > MIN_BACKGROUND_DISTANCE_MM)


def _body(voxels: NDArray[Any]) -> NDArray[np.float32]:
    """Mask of the body, 0 or 1: tissue, and whatever tissue encloses."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(
        binary_fill_holes(voxels > TISSUE_INTENSITY_FRACTION * np.quantile(voxels, 0.9)), dtype=np.float32
    )


def _shown_region(voxels: Tensor) -> Tensor:
    return (voxels != 0).float()


def _halved_body(voxels: Tensor) -> Tensor:
    """Mask of the body at half the resolution, where noise makes no holes, and filling takes an eighth of the time."""
    import torch
    from torch.nn.functional import avg_pool3d

    fine = [2 if size > 1 else 1 for size in voxels.shape]
    return torch.from_numpy(_body(avg_pool3d(voxels[None], fine, ceil_mode=True)[0].numpy()))


def _blocks(voxels: Tensor, blocks: int) -> Tensor:
    """Average a volume to `blocks` blocks along each axis."""
    from torch.nn.functional import adaptive_avg_pool3d

    return adaptive_avg_pool3d(voxels[None], blocks)[0]


def _histogram(voxels: Tensor) -> Tensor:
    """Square roots of the relative frequencies of intensity, from 0 to MAX_NORMALISED_INTENSITY."""
    counts = voxels[voxels > 0].histc(HISTOGRAM_BINS, 0, MAX_NORMALISED_INTENSITY)
    return (counts / counts.sum().clamp(min=1)).sqrt()


@dataclass(frozen=True)
class PrincipalProjection:
    """Projection of a view to principal components of unit variance (whitening).

    Attributes
    ----------
    mean
        Mean of the training scans (features,).
    directions
        Scaled principal directions (features, components).
    """

    mean: Values
    directions: Values

    def pairs(self, seen: Values, places: Places) -> Values:
        """Compute the features of pairs (pairs, 2 x components + 2).

        Absolute differences and products of the components, the Euclidean distance, and the cosine of the angle.

        Parameters
        ----------
        seen
            The view of all scans (scans, features).
        places
            Row numbers of the first and of the second scan of each pair.
        """
        first, second = ((seen - self.mean) @ self.directions)[np.stack(places)]
        apart = np.abs(first - second)
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        parallel = (first * second).sum(1) / np.maximum(lengths, 1e-9)
        return np.column_stack([apart, first * second, np.linalg.norm(apart, axis=1), parallel])


def fit_projection(seen: Values) -> PrincipalProjection:
    """Fit the principal components of a view of the training scans (scans, features).

    Examples
    --------
    >>> projection = fit_projection(np.random.default_rng(0).normal(size=(12, 5)))
    >>> projection.directions.shape  # one component per four scans
    (5, 3)
    """
    mean = seen.mean(0)
    _, spread, directions = np.linalg.svd(seen - mean, full_matrices=False)
    kept = min(
        MAX_PRINCIPAL_COMPONENTS, max(1, len(seen) // SCANS_PER_COMPONENT), int((spread > 1e-6 * spread[0]).sum())
    )
    scale = np.maximum(spread[:kept], 1e-9) / np.sqrt(len(seen))
    return PrincipalProjection(mean, directions[:kept].T / scale)
