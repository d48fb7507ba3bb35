"""Random lesions for synthetic scans of label maps: tumours with rim and oedema, holes, and many small spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.brain.structures import Structure

if TYPE_CHECKING:
    import torch

WHITE_MATTER = (Structure.LEFT_WHITE_MATTER, Structure.RIGHT_WHITE_MATTER)


def add_tumour(
    image: torch.Tensor, structures: torch.Tensor, rng: np.random.Generator, radius_voxels: tuple[float, float]
) -> torch.Tensor:
    """Add one tumour, or the hole that is left of one: a core, often a rim, and swelling of the white matter around.

    Parameters
    ----------
    image, structures
        (i, j, k); brightness as a share of full scale, and numbers of `Structure`.
    radius_voxels
        The radius is uniform between these.

    Returns
    -------
    A new image; the structures stay what they were, since a tumour lies inside the brain.
    """
    import torch

    brain = structures > 0
    places = torch.nonzero(brain.flatten())[:, 0]
    if not len(places):
        return image
    centre = np.unravel_index(int(places[rng.integers(len(places))]), tuple(image.shape))
    radius = rng.uniform(*radius_voxels)
    box = tuple(
        slice(max(0, int(c - 2 * radius)), min(n, int(c + 2 * radius) + 1))
        for c, n in zip(centre, image.shape, strict=True)
    )
    distance = _uneven_distance(box, centre, radius, rng)
    part, inside = image[box].clone(), brain[box]
    white = torch.isin(structures[box], torch.tensor(WHITE_MATTER, dtype=structures.dtype))
    core, rim, swelling = rng.uniform(0, 1.1, 3)
    if rng.random() < 0.5:
        part[(distance < rng.uniform(1.2, 1.8)) & white] = swelling
    part[(distance < 1) & inside] = core
    if rng.random() < 0.6:
        part[(distance < 1) & (distance > rng.uniform(0.6, 0.85)) & inside] = rim
    changed = image.clone()
    changed[box] = part
    return changed


def add_spots(image: torch.Tensor, structures: torch.Tensor, rng: np.random.Generator, count: int) -> torch.Tensor:
    """Add small round lesions of one brightness in the white matter, as in multiple sclerosis; radius 1 to 4 voxels."""
    import torch

    white = torch.isin(structures, torch.tensor(WHITE_MATTER, dtype=structures.dtype))
    places = torch.nonzero(white.flatten())[:, 0]
    if not len(places):
        return image
    changed, level = image.clone(), rng.uniform(0, 1.2)
    for place in places[torch.from_numpy(rng.integers(len(places), size=count))].tolist():
        centre = np.unravel_index(place, tuple(image.shape))
        radius = rng.uniform(0.8, 4.0)
        box = tuple(
            slice(max(0, int(c - radius - 1)), min(n, int(c + radius + 2)))
            for c, n in zip(centre, image.shape, strict=True)
        )
        share = (radius - radius * _uneven_distance(box, centre, radius, rng) + 0.5).clamp(0, 1) * white[box]
        changed[box] += share * (level - changed[box])
    return changed


def _uneven_distance(
    box: tuple[slice, ...], centre: tuple[np.intp, ...], radius: float, rng: np.random.Generator
) -> torch.Tensor:
    """Distance from the centre in radii, over an ellipsoid whose surface is uneven."""
    import torch

    total = 0.0
    stretch = rng.uniform(0.7, 1.3, 3)
    for axis, (extent, middle) in enumerate(zip(box, centre, strict=True)):
        steps = (torch.arange(extent.start, extent.stop, dtype=torch.float32) - float(middle)) / (
            radius * stretch[axis]
        )
        total = total + (steps**2).view([-1 if n == axis else 1 for n in range(3)])
    distance = torch.as_tensor(total).sqrt()
    if radius > 4:
        from siamese_med.simulation.label_map_synthesis import make_smooth_noise

        distance = distance * (1 + 0.12 * make_smooth_noise(rng, tuple(distance.shape), max(2, int(radius / 2))))
    return distance
