"""Lesions found against false parts: change that experts marked in real pairs, and lesions that bidsgate planted.

    python -m benchmarks.lesion_froc marked [--real ../shared/real] [--detectors pretrained residual] [--listed]
    python -m benchmarks.lesion_froc planted [--every N] [--datasets ds002748 ds000011 ixi_2mm open_ms] [--listed]

`marked`: the pairs of open_ms, whose change in lesions experts outlined. `planted`: the outside program bidsgate (of
the `bench` extra) plants twelve lesions of 30 to 1500 mm3 in a real head; the head as it was and the head with lesions
are scanned by simulated scanners, of one kind for one half of the heads and of two kinds for the other. Heads that the
shipped network has seen are left out. Printed: voxel average precision inside what is compared, and for several numbers
of false parts a pair the share of lesions found, by size. A lesion is found if a voxel of it passes the threshold with
the right sign; a false part is a connected part of 0.02 ml or more that touches no lesion. The thresholds of this table
lie where each number of false parts is met on these very pairs. `--listed` adds what a page would list of each pair, by
rescans of its own two scans; that takes a minute of CPU a pair.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score

from benchmarks.open_ms import OPEN_MS, read_itk_affine
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from benchmarks.without_model import DETECTORS
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import change_map, simulated_rescans
from siamese_med.scoring.change.pair_measurement import PairMeasurement, measure_pair
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.simulation import rescan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.thresholds import MAX_CANDIDATE_P, MIN_CHANGE_PROBABILITY, MIN_COMPONENT_ML

SPACING_MM = ScoreConfig().spacing_mm
TOUCHING = np.ones((3, 3, 3))
THRESHOLDS = np.concatenate([np.arange(0.25, 20, 0.25), np.arange(20, 200, 1)])
FALSE_PARTS = (0.5, 1.0, 2.0, 4.0)
SIZES_MM3 = (30.0, 50.0, 150.0, 400.0, 1000.0, np.inf)
"""Upper limits of the classes of size."""
MIN_LESION_VOXELS = 3
"""Smaller marks do not count."""
SEEN = {"ds002748": 36, "ds000011": 4}
"""The shipped network was trained on this many first people of these data sets."""
SEED = 20


@dataclass(frozen=True)
class KnownPair:
    """Evidence on a grid with cubic or other voxels, and the true lesions there.

    Attributes
    ----------
    evidence
        Signed (i, j, k); 0 where it does not count.
    lesions
        Numbers of the lesions (i, j, k), 0 elsewhere.
    sign
        Of the change, 1 or -1; 0 where either counts.
    inside
        What is compared.
    voxel_ml
        Volume of a voxel.
    listed
        The parts that a page lists (i, j, k); None where that was not asked for.
    """

    name: str
    evidence: NDArray[np.float32]
    lesions: NDArray[np.int32]
    sign: int
    inside: NDArray[np.bool_]
    voxel_ml: float
    listed: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Findings:
    """Of one pair: size (mm3) and strongest evidence of each lesion, false parts at each threshold, precision; and
    which lesions are among what a page lists, and how many other parts are."""

    name: str
    sizes: NDArray[np.float64]
    peaks: NDArray[np.float64]
    false: NDArray[np.float64]
    precision: float
    hits: NDArray[np.bool_]
    others: int


def find_lesions(pair: KnownPair) -> Findings:
    """Measure what the evidence shows of the lesions of a pair, and what else it shows."""
    count = int(pair.lesions.max())
    numbers = np.arange(1, count + 1)
    voxels = np.bincount(pair.lesions.ravel(), minlength=count + 1)[1:]
    numbers = numbers[voxels >= MIN_LESION_VOXELS]
    right = np.abs(pair.evidence) if pair.sign == 0 else np.clip(pair.evidence * pair.sign, 0, None)
    peaks = np.asarray(ndimage.maximum(right, pair.lesions, numbers)) if len(numbers) else np.zeros(0)
    strength = np.abs(pair.evidence)
    near = ndimage.binary_dilation(pair.lesions > 0, TOUCHING)
    least = MIN_COMPONENT_ML / pair.voxel_ml
    false = np.zeros(len(THRESHOLDS))
    for position, threshold in enumerate(THRESHOLDS):
        if not (strength > threshold).any():
            break
        false[position] = _count_false_parts(strength > threshold, near, least)
    truth = (pair.lesions > 0)[pair.inside]
    precision = float(average_precision_score(truth, strength[pair.inside])) if truth.any() else float("nan")
    listed = np.zeros_like(pair.inside) if pair.listed is None else pair.listed
    hits = np.isin(numbers, pair.lesions[listed & (right > 0)])
    sizes_mm3 = voxels[numbers - 1] * pair.voxel_ml * 1000
    return Findings(pair.name, sizes_mm3, peaks, false, precision, hits, _count_false_parts(listed, near, least))


def _count_false_parts(mask: NDArray[np.bool_], near: NDArray[np.bool_], least: float) -> int:
    """The connected parts of at least so many voxels that touch no lesion."""
    parts, found = ndimage.label(mask, TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=found + 1)
    sizes[np.unique(parts[near])] = 0
    return int((sizes[1:] >= least).sum())


def print_table(name: str, found: Sequence[Findings]) -> None:
    """Print the free-response table of one detector."""
    sizes, peaks = (np.concatenate([getattr(one, kind) for one in found]) for kind in ("sizes", "peaks"))
    false = np.mean([one.false for one in found], axis=0)
    print(f"\n{name}: {len(found)} pairs, {len(sizes)} lesions; average precision a pair ", end="")
    print(
        " ".join(f"{one.precision:.3f}" for one in found)
        if len(found) < 8
        else f"{np.nanmean([one.precision for one in found]):.3f}"
    )
    heads = ["all"] + [f"to {limit:.0f} mm3" for limit in SIZES_MM3[:-1]] + ["larger"]
    print("| false parts a pair | threshold | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 2) + "|")
    thresholds = [(f"{allowed:g}", _find_threshold(false, allowed)) for allowed in FALSE_PARTS]
    rows = [(label, f"{threshold:.2f}", peaks > threshold) for label, threshold in thresholds]
    others, hits = [one.others for one in found], np.concatenate([one.hits for one in found])
    if hits.any() or any(others):
        rows.append((f"{np.mean(others):.2f}", "as listed", hits))
    for label, threshold, hit in rows:
        cells = [_share(hit)]
        low = 0.0
        for limit in SIZES_MM3:
            cells.append(_share(hit[(sizes > low) & (sizes <= limit)]))
            low = limit
        print(f"| {label} | {threshold} | " + " | ".join(cells) + " |")


def _find_threshold(false: NDArray[np.float64], allowed: float) -> float:
    """The threshold from which on there are no more false parts: at low ones all the brain may be a single part."""
    too_many = np.flatnonzero(false > allowed)
    return float(THRESHOLDS[too_many[-1] + 1 if len(too_many) else 0])


def _share(hits: NDArray[np.bool_]) -> str:
    return f"{int(hits.sum())} of {len(hits)}" if len(hits) else "-"


def list_places(sides: Sequence[PairScan], found: PairMeasurement, detector: ChangeDetector) -> NDArray[np.bool_]:
    """The parts that a page lists of a pair (i, j, k), with rescans of its own two scans for a reference."""
    same = sides[0].scanner == sides[1].scanner
    rescans = [simulated_rescans.measure_rescans(side, same, SPACING_MM, detector) for side in sides]
    known = simulated_rescans.build_own_references(*rescans).evidence
    inside, tail = found.pair.inside, known.expected_tail(found.finding)
    probability = change_map.compute_probability_map(found.evidence, inside, found.finding, tail)
    changed = probability >= MIN_CHANGE_PROBABILITY
    figure = known.find_figure(found.finding, MAX_CANDIDATE_P)
    return np.asarray((changed | change_map.find_candidates(found.evidence, inside, changed, figure)).numpy())


def measure_marked(patient: Path, detector: ChangeDetector, listed: bool) -> KnownPair:
    """The evidence of a pair of open_ms, brought to the grid of its marks; inside the experts' brain mask."""
    scans = [volume.read_volume(patient / f"study{date}_FLAIR.nii.gz") for date in (1, 2)]
    first, second = (PairScan(one, find_region(one, "FLAIR"), None, "MR", "FLAIR", "one") for one in scans)
    marks, brain = (volume.read_volume(patient / f"{name}.nii.gz") for name in ("gt", "brainmask"))
    found = measure_pair(first, second, SPACING_MM, detector)
    to_earlier = read_itk_affine(patient / "study1_FLAIR_to_common_space.txt")
    to_pair = np.linalg.inv(found.pair.matrix_earlier) @ to_earlier @ marks.affine

    def to_marks(image: torch.Tensor) -> NDArray[np.float32]:
        laid = Volume(image.float().numpy(), found.pair.space.affine)
        return np.asarray(resampling.resample_volume(laid, to_pair, marks.voxels.shape)[0, 0].numpy())

    inside = (brain.voxels > 0) & (to_marks(found.pair.inside) > 0.5)
    lesions, _ = ndimage.label((marks.voxels > 0) & inside, TOUCHING)
    places = to_marks(torch.from_numpy(list_places((first, second), found, detector))) > 0.5 if listed else None
    voxel_ml = float(marks.spacing_mm.prod()) / 1000
    return KnownPair(patient.name, to_marks(found.evidence) * inside, lesions, 0, inside, voxel_ml, places)


@dataclass(frozen=True)
class PlantedHead:
    """A real head as it was and with lesions, and the numbers of these on its grid."""

    name: str
    before: Volume
    after: Volume
    labels: Volume
    sign: int


def plant(scan: RealScan, seed: int) -> PlantedHead:
    """Let bidsgate plant lesions in a T1w head, or in a FLAIR of open_ms by the T1w of the same date."""
    from bidsgate.inject_lesions import LesionSpec, inject

    folder = Path(tempfile.mkdtemp())
    head = scan.read()
    base = volume.reorient_to_ras(head)
    flair = scan.contrast == "FLAIR"
    t1 = _read_t1_on(scan, base) if flair else base
    paths = {name: folder / f"{name}.nii.gz" for name in ("t1", "flair", "brain", "out_t1", "out_flair", "labels")}
    volume.write_volume(paths["t1"], t1)
    region = find_region(head, scan.contrast)
    if region is None:
        raise ValueError(f"no brain in {scan.name}")
    brain = resampling.resample_volume(region, base.affine, base.voxels.shape)[0, 0].numpy() > 0.5
    volume.write_volume(paths["brain"], Volume(brain.astype(np.uint8), base.affine))
    if flair:
        volume.write_volume(paths["flair"], base)
    inject(
        paths["t1"],
        paths["flair"] if flair else None,
        paths["out_t1"],
        paths["out_flair"] if flair else None,
        paths["labels"],
        folder / "truth.json",
        LesionSpec(seed=seed),
        paths["brain"],
    )
    after = volume.read_volume(paths["out_flair" if flair else "out_t1"])
    return PlantedHead(scan.name, base, after, volume.read_volume(paths["labels"]), 1 if flair else -1)


def _read_t1_on(scan: RealScan, grid: Volume) -> Volume:
    """The T1w of the same date on the grid of a FLAIR of open_ms, by the data set's own transform."""
    date = scan.path.name[:6]
    t1 = volume.read_volume(scan.path.with_name(f"{date}_T1W.nii.gz"))
    way = read_itk_affine(scan.path.with_name(f"{date}_T1W_intrastudy_to_FLAIR.txt"))
    voxels = resampling.resample_volume(t1, way @ grid.affine, grid.voxels.shape)[0, 0].numpy()
    return Volume(voxels, grid.affine)


def measure_planted(
    head: PlantedHead, same_machine: bool, seed: int, detector: ChangeDetector, listed: bool
) -> KnownPair:
    """Scan the head before and after, measure the two as a pair, and bring the truth to the grid of the pair."""
    rng = np.random.default_rng([SEED, seed])
    bodies = [rescan.extract_body(one) for one in (head.before, head.after)]
    machines = rescan.draw_rescan_scanners(bodies[0].spacing_mm, rng)
    numbers = rng.choice(len(machines), 2, replace=False)
    curves = [rescan.draw_contrast_levels(rng) for _ in range(2)]
    contrast = "FLAIR" if head.sign > 0 else "T1w"
    scans, sides = [], []
    for date, body in enumerate(bodies):
        which = 0 if same_machine else date
        scans.append(rescan.acquire_rescan(body, machines[numbers[which]], rng, contrast=curves[which]))
        region = find_region(scans[-1].volume, contrast)
        sides.append(PairScan(scans[-1].volume, region, None, "MR", contrast, str(which)))
    found = measure_pair(sides[0], sides[1], SPACING_MM, detector)
    pair = found.pair
    to_source = scans[1].to_anatomy @ pair.matrix_later @ pair.space.affine
    labels = resampling.resample_volume(
        Volume(head.labels.voxels.astype(np.float32), head.labels.affine), to_source, pair.a.shape, nearest=True
    )[0, 0].numpy()
    inside = pair.inside.numpy()
    lesions = np.where(inside, labels.round(), 0).astype(np.int32)
    places = list_places(sides, found, detector) if listed else None
    return KnownPair(head.name, found.evidence.numpy(), lesions, head.sign, inside, pair.space.voxel_ml, places)


def list_unseen_heads(folder: Path, datasets: Sequence[str], every: int) -> Iterator[RealScan]:
    """Every n-th T1w head, and the FLAIR heads of open_ms that have a T1w, of people whom the network has not seen."""
    number: dict[str, list[str]] = {}
    scans = []
    for scan in list_real_scans(folder):
        people = number.setdefault(scan.dataset, [])
        if scan.person not in people:
            people.append(scan.person)
        flair = scan.dataset == "open_ms" and scan.contrast == "FLAIR"
        with_t1 = flair and scan.path.with_name(scan.path.name.replace("FLAIR", "T1W")).is_file()
        usual = scan.contrast == "T1w" and scan.dataset != "open_ms"
        if scan.dataset in datasets and (usual or with_t1) and people.index(scan.person) >= SEEN.get(scan.dataset, 0):
            scans.append(scan)
    yield from scans[::every]


def build_detector(name: str) -> ChangeDetector:
    """The detector of that name with the usual settings."""
    return DETECTORS[name](ScoreConfig())


def main() -> None:
    """Print a table a detector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("marked", "planted"))
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=["pretrained", "residual"])
    parser.add_argument("--datasets", nargs="+", default=["ds002748", "ds000011", "ixi_2mm", "open_ms"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--listed", action="store_true", help="also what a page would list")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.kind == "marked":
        patients = sorted(path.parent for path in (given.real / OPEN_MS.name).glob("*/gt.nii.gz"))
        measures = [partial(measure_marked, patient) for patient in patients]
    else:
        heads = [plant(scan, n) for n, scan in enumerate(list_unseen_heads(given.real, given.datasets, given.every))]
        measures = [partial(measure_planted, head, n % 2 == 0, n) for n, head in enumerate(heads)]
    for name in given.detectors:
        detector = build_detector(name)
        print_table(name, [find_lesions(measure(detector, given.listed)) for measure in measures])


if __name__ == "__main__":
    main()
