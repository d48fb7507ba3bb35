"""What a reader's answers do to the parts that are listed for other patients: false ones folded, true ones kept.

    python -m benchmarks.reader_learning FOLDER [--seeds 0 1 2] [--patients 30] [--answers 20]

A study has simulated patients with two FLAIR scans each, of two scanners, and each pair is scored by the product (plain
residual, 4 mm). The later scan shows new lesions in white matter, and bright spots in the ventricles: flow, which a
radiologist knows and rejects. All pairs are held against the same unchanged pairs of other people, which have no flow.

A simulated reader answers to the parts of one patient after another, until there are so many answers: a part near a
lesion is confirmed, any other rejected. What is learned from them (`reporting.data.rejected_kinds`) is then asked of
the parts of all patients without an answer. Printed for each seed, and for all: false parts a patient, and the share of
the lesions with a part, before (all that is listed) and after (what is not folded). Intervals are 95 %, from drawing
patients. The same is done with answers given by chance. Scored pairs are kept in FOLDER, and not scored again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume, make_structure_volume
from siamese_med.reporting.data.rejected_kinds import AnsweredPart, learn_rejected_kinds
from siamese_med.runtime.files import write_json_file
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import detectability, detectors, noise_floor, pair_measurement, pair_scoring
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import OTHER_SCANNER, NoiseFloor, NoiseStratum
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.anatomy import VENTRICLE_CHANNEL, Anatomy
from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE
from siamese_med.study.component import Component
from siamese_med.study.config import ScoreConfig

CONFIG = ScoreConfig(spacing_mm=4.0)
CONTRAST = "FLAIR"
BOOTSTRAPS = 2000
UNCHANGED = 12
"""People whose pairs, without any change, all others are held against; their seed is not that of a study."""
REFERENCE_SEED = 1000
LESIONS_ML, FLOW_ML = (0.5, 5.0), (0.3, 3.0)
MEAN_LESIONS, MEAN_FLOW = 1.5, 1.0
FLOW_STRENGTH = 0.6
"""Share of a lesion's signal that flow reaches in fluid."""
NEAR_MM = 6.0
"""A part whose centre is this near to a lesion is true."""


@dataclass(frozen=True)
class Job:
    """One pair to score: a study's seed, the patient's number, and the folder of what is kept."""

    folder: Path
    seed: int
    number: int

    @property
    def path(self) -> Path:
        """Where the result is kept."""
        return self.folder / f"{self.seed}_{self.number:03}.json"


def simulate_visits(job: Job) -> tuple[list[PairScan], list[np.ndarray[Any, Any]]]:
    """Both scans of a patient, and the places (n, 3) of each new lesion in mm of the earlier scan."""
    rng = np.random.default_rng([job.seed, job.number])
    earlier = anatomy.simulate_anatomy(rng, 1.0)
    later, lesions = earlier, []
    if job.seed != REFERENCE_SEED:
        for _ in range(rng.poisson(MEAN_LESIONS)):
            before, later = later, anatomy.add_lesion(later, rng, 1000 * _draw_ml(rng, LESIONS_ML))
            lesions.append(np.argwhere((later.lesion - before.lesion).numpy() > 0.3))
        for _ in range(rng.poisson(MEAN_FLOW)):
            later = add_flow(later, rng, _draw_ml(rng, FLOW_ML))
    machines = scanner.draw_scanners(np.random.default_rng(job.seed), scanner.SCANNER_COUNT)
    chosen = rng.choice(len(machines), 2, replace=False)
    scans = [scanner.acquire_scan(person, machines[n], rng) for person, n in zip((earlier, later), chosen, strict=True)]
    to_scan = np.linalg.inv(scans[0].to_anatomy)
    middle = (np.asarray(HEAD_GRID_SHAPE) - 1) / 2
    places = [(HEAD_GRID_MM * (one - middle)) @ to_scan[:3, :3].T + to_scan[:3, 3] for one in lesions if len(one)]
    sides = []
    for scan, n in zip(scans, chosen, strict=True):
        brain = segment_brain(scan.volume)
        region, structures = make_probability_volume(brain), make_structure_volume(brain)
        sides.append(PairScan(scan.volume, region, None, "MR", "FLAIR", f"scanner-{n}", structures))
    return sides, places


def _draw_ml(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(*map(math.log, bounds)))


def add_flow(person: Anatomy, rng: np.random.Generator, volume_ml: float) -> Anatomy:
    """Add a bright spot of flow to the fluid of the ventricles, at a random place; returns a new anatomy."""
    fluid = person.tissue[VENTRICLE_CHANNEL].numpy()
    chosen = rng.choice(fluid.size, p=fluid.ravel() / fluid.sum(dtype=float))
    centre = np.unravel_index(chosen, HEAD_GRID_SHAPE)
    radius = (3 * 1000 * volume_ml / (4 * math.pi)) ** (1 / 3) / HEAD_GRID_MM
    grids = np.meshgrid(*[np.arange(n) - c for n, c in zip(HEAD_GRID_SHAPE, centre, strict=True)], indexing="ij")
    distance = np.sqrt(sum(grid.astype(np.float32) ** 2 for grid in grids))
    spot = FLOW_STRENGTH * fluid / (1 + np.exp(np.clip((distance - radius) / 0.4, -30, 30)))
    lesion = torch.maximum(person.lesion, torch.from_numpy(spot.astype(np.float32)))
    return Anatomy(person.tissue, lesion, person.centres)


def measure_unchanged(job: Job) -> list[MapSummary]:
    """Evidence and growth of a pair without change."""
    torch.set_num_threads(1)
    sides, _ = simulate_visits(job)
    ordered, _ = pair_measurement.put_in_fixed_order(*sides)
    detector = detectors.build_residual_detector(CONFIG)
    found = pair_measurement.measure_pair(*ordered, CONFIG.spacing_mm, detector)
    return [found.finding, found.growth]


def score_patient(job: tuple[Job, tuple[NoiseFloor, NoiseFloor]]) -> None:
    """Score a patient's pair, and keep the parts with which are true and which lesions have one."""
    torch.set_num_threads(1)
    detectability.measure_detection_curve = lambda *_: []  # type: ignore[assignment]  # half the time, and not asked
    place, floors = job
    sides, lesions = simulate_visits(place)
    instrument = CalibratedDetector(detectors.build_residual_detector(CONFIG), *floors)
    pair, _ = pair_scoring.score_pair(*sides, instrument, CONFIG)
    score = pair_scoring.apply_multiple_testing([pair], CONFIG)[0]
    near = [
        [n for n, lesion in enumerate(lesions) if cKDTree(lesion).query(part.earlier_mm)[0] <= NEAR_MM]
        for part in score.components
    ]
    parts = [{**part.to_json(), "lesions": found} for part, found in zip(score.components, near, strict=True)]
    write_json_file(place.path, {"verdict": str(score.verdict), "lesions": len(lesions), "parts": parts})


def score_studies(folder: Path, seeds: Sequence[int], patients: int) -> None:
    """Score every pair that is not kept yet."""
    jobs = [Job(folder, seed, number) for seed in seeds for number in range(patients)]
    lacking = [job for job in jobs if not job.path.is_file()]
    if not lacking:
        return
    folder.mkdir(parents=True, exist_ok=True)
    quiet = [Job(folder, REFERENCE_SEED, number) for number in range(UNCHANGED)]
    found = list(run_in_parallel(measure_unchanged, quiet, "measuring unchanged pairs"))
    where = NoiseStratum("MR FLAIR", OTHER_SCANNER)
    evidence, growth = (
        NoiseFloor({where: noise_floor.build_no_change_reference([one[n] for one in found], "rescans")})
        for n in range(2)
    )
    for _ in run_in_parallel(score_patient, [(job, (evidence, growth)) for job in lacking], "scoring patients"):
        pass


@dataclass(frozen=True)
class ListedPart:
    """A listed part of a patient's pair, and the numbers of the true lesions that it lies near."""

    subject: str
    part: Component
    lesions: tuple[int, ...]


@dataclass(frozen=True)
class ScoredPatient:
    """A patient's listed parts, and how many new lesions there are."""

    subject: str
    lesions: int
    parts: tuple[ListedPart, ...]


def read_study(folder: Path, seed: int, patients: int) -> list[ScoredPatient]:
    """Read what was scored."""
    found = []
    for number in range(patients):
        subject = f"sub-{number:02}"
        kept = json.loads(Job(folder, seed, number).path.read_text())
        parts = [ListedPart(subject, Component.from_json(one), tuple(one["lesions"])) for one in kept["parts"]]
        found.append(ScoredPatient(subject, kept["lesions"], tuple(parts)))
    return found


def answer_parts(
    study: Sequence[ScoredPatient], count: int, rng: np.random.Generator, by_chance: bool
) -> list[AnsweredPart]:
    """Answer to the parts of one patient after another, in a drawn order, until there are so many answers."""
    answers: list[AnsweredPart] = []
    for place in rng.permutation(len(study)):
        for one in study[place].parts:
            rejected = bool(rng.random() < 0.5) if by_chance else not one.lesions
            answers.append(AnsweredPart(one.subject, CONTRAST, one.part, rejected))
            if len(answers) == count:
                return answers
    return answers


@dataclass(frozen=True)
class Outcome:
    """What is listed for one patient without an answer: false parts, and lesions with a part, before and after."""

    false_before: int
    false_after: int
    lesions: int
    found_before: int
    found_after: int


def measure_outcomes(study: Sequence[ScoredPatient], answers: Sequence[AnsweredPart]) -> tuple[bool, list[Outcome]]:
    """Whether anything was learned, and what becomes of each patient without an answer."""
    kind = learn_rejected_kinds(answers).get(CONTRAST)
    answered = {one.subject for one in answers}
    outcomes = []
    for patient in study:
        if patient.subject in answered:
            continue
        left = [one for one in patient.parts if not (kind and kind.includes(one.part))]
        false = [sum(not one.lesions for one in parts) for parts in (patient.parts, left)]
        found = [len({lesion for one in parts for lesion in one.lesions}) for parts in (patient.parts, left)]
        outcomes.append(Outcome(*false, patient.lesions, *found))
    return kind is not None, outcomes


def describe_outcomes(outcomes: Sequence[Outcome]) -> str:
    """False parts a patient and sensitivity, before and after, with 95 % intervals from drawing patients."""
    table = np.array([astuple(one) for one in outcomes], dtype=float)
    drawn = np.random.default_rng(0).integers(len(table), size=(BOOTSTRAPS, len(table)))
    figures: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
        "false parts a patient before": lambda sums: sums[..., 0] / len(table),
        "after": lambda sums: sums[..., 1] / len(table),
        "ratio": lambda sums: sums[..., 1] / np.maximum(sums[..., 0], 1),
        "lesions found before": lambda sums: sums[..., 3] / np.maximum(sums[..., 2], 1),
        "found after": lambda sums: sums[..., 4] / np.maximum(sums[..., 2], 1),
        "kept of those found": lambda sums: sums[..., 4] / np.maximum(sums[..., 3], 1),
    }
    told = []
    for name, figure in figures.items():
        low, high = np.quantile(figure(table[drawn].sum(1)), [0.025, 0.975])
        told.append(f"{name} {figure(table.sum(0)):.2f} ({low:.2f}-{high:.2f})")
    return ", ".join(told)


def show(folder: Path, seeds: Sequence[int], patients: int, count: int) -> None:
    """Print what becomes of other patients' parts, for answers of a reader and for answers by chance."""
    for words, by_chance in (("answers of a reader", False), ("answers by chance", True)):
        print(f"\n{words}")
        every: list[Outcome] = []
        for seed in seeds:
            study = read_study(folder, seed, patients)
            answers = answer_parts(study, count, np.random.default_rng([seed, 1]), by_chance)
            learned, outcomes = measure_outcomes(study, answers)
            rejected = sum(one.rejected for one in answers)
            print(
                f"seed {seed}: {len(answers) - rejected} confirmed, {rejected} rejected in "
                f"{len({one.subject for one in answers})} patients, {'learned' if learned else 'nothing learned'}; "
                f"{len(outcomes)} others: {describe_outcomes(outcomes)}"
            )
            every += outcomes
        print(f"all: {describe_outcomes(every)}")


def main() -> None:
    """Score what is not scored yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--patients", type=int, default=30)
    parser.add_argument("--answers", type=int, default=20)
    given = parser.parse_args()
    score_studies(given.folder, given.seeds, given.patients)
    show(given.folder, given.seeds, given.patients, given.answers)


if __name__ == "__main__":
    main()
