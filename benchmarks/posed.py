"""Simulated scans of known pose, the template they belong on, and scans that are hard to place or belong nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.resampling import resample_volume
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.simulation import anatomy, scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

SHAPE, SPACING_MM = (64, 64, 64), 3.0
DIFFERENCE = 0.25
TEMPLATE_SCANS = 8
CONTRASTS = ("FLAIR", "T1w", "T2w")
SLICES_MM = (1.8, 3.0, 4.0, 5.0)
BLOCK = 16


@dataclass(frozen=True)
class Posed:
    """A scan, whose it is, how it was taken, and where it lies: template mm to scan mm, None where nowhere."""

    scan: Volume
    patient: str
    group: str
    contrast: str
    truth: Matrix | None


def template(contrast: str, seed: int) -> Volume:
    """Mean of eight people, none of them tested, in their true poses."""
    import torch

    grid = make_centred_affine(SHAPE, SPACING_MM)
    total, seen = torch.zeros(SHAPE), torch.zeros(SHAPE)
    for number, machine in enumerate(scanner.draw_scanners(np.random.default_rng([seed, 8]), TEMPLATE_SCANS)):
        rng = np.random.default_rng([seed, 9, number])
        taken = scanner.acquire_scan(
            anatomy.simulate_anatomy(rng, DIFFERENCE), replace(machine, contrast=contrast), rng
        )
        voxels, valid = resample_volume(taken.volume, np.linalg.inv(taken.to_anatomy) @ grid, SHAPE)[0]
        total += normalise_intensity(voxels, valid)
        seen += valid
    return Volume((total / seen.clamp(min=1)).numpy(), grid)


def scans(count: int, seed: int) -> Iterator[Posed]:
    """Half of them of the average anatomy, half of people who differ, twice each; up to 20 degrees and 20 mm."""
    rng = np.random.default_rng([seed, 1])
    machines = scanner.draw_scanners(rng, 6)
    for number in range(count // 2):
        yield _taken(anatomy.simulate_anatomy(rng, 0.0), f"average {number}", "average anatomy", machines, number, rng)
    for number in range(count // 4):
        person = anatomy.simulate_anatomy(np.random.default_rng([seed, 2, number]), DIFFERENCE)
        for visit in range(2):
            yield _taken(person, f"person {number}", "other people", machines, number + visit, rng)


def _taken(
    person: anatomy.Anatomy,
    patient: str,
    group: str,
    machines: list[scanner.Scanner],
    number: int,
    rng: np.random.Generator,
) -> Posed:
    contrast = CONTRASTS[number % 3]
    machine = replace(machines[rng.integers(len(machines))], contrast=contrast, slice_mm=float(rng.choice(SLICES_MM)))
    taken = scanner.acquire_scan(person, machine, rng)
    upright = Volume(taken.volume.voxels, taken.to_anatomy @ taken.volume.affine)
    return moved(Posed(upright, patient, group, contrast, np.eye(4)), motion(rng, 0, 20))


def motion(rng: np.random.Generator, least: float, most: float, shift_mm: float = 20.0) -> Matrix:
    """A rotation by `least` to `most` degrees about any axis, and a shift by up to `shift_mm` anywhere."""
    from scipy.spatial.transform import Rotation

    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(least, most)) * axis).as_matrix()
    matrix[:3, 3] = rng.uniform(0, shift_mm) * direction
    return matrix


def moved(posed: Posed, matrix: Matrix, centre: NDArray[np.float64] | None = None) -> Posed:
    """The same scan lying elsewhere: only its affine changes. Turned about `centre`, where given."""
    if centre is not None:
        matrix = matrix.copy()
        matrix[:3, 3] += centre - matrix[:3, :3] @ centre
    truth = None if posed.truth is None else matrix @ posed.truth
    return replace(posed, scan=Volume(posed.scan.voxels, matrix @ posed.scan.affine), truth=truth)


def hard(posed: Posed, number: int, rng: np.random.Generator) -> Posed:
    """A scan like this one that may fail, or has to: the kinds take turns."""
    kinds: tuple[tuple[str, Callable[[], Posed]], ...] = (
        ("turned by 40 to 90 degrees", lambda: moved(posed, motion(rng, 40, 90))),
        ("turned by 90 to 180 degrees", lambda: moved(posed, motion(rng, 90, 180))),
        ("half empty", lambda: _with(posed, _half(posed.scan.voxels, rng), posed.truth)),
        ("part of the slices", lambda: _cropped(posed, rng)),
        ("noise", lambda: _with(posed, rng.random(posed.scan.voxels.shape, dtype=np.float32), None)),
        ("blocks in disorder", lambda: _with(posed, shuffle_blocks(posed.scan.voxels, rng), None)),
        ("a ball", lambda: _with(posed, _ball(posed.scan.voxels.shape, rng), None)),
        ("a third of the head as all of it", lambda: _with(posed, posed.scan.voxels, None, stretch=3.0)),
    )
    name, make = kinds[number % len(kinds)]
    return replace(make(), group=name)


def _with(posed: Posed, voxels: NDArray[np.float32], truth: Matrix | None, stretch: float = 1.0) -> Posed:
    scaled = posed.scan.affine @ np.diag([stretch, stretch, stretch, 1.0])
    return replace(posed, scan=Volume(voxels, scaled), truth=truth)


def _half(voxels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    emptied, axis = voxels.copy(), int(rng.integers(3))
    np.moveaxis(emptied, axis, 0)[: voxels.shape[axis] // 2] = 0
    return emptied


def _cropped(posed: Posed, rng: np.random.Generator) -> Posed:
    """Two fifths to seven tenths of the field of view along one axis."""
    axis = int(rng.integers(3))
    whole = posed.scan.voxels.shape[axis]
    kept = int(whole * rng.uniform(0.4, 0.7))
    first = int(rng.integers(0, whole - kept))
    box = tuple(slice(first, first + kept) if a == axis else slice(None) for a in range(3))
    affine = posed.scan.affine.copy()
    affine[:3, 3] += first * affine[:3, axis]
    return replace(posed, scan=Volume(np.ascontiguousarray(posed.scan.voxels[box]), affine))


def shuffle_blocks(voxels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Exchange blocks of BLOCK voxels at random; what does not fill a block becomes 0."""
    corners = [
        tuple(slice(BLOCK * c, BLOCK * (c + 1)) for c in corner)
        for corner in np.ndindex(*(n // BLOCK for n in voxels.shape))
    ]
    mixed = np.zeros_like(voxels)
    for goal, source in zip(corners, rng.permutation(len(corners)), strict=True):
        mixed[goal] = voxels[corners[source]]
    return mixed


def _ball(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < rng.uniform(0.2, 0.6)
    return (inside + 0.05 * rng.random(shape)).astype(np.float32)
