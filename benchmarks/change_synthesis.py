"""Pairs of scans whose change is known voxel by voxel, for the change network: label maps and real heads as anatomy.

One anatomy is painted for two dates: lesions of expert masks' shapes come, grow, shrink, go or stay, tumours with rim
and oedema among them. Each date is then scanned with a pose, a protocol, a bend and artefacts of its own, and both are
laid on one grid as `pair_registration` does it, with the error that a registration leaves. What differs of the two
painted anatomies is the truth; what differs of the scans beside it is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.structures import Structure
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.change.pair_registration import match_intensities
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation import rescan
from siamese_med.simulation.label_map_synthesis import LabelMap
from siamese_med.simulation.scanner import make_rotation_matrix
from siamese_med.simulation.tissue_levels import draw_levels, get_unevenness

Matrix = NDArray[np.float64]

FINE_MM = 1.25
"""Voxel edge of the painted anatomy."""
FINE_SHAPE = (136, 160, 128)
PAIR_MM = 1.5
"""Voxel edge of the grid on which the pair lies, as `score.spacing_mm`."""
PAIR_SHAPE = (112, 128, 104)
CHANGED, UNCLEAR = 0.08, 0.03
"""Difference of the painted anatomies, as a share of full scale, from which a voxel changed, and up to which it did
not."""
WHITE = (Structure.LEFT_WHITE_MATTER, Structure.RIGHT_WHITE_MATTER)
VENTRICLES = (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)
CORTEX = (Structure.LEFT_CORTEX, Structure.RIGHT_CORTEX)
FLUID = (*VENTRICLES, Structure.OTHER_FLUID)
REMAPPED = {
    "T2w": np.array([0.0, 1.0, 0.65, 0.45, 0.38]),
    "FLAIR": np.array([0.0, 0.2, 0.85, 0.7, 0.62]),
}
"""Curves that make a T1w head look like another contrast: fluid bright or dark, grey matter brighter than white."""


@dataclass(frozen=True)
class Head:
    """A real head on the fine grid: signal (0 in air, about 1 at full scale) and structures, (i, j, k)."""

    signal: NDArray[np.float16]
    structures: NDArray[np.uint8]
    contrast: str


@dataclass(frozen=True)
class ChangePair:
    """Two scans of one head on the pair grid, and what changed.

    Attributes
    ----------
    a, b
        Earlier and later scan, float32 (i, j, k), intensities matched.
    inside
        What is compared, bool.
    truth
        int8: 1 where the later scan is brighter by a change, -1 where it is darker, 0 where nothing changed.
    weight
        float32: 0 where it is unclear whether a voxel changed.
    """

    a: Tensor
    b: Tensor
    inside: Tensor
    truth: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Painting:
    """The anatomy at both dates on the fine grid, as date 1 would show both, and what lies where."""

    dates: tuple[Tensor, Tensor]
    changes: Tensor
    structures: Tensor


def read_head(path: Path, contrast: str) -> Head:
    """Read a real head, free it of noise, and lay it on the fine grid around the middle of its brain."""
    body = rescan.extract_body(volume.read_volume(path))
    affine = np.diag([*body.spacing_mm, 1.0])
    affine[:3, 3] = -(np.asarray(body.signal.shape) - 1) / 2 * body.spacing_mm
    scan = Volume(body.signal, affine)
    found = segment_brain(scan)
    marked = np.argwhere(found.structures > 0)
    middle = (found.affine @ [*(marked.min(0) + marked.max(0)) / 2, 1])[:3]
    grid = make_centred_affine(FINE_SHAPE, FINE_MM)
    grid[:3, 3] += middle
    signal = resampling.resample_volume(scan, grid, FINE_SHAPE)[0, 0].numpy()
    labels = Volume(found.structures.astype(np.float32), found.affine)
    structures = resampling.resample_volume(labels, grid, FINE_SHAPE, nearest=True)[0, 0].numpy()
    return Head(signal.astype(np.float16), structures.round().astype(np.uint8), contrast)


def read_lesion_shapes(folder: Path) -> list[NDArray[np.float32]]:
    """Read the shapes of real lesions: signed depth in mm (negative inside) around each part of the experts' masks."""
    files = [
        *sorted(folder.glob("open_ms_masks/cross_sectional/*/consensus_gt.nii.gz")),
        *sorted(folder.glob("open_ms_masks/longitudinal/*/gt.nii.gz")),
        *sorted(folder.glob("stroke_masks/*.nii.gz")),
    ]
    shapes = []
    for path in files:
        mask = volume.read_volume(path)
        parts, _ = ndimage.label(mask.voxels > 0, np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            part = np.pad(parts[box] == number, 3)
            edges = mask.spacing_mm
            if part.sum() < 5 or max(np.asarray(part.shape) * edges) > 50:
                continue
            one = np.asarray(ndimage.zoom(part.astype(np.float32), edges / FINE_MM, order=1)) > 0.5
            if one.sum() < 4:
                continue
            one = np.pad(one, 3)
            depth = ndimage.distance_transform_edt(~one) - ndimage.distance_transform_edt(one)
            smooth = ndimage.gaussian_filter(depth, 0.7) * FINE_MM
            shapes.append((smooth - np.quantile(smooth, one.mean())).astype(np.float32))  # of the same volume
    return shapes


def draw_pair(
    maps: Sequence[LabelMap], heads: Sequence[Head], shapes: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> ChangePair:
    """Draw a pair: from a label map, or as often from a real head, where there is one."""
    if heads and rng.random() < 0.5:
        painting = _paint_head(heads[rng.integers(len(heads))], shapes, rng)
    else:
        painting = _paint_map(maps[rng.integers(len(maps))], shapes, rng)
    return _scan_twice(painting, rng)


def _paint_map(person: LabelMap, shapes: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> Painting:
    warp = synthesis.draw_warp(rng, 0.0, float(rng.choice([1.5, 3.0])))
    affine = make_centred_affine(FINE_SHAPE, FINE_MM)
    shifts = rng.uniform(-0.5, 0.5, (2, 3)) * FINE_MM
    places = warp.sample(person, affine, FINE_SHAPE, shifts)
    contrast = None if rng.random() < 0.3 else str(rng.choice(["T1w", "T2w", "FLAIR", "T1wCE"], p=[0.2, 0.1, 0.5, 0.2]))
    levels = draw_levels(rng, contrast)
    unlike = float(rng.choice([0.01, 0.03, 0.06]))
    later = (levels * np.exp(unlike * rng.standard_normal(len(levels)))).astype(np.float32)
    structures = synthesis.get_structures(person, places[0])
    texture = synthesis.make_smooth_noise(rng, FINE_SHAPE, int(rng.integers(2, 6))) * float(rng.uniform(0.3, 1.5))
    bases = []
    for painted in (levels, later):
        image, spread = synthesis.paint_tissues(person, places, painted, get_unevenness())
        bases.append(image + spread * texture)
    return _add_lesions((bases[0], bases[1]), structures, contrast, shapes, rng)


def _paint_head(head: Head, shapes: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> Painting:
    signal, structures = torch.from_numpy(head.signal.astype(np.float32)), torch.from_numpy(head.structures)
    contrast = head.contrast
    if contrast == "T1w" and rng.random() < 0.6:
        contrast = str(rng.choice(["FLAIR", "FLAIR", "T2w"]))
    curve = np.linspace(0, 1, 5) if contrast == head.contrast else REMAPPED[contrast]
    curve = np.append(0.0, curve[1:] * np.exp(0.08 * rng.standard_normal(4)))
    unlike = float(rng.choice([0.01, 0.03, 0.06]))
    bases = []
    for knots in (curve, np.append(0.0, curve[1:] * np.exp(unlike * rng.standard_normal(4)))):
        values = np.interp(signal.numpy(), np.linspace(0, 1, 5), knots) * np.maximum(1, signal.numpy())
        bases.append(torch.from_numpy(values.astype(np.float32)))
    if rng.random() < 0.5:
        bases = [one.flip(0) for one in bases]
        structures = structures.flip(0)
    return _add_lesions((bases[0], bases[1]), structures, contrast, shapes, rng)


def _add_lesions(
    bases: tuple[Tensor, Tensor],
    structures: Tensor,
    contrast: str | None,
    shapes: Sequence[NDArray[np.float32]],
    rng: np.random.Generator,
) -> Painting:
    """Put lesions into both dates. Images: date 1, date 2, and date 2's lesions as date 1 would show them."""
    white = torch.isin(structures, torch.tensor(WHITE, dtype=structures.dtype))
    images = [bases[0].clone(), bases[1].clone(), bases[0].clone()]
    if not white.any():
        return Painting((images[0], images[1]), torch.zeros_like(images[0]), structures)
    usual = [float(image[white].median()) for image in images]
    brighter = (contrast not in ("T1w",)) if contrast else rng.random() < 0.5
    room = _find_room(structures)
    kind = rng.random()
    stable, changing = (0, 0) if kind < 0.15 else (int(rng.integers(0, 40)), int(rng.integers(1, 16)))
    if 0.15 <= kind < 0.25:
        changing = 0
    places = _draw_places(structures, stable + changing, rng)
    strength = rng.uniform(0.12, 0.5)
    for number, place in enumerate(places):
        depth = _draw_shape(shapes, rng)
        sign = 1 if brighter == (rng.random() < 0.9) else -1
        gain = sign * strength * math.exp(0.35 * rng.standard_normal())
        before, after = (0.0, 0.0) if number < stable else _draw_course(depth, rng)
        _add_lesion(images, room, depth, place, (before, after), [max(0.02, u + gain) for u in usual], rng)
    if rng.random() < 0.25:
        _add_tumour(images, structures, rng)
    changes = images[2] - images[0]
    for image in images[:2]:
        _add_flow(image, structures, rng)
    return Painting((images[0], images[1]), changes, structures)


def _find_room(structures: Tensor) -> Tensor:
    """Where lesions may be, 0 to 1: the tissue of the brain, with a soft edge."""
    tissue = (structures > 0) & ~torch.isin(structures, torch.tensor(FLUID, dtype=structures.dtype))
    return functional.avg_pool3d(tissue.float()[None, None], 3, 1, 1)[0, 0] * tissue


def _draw_places(structures: Tensor, count: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Centres of lesions: most in white matter, half of these near the ventricles or the cortex, few elsewhere."""

    def near(kinds: Sequence[Structure], voxels: int) -> Tensor:
        mask = torch.isin(structures, torch.tensor(kinds, dtype=structures.dtype)).float()[None, None]
        for axis in range(3):  # one axis after the other: 1.5 s less a pair
            size, margin = [1, 1, 1], [0, 0, 0]
            size[axis], margin[axis] = 2 * voxels + 1, voxels
            mask = functional.max_pool3d(mask, size, 1, margin)
        return mask[0, 0] > 0

    white = torch.isin(structures, torch.tensor(WHITE, dtype=structures.dtype))
    tissue = (structures > 0) & ~torch.isin(structures, torch.tensor(FLUID, dtype=structures.dtype))
    kinds = [white, white & near(VENTRICLES, 4), white & near(CORTEX, 2), tissue]
    listed = [torch.nonzero(kind.flatten())[:, 0].numpy() for kind in kinds]
    found = []
    for _ in range(count):
        chosen = listed[int(rng.choice(4, p=[0.3, 0.35, 0.2, 0.15]))]
        if len(chosen):
            found.append(np.array(np.unravel_index(int(chosen[rng.integers(len(chosen))]), FINE_SHAPE)))
    return found


def _draw_shape(shapes: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> NDArray[np.float32]:
    """Signed depth in mm of a lesion on the fine grid: a real one, turned, mirrored and scaled."""
    depth = shapes[rng.integers(len(shapes))]
    depth = np.transpose(depth, rng.permutation(3))[
        tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    ]
    factor = float(np.exp(0.3 * rng.standard_normal()))
    factor = min(factor, 48 / max(depth.shape))
    return np.asarray(ndimage.zoom(depth, factor, order=1) * factor, dtype=np.float32)


def _draw_course(depth: NDArray[np.float32], rng: np.random.Generator) -> tuple[float, float]:
    """How far the border lies inside (positive) or outside that of the shape, mm, at each date; 99: no lesion."""
    reach = max(0.6, -float(depth.min()))
    course = (99.0, 0.0) if rng.random() < 0.65 else (reach * rng.uniform(0.2, 0.7), -rng.uniform(0, 0.8))
    return course if rng.random() < 0.65 else (course[1], course[0])


def _add_lesion(
    images: Sequence[Tensor],
    room: Tensor,
    depth: NDArray[np.float32],
    centre: NDArray[np.int64],
    course: tuple[float, float],
    levels: Sequence[float],
    rng: np.random.Generator,
) -> None:
    """Blend one lesion into the images of both dates, and into the third as it is at the second date."""
    low = centre - np.array(depth.shape) // 2
    inner = tuple(slice(max(0, a), min(n, a + m)) for a, m, n in zip(low, depth.shape, FINE_SHAPE, strict=True))
    part = torch.from_numpy(
        np.ascontiguousarray(depth[tuple(slice(s.start - a, s.stop - a) for s, a in zip(inner, low, strict=True))])
    )
    softness = rng.uniform(0.25, 0.9)
    texture = 1 + 0.08 * synthesis.make_smooth_noise(rng, tuple(part.shape), 3)
    for image, shift, level in zip(images, (course[0], course[1], course[1]), levels, strict=True):
        share = torch.sigmoid((-part - shift) / softness) * room[inner]
        image[inner] += share * (level * texture - image[inner])


def _add_tumour(images: Sequence[Tensor], structures: Tensor, rng: np.random.Generator) -> None:
    """One mass with core, rim and swelling that grows, shrinks, stays, comes, or is taken out."""
    tissue = torch.nonzero((structures > 0).flatten())[:, 0]
    centre = np.array(np.unravel_index(int(tissue[rng.integers(len(tissue))]), FINE_SHAPE))
    radius = math.exp(rng.uniform(math.log(4), math.log(26)))
    course = rng.choice(["grow", "shrink", "stay", "new", "resected"], p=[0.35, 0.2, 0.2, 0.15, 0.1])
    ratio = {"grow": rng.uniform(0.4, 0.92), "shrink": rng.uniform(1.09, 1.8), "stay": 1.0, "new": 0.0}.get(course, 1.0)
    radii = (radius * ratio, radius) if ratio <= 1 else (radius, radius / ratio)
    reach = int(2.2 * radius / FINE_MM) + 2
    box = tuple(slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(centre, FINE_SHAPE, strict=True))
    total = torch.zeros(())
    for axis, (extent, middle) in enumerate(zip(box, centre, strict=True)):
        steps = (torch.arange(extent.start, extent.stop, dtype=torch.float32) - float(middle)) * FINE_MM
        total = total + ((steps / rng.uniform(0.75, 1.3)) ** 2).view([-1 if n == axis else 1 for n in range(3)])
    distance = total.sqrt() * (1 + 0.15 * synthesis.make_smooth_noise(rng, tuple(total.shape), max(2, int(radius / 2))))
    brain = structures[box] > 0
    white = torch.isin(structures[box], torch.tensor(WHITE, dtype=structures.dtype))
    core, rim, swelling = rng.uniform(0.05, 0.9), rng.uniform(0.3, 1.3), rng.uniform(0.2, 1.0)
    thick = rng.uniform(1.5, 7.0)
    ringed, swollen = rng.random() < 0.7, rng.uniform(1.1, 1.8) if rng.random() < 0.5 else 0.0
    for number, image in enumerate(images):
        r = radii[0] if number == 0 else radii[1]
        part = image[box]
        if r <= 0:
            continue
        if swollen:
            part[(distance < swollen * r) & white] = swelling
        inside = (distance < r) & brain
        if course == "resected" and number > 0:
            part[inside] = 0.15
            continue
        part[inside] = core
        if ringed:
            part[inside & (distance > r - thick)] = rim
        image[box] = part


def _add_flow(image: Tensor, structures: Tensor, rng: np.random.Generator) -> None:
    """Fluid that is bright in places at one date, as flow and pulsation make it; and small vessels in the sulci."""
    fluid = torch.isin(structures, torch.tensor(FLUID, dtype=structures.dtype))
    if rng.random() < 0.5:
        places = synthesis.make_smooth_noise(rng, FINE_SHAPE, int(rng.integers(4, 12)))
        image += rng.uniform(0.1, 0.7) * fluid * (places - rng.uniform(0.6, 1.4)).clamp(0, 1)
    if rng.random() < 0.5:
        outer = fluid | torch.isin(structures, torch.tensor((0, *CORTEX), dtype=structures.dtype))
        places = synthesis.make_smooth_noise(rng, FINE_SHAPE, 2)
        image += rng.uniform(-0.4, 0.4) * outer * ((places - 2.2) * 3).clamp(0, 1)


@dataclass(frozen=True)
class Protocol:
    """How a date is scanned: voxel edges (3,) in mm with the slices along `axis`, and what the image suffers."""

    axis: int
    pixel_mm: float
    slice_mm: float
    step_mm: float
    bias: float
    gamma: float
    noise: float
    blur: float
    ghost: float


def _draw_protocol(rng: np.random.Generator) -> Protocol:
    slice_mm = float(rng.choice([1.2, rng.uniform(1.2, 3.0), rng.uniform(3.0, 6.5)], p=[0.3, 0.3, 0.4]))
    return Protocol(
        int(rng.choice(3, p=[0.2, 0.15, 0.65])),
        float(rng.uniform(1.0, 1.5)),
        slice_mm,
        slice_mm * float(rng.choice([1.0, 1.0, 1.1, 1.2])),
        float(rng.uniform(0.02, 0.3)),
        math.exp(0.15 * rng.standard_normal()),
        float(rng.uniform(0.003, 0.05)),
        float(rng.uniform(0.0, 0.7)),
        float(rng.uniform(0.02, 0.1)) if rng.random() < 0.15 else 0.0,
    )


def _scan_twice(painting: Painting, rng: np.random.Generator) -> ChangePair:
    first = _draw_protocol(rng)
    kind = rng.random()
    if kind < 0.4:
        second = replace(first, gamma=first.gamma * math.exp(0.03 * rng.standard_normal()))
    elif kind < 0.7:
        second = replace(_draw_protocol(rng), axis=first.axis, pixel_mm=first.pixel_mm)
    else:
        second = _draw_protocol(rng)
    common = _draw_rigid(rng, 8.0, 4.0)
    affine = make_centred_affine(PAIR_SHAPE, PAIR_MM)
    fine = make_centred_affine(FINE_SHAPE, FINE_MM)
    worse = 3.0 if rng.random() < 0.12 else 1.0
    parts = []
    for date, (image, protocol) in enumerate(zip(painting.dates, (first, second), strict=True)):
        pose = _draw_rigid(rng, 4.0, 3.0)  # scan mm to anatomy mm
        bend = _draw_bend(painting.structures, rng) if date else None
        scan = _acquire(image, pose, protocol, bend, rng)
        slip = _draw_rigid(rng, 0.2 * worse, 0.2 * worse)
        to_scan = np.linalg.inv(pose) @ common @ slip @ affine
        values = resampling.resample_volume(scan, to_scan, PAIR_SHAPE)[0]
        parts.append(values)
    structures = _sample(painting.structures.float(), np.linalg.inv(fine) @ common @ affine, PAIR_SHAPE, "nearest")
    brain = _vary_mask(structures > 0, rng)
    inside = brain & (parts[0][1] > 0.5) & (parts[1][1] > 0.5)
    a, b = (normalise_intensity(*part) for part in parts)
    a, b = match_intensities(a, b, inside, PAIR_MM)
    blurred = resampling.smooth_images(painting.changes[None, None], 0.4)[0, 0]
    changes = _sample(blurred, np.linalg.inv(fine) @ common @ affine, PAIR_SHAPE)
    truth = torch.sign(changes) * (changes.abs() >= CHANGED) * inside
    weight = inside & ((changes.abs() >= CHANGED) | (changes.abs() < UNCLEAR))
    return ChangePair(a, b, inside, truth.to(torch.int8), weight.float())


def _draw_rigid(rng: np.random.Generator, degrees: float, mm: float) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = make_rotation_matrix(np.radians(degrees * rng.standard_normal(3).clip(-2, 2)))
    matrix[:3, 3] = mm * rng.standard_normal(3).clip(-2, 2)
    return matrix


def _draw_bend(structures: Tensor, rng: np.random.Generator) -> Tensor | None:
    """Displacement in fine voxels, (3, i, j, k): what scanners bend, and ventricles that become wider or narrower."""
    if rng.random() < 0.3:
        return None
    knots = rng.uniform(0.1, 0.6) / FINE_MM * rng.standard_normal((1, 3, 6, 7, 6), dtype=np.float32)
    field = functional.interpolate(torch.from_numpy(knots), size=FINE_SHAPE, mode="trilinear", align_corners=True)[0]
    if rng.random() < 0.5:
        mask = torch.isin(structures, torch.tensor(VENTRICLES, dtype=structures.dtype)).float()
        smooth = resampling.smooth_images(mask[None, None], 2.5)[0, 0]
        slopes = torch.stack(torch.gradient(smooth))
        steepest = float(slopes.square().sum(0).max().sqrt().clamp(min=1e-3))
        field = field + slopes * (rng.uniform(-1.2, 1.2) / FINE_MM / steepest)
    return field


def _sample(image: Tensor, matrix: Matrix, shape: tuple[int, int, int], mode: str = "bilinear") -> Tensor:
    """Sample an image at voxels of a grid; `matrix` (4x4): voxel of the grid to voxel of the image."""
    return _sample_at(image, _find_points(matrix, shape), mode)


def _find_points(matrix: Matrix, shape: tuple[int, int, int]) -> Tensor:
    columns = torch.as_tensor(matrix[:3, :3].T, dtype=torch.float32)
    i, j, k = (torch.arange(n, dtype=torch.float32)[:, None] * c for n, c in zip(shape, columns, strict=True))
    return i[:, None, None] + j[None, :, None] + k[None, None] + torch.as_tensor(matrix[:3, 3], dtype=torch.float32)


def _sample_at(image: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    size = torch.tensor(image.shape, dtype=torch.float32)
    scaled = ((2 * points + 1) / size - 1).flip(-1)
    return functional.grid_sample(image[None, None], scaled[None], mode, "zeros", align_corners=False)[0, 0]


def _acquire(image: Tensor, pose: Matrix, protocol: Protocol, bend: Tensor | None, rng: np.random.Generator) -> Volume:
    """Scan the painted anatomy: slices, blur, bias field, contrast curve, ghost, noise."""
    thin = min(FINE_MM, protocol.slice_mm)
    edges = np.full(3, protocol.pixel_mm)
    edges[protocol.axis] = thin
    extent = np.asarray(FINE_SHAPE) * FINE_MM
    shape = tuple(int(n) for n in np.ceil(extent / edges))
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = -(np.asarray(shape) - 1) / 2 * edges
    points = _find_points(np.linalg.inv(make_centred_affine(FINE_SHAPE, FINE_MM)) @ pose @ affine, shape)
    if bend is not None:
        low = functional.avg_pool3d(bend[None], 4)[0]
        coarse = points[::4, ::4, ::4] / 4
        moved = torch.stack([_sample_at(one, coarse) for one in low])
        moved = functional.interpolate(moved[None], size=shape, mode="trilinear", align_corners=False)[0]
        points = points + moved.movedim(0, -1)
    seen = _sample_at(image, points)
    seen = resampling.smooth_images(seen[None, None], protocol.blur)[0, 0]
    field = torch.exp(protocol.bias * synthesis.make_smooth_noise(rng, shape, max(shape) // 3))
    seen = seen.clamp(min=0) ** protocol.gamma * field
    if protocol.ghost:
        along = (protocol.axis + 1) % 3
        seen = seen + protocol.ghost * seen.roll(int(shape[along] * rng.uniform(0.2, 0.5)), along)
    scan = Volume(seen.numpy(), affine)
    if max(protocol.slice_mm, protocol.step_mm) > thin:
        scan = synthesis.acquire_slices(scan, rng, protocol.axis, protocol.slice_mm, protocol.step_mm)
    noise = protocol.noise * rng.standard_normal((2, *scan.voxels.shape), dtype=np.float32)
    return Volume(np.hypot(scan.voxels + noise[0], noise[1]).astype(np.float32), scan.affine)


def _vary_mask(brain: Tensor, rng: np.random.Generator) -> Tensor:
    """The mask as a segmentation might give it: a little wider or narrower in places."""
    soft = resampling.smooth_images(brain.float()[None, None], 1.2)[0, 0]
    level = 0.5 + 0.15 * rng.standard_normal() + 0.1 * synthesis.make_smooth_noise(rng, tuple(brain.shape), 10)
    return soft > level.clamp(0.15, 0.85)
