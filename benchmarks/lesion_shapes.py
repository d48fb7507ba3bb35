"""Shapes of lesions, each of a wanted volume, on the grid of the simulated anatomy: three families.

`ellipsoid` is of the family that training draws from; `noise` and `expert` are held out from it. Every family is a
field on sub-voxels, of which the highest are the lesion; so the volume is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, label, map_coordinates
from scipy.spatial.transform import Rotation

from siamese_med.imaging import volume
from siamese_med.simulation.mni_head import HEAD_GRID_MM

EXPERT_MASKS = Path("../shared/real/open_ms")
FINE = 2
"""Sub-voxels along the edge of a voxel."""
FINE_MM = HEAD_GRID_MM / FINE
SMALLEST_EXPERT_MM3 = 6.0
ALIKE = 6
"""An expert's shape is one of so many nearest in size to what is wanted."""

Field = NDArray[np.float64]
Shape = NDArray[np.float32]
Family = Callable[[np.random.Generator, float], Shape]


def noise(rng: np.random.Generator, volume_mm3: float) -> Shape:
    """Where smooth noise is high, near a centre: blotches with bays and islands; fractions (i, j, k), 0 to 1."""
    radius = _radius(volume_mm3)
    places = _places(2.2 * radius)
    rough = gaussian_filter(rng.standard_normal(places.shape[:3]), max(1.0, 0.5 * radius / FINE_MM))
    distance = np.linalg.norm(places, axis=-1) / radius
    return _highest(rough / rough.std() - 1.2 * distance**2, volume_mm3)


def ellipsoid(rng: np.random.Generator, volume_mm3: float) -> Shape:
    """A turned ellipsoid; fractions (i, j, k), 0 to 1."""
    axes = np.exp(0.35 * rng.standard_normal(3))
    axes /= axes.prod() ** (1 / 3)
    places = _places(2.5 * _radius(volume_mm3)) @ Rotation.random(random_state=rng).as_matrix() / axes
    return _highest(-np.linalg.norm(places, axis=-1), volume_mm3)


def expert(rng: np.random.Generator, volume_mm3: float) -> Shape:
    """A connected part of an expert's mask of a real patient, turned, mirrored, scaled; fractions (i, j, k), 0 to 1."""
    known = _expert_parts()
    nearest = np.argsort([abs(math.log(part.volume_mm3 / volume_mm3)) for part in known])[:ALIKE]
    part = known[int(rng.choice(nearest))]
    scale = (volume_mm3 / part.volume_mm3) ** (1 / 3)
    turn = Rotation.random(random_state=rng).as_matrix() * rng.choice([-1, 1], 3)
    places = _places(scale * part.reach_mm) @ turn / scale / part.spacing_mm + part.centre
    depth = map_coordinates(part.depth_mm, np.moveaxis(places, -1, 0), order=1, mode="nearest")
    return _highest(depth, volume_mm3)


FAMILIES: dict[str, Family] = {"ellipsoid": ellipsoid, "noise": noise, "expert": expert}
HELD_OUT = ("noise", "expert")


@dataclass(frozen=True)
class _Part:
    """One connected part of a mask: depth below its surface on its own grid, negative outside."""

    depth_mm: Field
    centre: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    volume_mm3: float

    @property
    def reach_mm(self) -> float:
        """From the centre to the farthest corner."""
        return float(np.linalg.norm(self.spacing_mm * self.depth_mm.shape)) / 2


@lru_cache(maxsize=1)
def _expert_parts() -> list[_Part]:
    paths = sorted(EXPERT_MASKS.glob("*/gt.nii.gz"))
    if not paths:
        raise SystemExit(f"no expert mask under {EXPERT_MASKS}: real shapes cannot be planted without it")
    return [part for path in paths for part in _parts(volume.read_volume(path))]


def _parts(mask: volume.Volume) -> list[_Part]:
    numbered, _ = label(mask.voxels > 0, np.ones((3, 3, 3)))
    voxel_mm3 = float(mask.spacing_mm.prod())
    parts = []
    for number, box in enumerate(find_objects(numbered), 1):
        inside = np.pad(numbered[box] == number, 2)
        size = float(inside.sum()) * voxel_mm3
        if size >= SMALLEST_EXPERT_MM3:
            within, beyond = (distance_transform_edt(part, mask.spacing_mm) for part in (inside, ~inside))
            centre = np.argwhere(inside).mean(0)
            parts.append(_Part(gaussian_filter(within - beyond, 0.5), centre, mask.spacing_mm, size))
    return parts


def _radius(volume_mm3: float) -> float:
    return float((3 * volume_mm3 / (4 * math.pi)) ** (1 / 3))


def _places(reach_mm: float) -> Field:
    """Offsets in mm from the centre of a cube of sub-voxels, whole voxels along each edge: (i, j, k, 3)."""
    half = math.ceil(reach_mm / HEAD_GRID_MM) + 2
    axis = (np.arange(2 * half * FINE) + 0.5) * FINE_MM - half * HEAD_GRID_MM
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def _highest(field: Field, volume_mm3: float) -> Shape:
    """Share of each voxel's sub-voxels that are among the highest, as many as the volume takes."""
    count = min(field.size - 1, max(1, round(volume_mm3 / FINE_MM**3)))
    taken = field > np.partition(field.ravel(), -count - 1)[-count - 1]
    corners = product(range(FINE), repeat=3)
    share: Shape = np.mean([taken[i::FINE, j::FINE, k::FINE] for i, j, k in corners], axis=0, dtype=np.float32)
    return share
