"""Make the template of real heads that ships with the package, from the label maps of 20 people and 24 real scans.

    python -m benchmarks.make_head_template ../shared/real siamese_med/brain/data

The anatomy is the mean of the label maps after affine groupwise registration: first by the centroids of their
structures, then by images painted from them. Its brightness in each contrast is that of real scans: least squares of a
scan, laid on the template, on the tissues' shares; the median over the scans of a contrast. Needs the weights that
`benchmarks.train_brain_network` makes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.real_scans_list import RealScan, list_real_scans
from siamese_med.brain.head_template import INTENSITY_STEPS, register_to_image
from siamese_med.brain.segmentation import BRAIN_THRESHOLD, BrainSegmentation, segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.brain.structures import Structure
from siamese_med.imaging import registration, resampling
from siamese_med.imaging.registration import RegistrationLevel
from siamese_med.imaging.registration_side import ScanSide
from siamese_med.imaging.volume import Volume, make_centred_affine, write_volume
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation.label_map_synthesis import LabelMap
from siamese_med.simulation.tissue_levels import CONTRASTS, TISSUES

Matrix = NDArray[np.float64]
Levels = NDArray[np.float64]
GRID_SHAPE, GRID_MM, LOWERED_MM = (96, 116, 104), 2.0, 12.0
"""192 x 232 x 208 mm. Its centre lies this far below that of the brain: heads go on downwards."""
JITTERS = 8
EDGE_VOXELS = 3
"""Label maps are surrounded by two voxels without labels; these do not count as air."""
ROUNDS = 3
LEVELS = (RegistrationLevel(1.0, 8_000, 10, 2.0), RegistrationLevel(0.7, 12_000, 6, 1.0))
SOURCES = ("ds000011", "open_ms", "brain_tumor_progression")
"""Data sets whose scans give the brightness of tissues; ds002748 shows no skin and no bone."""
PRIOR_WEIGHT = 0.02
"""How much the usual levels of `tissue_levels` count in the fit, as a share of the voxels of an average tissue."""


def find_centroids(person: LabelMap) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Centroids in mm, by structure and tissue, of parts of at least .3 ml, fluid outside the ventricles left out."""
    pair = person.structures.astype(np.int32) * len(TISSUES) + person.tissues
    found = {}
    for code in np.unique(pair[person.structures > 0]).tolist():
        key = divmod(code, len(TISSUES))
        places = np.argwhere(pair == code)
        if key[0] != Structure.OTHER_FLUID and len(places) > 300:
            found[key] = person.affine[:3, :3] @ places.mean(0) + person.affine[:3, 3]
    return found


def fit_affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    """4x4 of least squares from points (n, 3) to points."""
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0].T
    return matrix


def centre_affines(matrices: Sequence[Matrix]) -> list[Matrix]:
    """Change the template's frame so that the mean of the matrices (template to person) is the identity."""
    mean = np.mean(matrices, 0)
    return [matrix @ np.linalg.inv(mean) for matrix in matrices]


def align_by_centroids(people: Sequence[LabelMap]) -> list[Matrix]:
    """Template mm to the mm of each person, whose origin is the brain's centre."""
    found = [find_centroids(person) for person in people]
    shared = sorted(set.intersection(*(set(one) for one in found)))
    points = np.array([[one[key] for key in shared] for one in found])
    reference = points.mean(0)
    for _ in range(10):
        matrices = centre_affines([fit_affine(reference, target) for target in points])
        reference = np.mean(
            [(target - m[:3, 3]) @ np.linalg.inv(m[:3, :3]).T for m, target in zip(matrices, points, strict=True)], 0
        )
    return matrices


def average_tissues(people: Sequence[LabelMap], matrices: Sequence[Matrix]) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of tissues (tissues, i, j, k) and of structures (structures, i, j, k) on the template's grid."""
    grid = template_affine()
    tissues = torch.zeros(len(TISSUES), int(np.prod(GRID_SHAPE)))
    structures = torch.zeros(len(Structure), int(np.prod(GRID_SHAPE)))
    rng = np.random.default_rng(0)
    for person, matrix in zip(people, matrices, strict=True):
        shifts = rng.uniform(-GRID_MM / 2, GRID_MM / 2, (JITTERS, 3))
        known = torch.zeros(person.tissues.shape, dtype=torch.float32)
        known[(slice(EDGE_VOXELS, -EDGE_VOXELS),) * 3] = 1
        for places in synthesis.make_rigid_warp(matrix).sample(person, grid, GRID_SHAPE, shifts):
            flat = places.flatten()
            weight = torch.take(known, flat)[None]
            for total, labels in ((tissues, person.tissues), (structures, person.structures)):
                chosen = torch.take(torch.from_numpy(labels), flat).long()[None]
                total.scatter_add_(0, chosen, weight)
    for total in (tissues, structures):
        total[0] += 1e-3
        total /= total.sum(0)
    return tissues.view(-1, *GRID_SHAPE), structures.view(-1, *GRID_SHAPE)


def template_affine() -> Matrix:
    """Voxel to mm of the template's grid."""
    affine = make_centred_affine(GRID_SHAPE, GRID_MM)
    affine[2, 3] -= LOWERED_MM
    return affine


def paint(tissues: torch.Tensor, levels: NDArray[np.float64]) -> Volume:
    """The template in one contrast."""
    image = torch.einsum("t,tijk->ijk", torch.as_tensor(levels, dtype=torch.float32), tissues)
    return Volume(image.numpy(), template_affine())


def usual_levels(contrast: str) -> NDArray[np.float64]:
    """Brightness of each tissue by `tissue_levels`."""
    return np.array([levels[CONTRASTS.index(contrast)] for _, levels in TISSUES.values()])


def refine(people: Sequence[LabelMap], matrices: list[Matrix]) -> list[Matrix]:
    """Register each person, painted in T1, to the mean of all."""
    levels = usual_levels("T1w").astype(np.float32)
    painted = [Volume(levels[person.tissues], person.affine) for person in people]
    for number in range(ROUNDS):
        tissues, structures = average_tissues(people, matrices)
        inside = (1 - structures[0]).numpy() > 0.05
        fixed = paint(tissues, usual_levels("T1w"))
        found = [
            registration.register_scans([one], fixed, LEVELS, [start], inside=inside, transform="affine")[0]
            for one, start in zip(painted, matrices, strict=True)
        ]
        matrices = centre_affines([one.matrix for one in found])
        print(f"round {number + 1}: correlation ratio {np.mean([one.correlation_ratio for one in found]):.3f}")
    return matrices


def level_head(structures: torch.Tensor, matrices: list[Matrix]) -> list[Matrix]:
    """Turn and shift the frame so that left and right lie level and the middle of the brain at the origin."""
    affine = template_affine()
    centroid = {}
    for structure in Structure:
        share = structures[structure].numpy()
        places = np.stack(np.meshgrid(*map(np.arange, GRID_SHAPE), indexing="ij"), -1)
        middle = (share[..., None] * places).sum((0, 1, 2)) / share.sum()
        centroid[structure] = affine[:3, :3] @ middle + affine[:3, 3]
    pairs = [(Structure(n), Structure(n + 1)) for n in range(1, 11, 2)]
    across = np.mean([_unit(centroid[right] - centroid[left]) for left, right in pairs], 0)
    middle = np.mean([(centroid[left] + centroid[right]) / 2 for left, right in pairs], 0)
    x = _unit(across)
    y = _unit(np.array([0.0, 1.0, 0.0]) - x[1] * x)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, y, np.cross(x, y)], 1)
    brain = np.argwhere((1 - structures[0]).numpy() > 0.5)
    box = affine[:3, :3] @ ((brain.min(0) + brain.max(0)) / 2) + affine[:3, 3]
    frame[:3, 3] = [middle[0], box[1], box[2]]
    return [matrix @ frame for matrix in matrices]


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def make_segmentation(structures: torch.Tensor) -> BrainSegmentation:
    """Mask and structures of the template, from their shares."""
    brain = (1 - structures[0]).numpy()
    labels = (structures[1:].argmax(0).numpy() + 1) * (brain >= BRAIN_THRESHOLD / 255)
    return BrainSegmentation(labels.astype(np.uint8), np.round(255 * brain).astype(np.uint8), template_affine())


def measure_levels(tissues: torch.Tensor, template: BrainSegmentation, scan: RealScan) -> NDArray[np.float64]:
    """Brightness of each tissue in a real scan; 1 is the median of the brain without fluid."""
    from scipy.optimize import nnls

    usual = usual_levels(scan.contrast)
    image = scan.read()
    found, overlap = register_to_image(
        image, segment_brain(image), ScanSide(paint(tissues, usual), make_probability_volume(template)), template
    )
    laid = resampling.resample_volume(image, found.matrix @ template_affine(), GRID_SHAPE)
    solid = torch.from_numpy(template.mask & (template.structures != Structure.OTHER_FLUID)) & (laid[0, 1] > 0.5)
    low = float(torch.quantile(laid[0, 0].flatten()[::7], 0.01))
    values = (laid[0, 0] - low) / (float(laid[0, 0][solid].median()) - low)
    chosen = torch.nonzero((laid[0, 1] > 0.5).flatten())[::11, 0]
    shares = tissues.flatten(1)[:, chosen].T.numpy().astype(np.float64)
    aim = values.flatten()[chosen].numpy().astype(np.float64).clip(0, 3)
    weight = np.sqrt(PRIOR_WEIGHT * len(chosen) / len(usual))
    rows = np.concatenate([shares, weight * np.eye(len(usual))])
    print(
        f"{scan.name}: correlation ratio {found.correlation_ratio:.2f}, quality {found.quality:.2f}, "
        f"overlap of the brains {overlap:.2f}",
        flush=True,
    )
    return np.asarray(nnls(rows, np.concatenate([aim, weight * usual / float(np.median(usual[1:9]))]))[0])


def write(out: Path, tissues: torch.Tensor, template: BrainSegmentation, levels: dict[str, Levels]) -> None:
    """Write the images in hundredths of the brain's median, the structures and the brain mask."""
    for contrast, found in levels.items():
        hundredths = np.clip(np.round(INTENSITY_STEPS * paint(tissues, found).voxels), 0, 255).astype(np.uint8)
        write_volume(out / f"head_template_{contrast}.nii.gz", Volume(hundredths, template_affine()))
    write_volume(out / "head_template_structures.nii.gz", Volume(template.structures, template_affine()))
    write_volume(out / "head_template_brain.nii.gz", Volume(template.brain, template_affine()))


def main() -> None:
    """Make the template."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the real data")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    people = [synthesis.read_label_map(path) for path in sorted((given.folder / "label_maps").glob("*.nii.gz"))]
    matrices = refine(people, align_by_centroids(people))
    matrices = level_head(average_tissues(people, matrices)[1], matrices)
    tissues, structures = average_tissues(people, matrices)
    template = make_segmentation(structures)
    real = [scan for scan in list_real_scans(given.folder) if scan.dataset in SOURCES]
    levels = {}
    for contrast in CONTRASTS:
        found = [measure_levels(tissues, template, scan) for scan in real if scan.contrast == contrast]
        levels[contrast] = np.median(found, 0)
        print(contrast, dict(zip(TISSUES, levels[contrast].round(2).tolist(), strict=True)))
    write(given.out, tissues, template, levels)


if __name__ == "__main__":
    main()
