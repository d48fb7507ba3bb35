"""Is it the same person? Real heads, each with simulated visits in two contrasts: network beside baselines.

    python -m benchmarks.identity_real FOLDER [--real ../shared/real] [--rules former present] [--partitions 0 1]
    python -m benchmarks.identity_real FOLDER --model MODEL     a model that has seen none of them, instead of training
    python -m benchmarks.identity_real FOLDER --short 10     every tenth scan loses half its field of view
    python -m benchmarks.identity_real FOLDER --stripped     each person's second visits show the brain alone
    python -m benchmarks.identity_real FOLDER --simulated 24     simulated people instead, with 4 visits in 3 contrasts

Seven heads are of ds000011 (T1 and T2 are both real), five of ixi_2mm (T1; its T2 is made by a contrast curve). Every
head has two visits in T1 and two in T2, simulated by `siamese_med.simulation.rescan`: pose, field of view, noise and
scanner are drawn, the anatomy stays. Every patient is tested once in each partition, by a network that has seen none of
that patient's scans. Figures are means over folds and partitions, intervals are from drawing patients. Baselines are
measured on the same pairs. `--rules` says how the region is found that the network looks at: `present` as in the
package, `former` as before issue 18 (voxels that 98 % of the training scans show).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

from benchmarks import verification
from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import common_region
from siamese_med.network.atlas import measure_region
from siamese_med.network.model_folder import load_model
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import (
    SiameseNetwork,
    compute_distance_matrix,
    compute_part_distances,
    embed_scans,
    extract_network_view,
)
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import evaluation, verification_metrics
from siamese_med.scoring.identity.baselines import BASELINES
from siamese_med.scoring.identity.verification_metrics import BootstrapInterval, ScanPairs
from siamese_med.simulation import bids_tree, cohort, rescan
from siamese_med.simulation.scanner import Scanner
from siamese_med.study import config as configuration
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training, similarity_fusion

Matrix = NDArray[np.float64]

VISITS = 2
"""Visits a contrast."""
FOLDS = 3
"""Networks a partition; each is tested on a third of the patients, and a sixth of them choose its epoch."""
INVERTED = np.array([0.0, 0.95, 0.7, 0.45, 0.35])
"""A contrast curve that makes T1 look like T2: fluid bright, white matter darker than grey."""
SIMULATED_DIFFERENCE, SIMULATED_CONTRASTS = 0.25, ("FLAIR", "T1w", "T2w")
"""As in `benchmarks.identity hard`: simulated people differ by a quarter of what real ones do."""
LEARNED, EDGES, OUTLINE = "its learned part alone", "its edges alone", "outline of what it is shown"
KINDS = ("all", "within", "across")
"""All pairs; those of one contrast; those of two."""
BRAIN_LEVEL, STRIP_MARGIN_MM = 0.5, 2.0
"""Where the probability of brain is higher, and so far around it, a stripped scan keeps its voxels."""


@dataclass(frozen=True)
class Source:
    """A real scan, what its visits are named by, and the contrast curve that is put over it."""

    person: int
    path: Path
    contrast: str
    curve: Matrix | None = None


def real_heads(real: Path) -> list[list[Source]]:
    """Groups of sources, each with scanners of its own, whose fields of view nine of ten of the group can fill."""
    ds = sorted((real / "ds000011").glob("sub-*"))
    ixi = sorted((real / "ixi_2mm").glob("*.nii.gz"))
    if not ds or not ixi:
        raise SystemExit(f"no heads under {real}: ds000011 and ixi_2mm are needed")
    return [
        [Source(n, folder / f"{folder.name}_T1w.nii.gz", "T1w") for n, folder in enumerate(ds)],
        [Source(n, folder / f"{folder.name}_inplaneT2.nii.gz", "T2w") for n, folder in enumerate(ds)],
        [Source(len(ds) + n, path, "T1w") for n, path in enumerate(ixi)],
        [Source(len(ds) + n, path, "T2w", INVERTED) for n, path in enumerate(ixi)],
    ]


def write_visits(folder: Path, groups: Sequence[Sequence[Source]], seed: int, stripped: bool = False) -> None:
    """Write the visits as a BIDS dataset; a complete one is left as it is. `stripped`: the last visit is the brain."""
    marker = folder / "simulation.json"
    if marker.is_file():
        return
    for number, group in enumerate(groups):
        rng = np.random.default_rng([seed, number])
        bodies = [rescan.extract_body(_upright(volume.read_volume(source.path))) for source in group]
        extent = np.quantile([body.extent_mm() for body in bodies], 0.1, axis=0)
        spacing = np.median([body.spacing_mm for body in bodies], axis=0)
        machines = rescan.draw_rescan_scanners(spacing, rng, group[0].contrast)
        for source, body in zip(group, bodies, strict=True):
            for visit in range(VISITS):
                scan = _acquire_visit(source, body, machine := machines[rng.integers(len(machines))], extent, rng)
                number = visit + 1 + VISITS * (source.contrast == "T2w")
                scan = strip_scan(scan) if stripped and visit == VISITS - 1 else scan
                bids_tree.write_bids_scan(folder, source.person, number, machine, scan)
    days = {n: [f"2020-0{visit + 1}-01" for visit in range(2 * VISITS)] for n in range(1 + _last(groups))}
    bids_tree.write_bids_tables(folder, "real heads, simulated visits", days)
    marker.write_text(json.dumps({"seed": seed}))


def _last(groups: Sequence[Sequence[Source]]) -> int:
    return max(source.person for group in groups for source in group)


def _acquire_visit(
    source: Source, body: rescan.ScannedBody, machine: Scanner, extent: Matrix, rng: np.random.Generator
) -> Volume:
    seen = extent * rng.uniform(0.95, 1, 3)
    curve = source.curve
    if curve is not None:
        curve = np.append(0.0, (curve[1:] * np.exp(0.05 * rng.standard_normal(4))))
    return rescan.acquire_rescan(body, machine, rng, seen, curve).volume


def strip_scan(scan: Volume) -> Volume:
    """The scan with zeros outside its brain, as brain extraction leaves it."""
    brain = make_probability_volume(segment_brain(scan))
    level = resampling.resample_volume(brain, scan.affine, scan.voxels.shape)[0, 0].numpy()
    kept = binary_dilation(
        level > BRAIN_LEVEL, iterations=max(1, round(STRIP_MARGIN_MM / float(np.max(scan.spacing_mm))))
    )
    return Volume(np.where(kept, scan.voxels, 0), scan.affine)


def _upright(source: Volume) -> Volume:
    """The source with its axes along the world's and its centre at the origin, so that its position is lost."""
    upright = volume.reorient_to_ras(source)
    affine = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)


def former_region(bodies: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The region of before: what 98 % of the scans show, or, where that is next to nothing, half of them."""
    for wanted in (0.98, 0.5):
        core = binary_erosion(bodies.mean(0) >= wanted, iterations=common_region.RIM_VOXELS)
        if core.mean() > common_region.MIN_GRID_SHARE:
            return np.asarray(core, dtype=np.float32)
    return np.ones(bodies.shape[1:], dtype=np.float32)


@dataclass(frozen=True)
class Fold:
    """One network's test: scores (n, n) by method of the scans of its test patients.

    The region that it looks at in ml, and as a share of the body that half of its training scans show.
    """

    patients: list[str]
    contrasts: list[str]
    scores: dict[str, Matrix]
    region_ml: float
    region_share: float


def folds(scans: pd.DataFrame, partition: int) -> Iterator[tuple[set[str], set[str]]]:
    """Test and validation patients of each network; every patient is tested once."""
    rng = np.random.default_rng([partition, 7])
    everyone = [str(name) for name in scans.subject.unique()]
    order = [everyone[place] for place in rng.permutation(len(everyone))]
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        others = [name for name in order if name not in test]
        yield set(test), set(others[: max(2, len(order) // 6)])


def compare_outlines(network: SiameseNetwork, scans: ScanDataset) -> Matrix:
    """Jaccard index (n, n) of where the network is shown something: what the edges of fields of view alone tell."""
    seen = np.stack([extract_network_view(network, np.load(path)).ravel() != 0 for path in scans.volumes])
    shared = seen.astype(np.float32) @ seen.T.astype(np.float32)
    sizes = seen.sum(1)
    return np.asarray(shared / (sizes[:, None] + sizes - shared), dtype=np.float64)


def run_fold(scans: pd.DataFrame, test: set[str], held: set[str], config: TrainConfig, voxel_ml: float) -> Fold:
    """Train one network and score the scans of its test patients."""
    parts = [scans[~scans.subject.isin(test | held)], scans[scans.subject.isin(held)], scans[scans.subject.isin(test)]]
    known, checked, unseen = (ScanDataset(list(part.volume), list(part.subject)) for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        network, _ = identity_training.train_network(known, checked, None, config, Path(folder))
    region = measure_region(network.atlas, known)
    assert region is not None
    similarity_fusion.fuse_similarity(network, checked)
    scores = score_all(network, unseen)
    return Fold(list(unseen.subjects), list(parts[2].contrast), scores, voxel_ml * region[0], region[0] / region[1])


def score_all(network: SiameseNetwork, unseen: ScanDataset) -> dict[str, Matrix]:
    """Scores (n, n) of all pairs of scans by each method; higher is more similar."""
    embedded = embed_scans(network, unseen)
    learned, edges = compute_part_distances(network, embedded)
    scores = {"network": -compute_distance_matrix(network, embedded), LEARNED: -learned, EDGES: -edges}
    return scores | {OUTLINE: compare_outlines(network, unseen)} | evaluation.measure_baselines(list(unseen.volumes))


def score_with_model(scans: pd.DataFrame, model: Path) -> Fold:
    """Score all scans with an existing model, which must not have seen any of these people."""
    chosen = load_model(model)
    people = ScanDataset(list(scans.volume), list(scans.subject))
    return Fold(list(scans.subject), list(scans.contrast), score_all(chosen.network, people), 0.0, 0.0)


RULES: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.float32]]] = {
    "former": former_region,
    "present": common_region.find_common_region,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, align, train and print a table for each rule."""
    given = _parsed(arguments)
    tree = given.folder / "simulated"
    if given.simulated:
        cohort.write_cohort(tree, given.simulated, 2 * VISITS, given.seed, SIMULATED_DIFFERENCE, SIMULATED_CONTRASTS)
        tree = tree / "input"
    else:
        write_visits(tree, real_heads(given.real.resolve()), given.seed, given.stripped)
    study = verification.ingested(tree, given.folder, configuration.load_config(None))
    prepared = stages.prepare(study, given.model)
    usable = prepared.alignments[prepared.alignments.ok][["scan", "volume"]]
    scans = stages.scans(study).merge(usable, left_on="id", right_on="scan").sort_values("id")
    scans = scans.assign(volume=[study.data / path for path in scans.volume])
    voxel_ml = float(np.prod(volume.read_volume(prepared.template).spacing_mm)) / 1000
    print(f"{scans.subject.nunique()} patients, {len(scans)} of {len(prepared.alignments)} scans aligned, ", end="")
    print(given.model or f"{len(given.partitions)} partitions of {FOLDS} networks.")
    if given.short:
        scans = cut_one_in(scans, given.short, given.folder / "short")
    if given.regions:
        print("\n".join(region_lines(scans, given.rules, given.partitions, voxel_ml)))
        return
    rows = []
    if given.model:
        rows += list(figure_rows("the model's", [score_with_model(scans, given.model)], baselines=True))
    for name in [] if given.model else given.rules:
        started = time.process_time()
        with mock.patch.object(common_region, "find_common_region", RULES[name]):
            tested = [
                run_fold(scans, *patients, TrainConfig(change_steps=0, accelerator="cpu", seed=partition), voxel_ml)
                for partition in given.partitions
                for patients in folds(scans, partition)
            ]
        rows += list(figure_rows(name, tested, baselines=name == given.rules[-1]))
        sizes, shares = [one.region_ml for one in tested], [100 * one.region_share for one in tested]
        print(f"{name}: region {min(sizes):.0f} to {max(sizes):.0f} ml, ", end="")
        print(f"{min(shares):.0f} to {max(shares):.0f} % of the body; {time.process_time() - started:.0f} CPU-s")
    print("\n| method | AUC | within one contrast | across contrasts | rank-1 |\n|---|---|---|---|---|")
    print("\n".join(rows))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--model", type=Path, help="an existing model, instead of training; it has seen nobody here")
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), default=list(RULES))
    parser.add_argument("--partitions", type=int, nargs="+", default=[0, 1], help="seeds of splits and trainings")
    parser.add_argument("--seed", type=int, default=11, help="of the simulation")
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="so many simulated people, no real heads")
    parser.add_argument("--regions", action="store_true", help="print the regions and train nothing")
    parser.add_argument("--short", type=int, default=0, metavar="N", help="every Nth scan loses half its field of view")
    parser.add_argument(
        "--stripped", action="store_true", help="second visits show the brain alone; a folder of its own"
    )
    return parser.parse_args(arguments)


def region_lines(
    scans: pd.DataFrame, rules: Sequence[str], partitions: Sequence[int], voxel_ml: float
) -> Iterator[str]:
    """One line for each rule: its region in every fold, in ml, and how many scans had a vote by the present rule."""
    known = [
        scans[~scans.subject.isin(test | held)] for partition in partitions for test, held in folds(scans, partition)
    ]
    shown = [common_region.extract_bodies([np.load(path).astype(np.float32) for path in one.volume]) for one in known]
    for name in rules:
        sizes = ", ".join(f"{voxel_ml * RULES[name](bodies).sum():.0f}" for bodies in shown)
        yield f"{name}: {sizes} ml"
    votes = ", ".join(f"{common_region.find_voting_scans(bodies).sum()} of {len(bodies)}" for bodies in shown)
    yield f"scans with a vote: {votes}"


def cut_one_in(scans: pd.DataFrame, every: int, folder: Path) -> pd.DataFrame:
    """Every so many-th scan without the upper or the lower half of the template's grid, in turn."""
    folder.mkdir(exist_ok=True)
    paths = list(scans.volume)
    for number, place in enumerate(range(0, len(paths), every)):
        voxels = np.load(paths[place])
        half = voxels.shape[2] // 2
        voxels[:, :, slice(half) if number % 2 else slice(half, None)] = 0
        np.save(folder / paths[place].name, voxels)
        paths[place] = folder / paths[place].name
    return scans.assign(volume=paths)


def figure_rows(rule: str, tested: Sequence[Fold], *, baselines: bool) -> Iterator[str]:
    """A row of the table for the network and, where asked for, one for each baseline and the outline."""
    names = ["network", LEARNED, EDGES, OUTLINE, *(BASELINES if baselines else ())]
    for name in names:
        found = intervals(tested, name)
        cells = [verification.cell(found[figure]) for figure in (*KINDS, "rank1")]
        title = name if name in BASELINES else f"{name}, {rule} region"
        yield f"| {title} | {' | '.join(cells)} |"


def intervals(tested: Sequence[Fold], method: str) -> dict[str, BootstrapInterval]:
    """Means over folds, with 95 % intervals: in every partition a patient counts as often as drawn."""
    everyone = sorted({name for fold in tested for name in fold.patients})
    draws = verification_metrics.draw_patients([*everyone, *everyone], 0)
    drawn = [dict(zip(everyone, one[: len(everyone)], strict=True)) for one in draws]
    once = _figures(tested, method, dict.fromkeys(everyone, 1.0))
    return verification_metrics.compute_intervals(once, [_figures(tested, method, one) for one in drawn])


def _figures(tested: Sequence[Fold], method: str, times: dict[str, float]) -> dict[str, float]:
    """Mean over the folds in which a figure exists, each weighing as much as its patients that were drawn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*KINDS, "rank1")}
    for fold in tested:
        weight = np.array([times[name] for name in fold.patients])
        if len({name for name in fold.patients if times[name]}) < 2:
            continue
        for kind in KINDS:
            found[kind].append((_area(fold, method, kind, weight), weight.sum()))
        rank = verification_metrics.rank_one_rate(fold.scores[method], fold.patients, weight)
        found["rank1"].append((rank, weight.sum()))
    return {name: _mean(values) for name, values in found.items()}


def _mean(values: Sequence[tuple[float, float]]) -> float:
    known = [(value, weight) for value, weight in values if np.isfinite(value)]
    return float(np.average([value for value, _ in known], weights=[weight for _, weight in known]))


def _area(fold: Fold, method: str, kind: str, weight: Matrix) -> float:
    """Area under the ROC curve of one kind of pairs; NaN where one of two patients or of one is lacking."""
    pairs = ScanPairs(fold.patients)
    first, second = pairs.places
    contrasts = np.asarray(fold.contrasts)
    apart = contrasts[first] != contrasts[second]
    chosen = np.full(len(apart), True) if kind == "all" else apart == (kind == "across")
    counts = pairs.weights(weight) * chosen
    if not (counts[pairs.same].sum() and counts[~pairs.same].sum()):
        return float("nan")
    curve = verification_metrics.compute_roc(
        fold.scores[method][pairs.places][chosen], pairs.same[chosen], counts[chosen]
    )
    return float(np.trapezoid(curve[1], curve[0]))


if __name__ == "__main__":
    main()
