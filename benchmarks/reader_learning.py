"""Whether a reader's answers can quiet false findings in other patients better than asking for stronger ones does.

    python -m benchmarks.reader_learning FOLDER [--seeds 1 2 3] [--patients 30] [--answers 20] [--spots 2] [--choose]

A study has simulated patients with two FLAIR scans each, of two scanners; each pair is scored by the product (plain
residual, 4 mm). The later scan shows new lesions in white matter (1.5 a patient), and `--spots` bright spots a patient
in the inner fluid of the head, as bright as lesions: flow, which a radiologist knows and rejects. All pairs are held
against the same unchanged pairs of other people, which show no flow. The brain is found in the earlier scan, and
carried to the later one by the true pose.

Counted are findings: what a page takes answers for, parts of changed pairs that alone are beyond a rescan. A reader
answers to the findings of one patient after another until there are so many answers: those near a lesion are confirmed,
any other rejected. Five rules are then asked of the findings of all other patients:

all        nothing is learned
kinds      what the pages do: set aside kinds of which enough were rejected and none confirmed, see
           `reporting.data.rejected_kinds`
regression set aside what a logistic regression on tissue, sign, volume and strength places among the rejected ones,
           beyond (n + 1) / 8 of the n confirmed ones, each placed by the other patients' answers (Vovk et al., 2005);
           nothing where fewer than half of the rejected ones are placed so
weakest    set aside what is weaker than the weakest confirmed finding
raised     set aside what is weaker than a limit on p. The limit is the best for these very patients at which as many
           lesions are found as under `kinds`, and then as under `regression`: what learning has to beat

Who answers is drawn DRAWS times a study. Printed a patient: false findings, and the share of lesions with a finding,
with 95 % intervals from drawing patients. `--choose` compares least numbers of answers for `kinds` instead: the shares
of other patients' true and false findings that are set aside. Scored pairs are kept in FOLDER, and not scored again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.segmentation_files import make_probability_volume, make_structure_volume
from siamese_med.imaging.volume import Volume
from siamese_med.reporting.data.rejected_kinds import AnsweredKind, find_kind, learn_rejected_kinds
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
from siamese_med.study.thresholds import MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS
from siamese_med.study.vocabulary import ComponentKind, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIG = ScoreConfig(spacing_mm=4.0)
CONTRAST = "FLAIR"
UNCHANGED, REFERENCE_SEED = 8, 1000
"""People whose pairs, without any change, all others are held against; their seed is not that of a study."""
VOLUMES_ML = (0.5, 5.0)
MEAN_LESIONS = 1.5
NEAR_MM = 6.0
"""A part whose centre is this near to a lesion is true."""
TRIED = ((2, 2), (3, 2), (3, 3), (4, 3), (5, 3), (5, 4))
"""Least numbers of rejected findings, and of their patients, that `--choose` compares."""
LEAST = MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS
MAX_CONFIRMED_LOST = 1 / 8
DRAWS, BOOTSTRAPS = 40, 2000


@dataclass(frozen=True)
class Job:
    """One pair to score: a study's seed, the patient's number, spots a patient, and the folder of what is kept."""

    folder: Path
    seed: int
    number: int
    spots: float

    @property
    def path(self) -> Path:
        """Where the result is kept."""
        return self.folder / f"{self.seed}_{self.number:03}.json"


def simulate_visits(job: Job) -> tuple[list[PairScan], list[NDArray[Any]]]:
    """Both scans of a patient, and the places (n, 3) of each new lesion in mm of the earlier scan."""
    rng = np.random.default_rng([job.seed, job.number])
    earlier = anatomy.simulate_anatomy(rng, 1.0)
    later, lesions = earlier, []
    if job.seed != REFERENCE_SEED:
        for _ in range(rng.poisson(MEAN_LESIONS)):
            before, later = later, anatomy.add_lesion(later, rng, 1000 * _draw_ml(rng))
            lesions.append(np.argwhere((later.lesion - before.lesion).numpy() > 0.3))
        for _ in range(rng.poisson(job.spots)):
            later = add_flow(later, rng, _draw_ml(rng))
    machines = scanner.draw_scanners(np.random.default_rng(job.seed), scanner.SCANNER_COUNT)
    chosen = rng.choice(len(machines), 2, replace=False)
    scans = [scanner.acquire_scan(person, machines[n], rng) for person, n in zip((earlier, later), chosen, strict=True)]
    to_scan = np.linalg.inv(scans[0].to_anatomy)
    middle = (np.asarray(HEAD_GRID_SHAPE) - 1) / 2
    places = [(HEAD_GRID_MM * (one - middle)) @ to_scan[:3, :3].T + to_scan[:3, 3] for one in lesions if len(one)]
    brain = segment_brain(scans[0].volume)
    region, structures = make_probability_volume(brain), make_structure_volume(brain)
    carry = np.linalg.inv(scans[1].to_anatomy) @ scans[0].to_anatomy
    regions = [region, Volume(region.voxels, carry @ region.affine)]
    sides = [
        PairScan(scan.volume, inside, None, "MR", "FLAIR", f"scanner-{n}", structures)
        for scan, inside, n in zip(scans, regions, chosen, strict=True)
    ]
    return sides, places


def _draw_ml(rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(*map(math.log, VOLUMES_ML)))


def add_flow(person: Anatomy, rng: np.random.Generator, volume_ml: float) -> Anatomy:
    """Add a bright spot of flow to the inner fluid of the head, at a random place; returns a new anatomy."""
    fluid = person.tissue[VENTRICLE_CHANNEL].numpy()
    chosen = rng.choice(fluid.size, p=fluid.ravel() / fluid.sum(dtype=float))
    centre = np.unravel_index(chosen, HEAD_GRID_SHAPE)
    radius = (3 * 1000 * volume_ml / (4 * math.pi)) ** (1 / 3) / HEAD_GRID_MM
    grids = np.meshgrid(*[np.arange(n) - c for n, c in zip(HEAD_GRID_SHAPE, centre, strict=True)], indexing="ij")
    distance = np.sqrt(sum(grid.astype(np.float32) ** 2 for grid in grids))
    spot = fluid / (1 + np.exp(np.clip((distance - radius) / 0.4, -30, 30)))
    lesion = torch.maximum(person.lesion, torch.from_numpy(spot.astype(np.float32)))
    return Anatomy(person.tissue, lesion, person.centres)


def measure_unchanged(job: Job) -> list[MapSummary]:
    """Evidence and growth of a pair without change."""
    torch.set_num_threads(1)
    sides, _ = simulate_visits(job)
    ordered, _ = pair_measurement.put_in_fixed_order(*sides)
    found = pair_measurement.measure_pair(*ordered, CONFIG.spacing_mm, detectors.build_residual_detector(CONFIG))
    return [found.finding, found.growth]


def score_patient(job: tuple[Job, tuple[NoiseFloor, NoiseFloor]]) -> None:
    """Score a patient's pair, and keep its parts with the lesions that each lies near."""
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


def score_studies(folder: Path, seeds: Sequence[int], patients: int, spots: float) -> None:
    """Score every pair that is not kept yet."""
    jobs = [Job(folder, seed, number, spots) for number in range(patients) for seed in seeds]
    lacking = [job for job in jobs if not job.path.is_file()]
    if not lacking:
        return
    folder.mkdir(parents=True, exist_ok=True)
    quiet = [Job(folder, REFERENCE_SEED, number, spots) for number in range(UNCHANGED)]
    found = list(run_in_parallel(measure_unchanged, quiet, "measuring unchanged pairs"))
    where = NoiseStratum("MR FLAIR", OTHER_SCANNER)
    evidence, growth = (
        NoiseFloor({where: noise_floor.build_no_change_reference([one[n] for one in found], "rescans")})
        for n in range(2)
    )
    for _ in run_in_parallel(score_patient, [(job, (evidence, growth)) for job in lacking], "scoring patients"):
        pass


@dataclass(frozen=True)
class Finding:
    """A part that a page takes an answer for, and the numbers of the patient's true lesions that it lies near."""

    patient: int
    part: Component
    lesions: tuple[int, ...]

    @property
    def p(self) -> float:
        """How often a rescan's whole map is as strong."""
        return 1.0 if self.part.p is None else self.part.p


Study = list[tuple[int, list[Finding]]]
"""Of each patient, how many new lesions there are, and the findings."""
Rule = Callable[[Finding], bool]
"""Whether a finding stays."""


def read_study(folder: Path, seed: int, patients: int) -> Study:
    """Read the findings of what was scored."""
    study: Study = []
    for number in range(patients):
        kept = json.loads(Job(folder, seed, number, 0).path.read_text())
        parts = kept["parts"] if kept["verdict"] == Verdict.CHANGED else []
        found = [Finding(number, Component.from_json(one), tuple(one["lesions"])) for one in parts]
        study.append((kept["lesions"], [one for one in found if one.part.kind != ComponentKind.MAY_BE_CHANCE]))
    return study


def draw_answered(study: Study, count: int, rng: np.random.Generator) -> list[Finding]:
    """The findings that a reader answers to."""
    return [one for place in rng.permutation(len(study)) for one in study[place][1]][:count]


def learn_kinds(answered: Sequence[Finding], least: tuple[int, int]) -> Rule:
    """Learn the kinds of which many were rejected and none confirmed, as the pages do."""
    kinds = [(one, find_kind(CONTRAST, one.part)) for one in answered]
    given = [AnsweredKind(str(one.patient), kind, not one.lesions) for one, kind in kinds if kind]
    learned = learn_rejected_kinds(given, least)
    return lambda one: find_kind(CONTRAST, one.part) not in learned


def learn_regression(answered: Sequence[Finding]) -> Rule:
    """Learn a logistic regression, with a limit that few confirmed findings lie beyond."""

    def tissue(one: Finding) -> str:
        return (one.part.region or "").removeprefix("left ").removeprefix("right ")

    kinds = sorted({tissue(one) for one in answered})

    def describe(one: Finding) -> list[float]:
        strength = -math.log10(max(one.p, 1e-12)) / 6 - 1
        volume = math.log10(max(one.part.volume_ml or 0.0, 0.01))
        return [*(float(tissue(one) == kind) for kind in kinds), float(one.part.sign or 0), volume, strength]

    features = np.array([describe(one) for one in answered])
    rejected = np.array([not one.lesions for one in answered])
    whose = np.array([one.patient for one in answered])
    allowed = math.floor((int((~rejected).sum()) + 1) * MAX_CONFIRMED_LOST)
    patients = min(len(set(whose[of])) for of in (rejected, ~rejected))
    if allowed < 1 or rejected.sum() < LEAST[0] or patients < LEAST[1]:
        return lambda _: True
    placed = np.zeros(len(answered))
    for patient in sorted(set(whose)):
        own = whose == patient
        placed[own] = _fit(features[~own], rejected[~own])(features[own])
    limit = max(float(np.sort(placed[~rejected])[-allowed]), 0.0)
    if (placed[rejected] > limit).mean() < 0.5:
        return lambda _: True
    place = _fit(features, rejected)
    return lambda one: bool(place(np.array([describe(one)]))[0] <= limit)


def _fit(features: NDArray[Any], rejected: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(class_weight="balanced").fit(features, rejected).decision_function


def raise_to_weakest(answered: Sequence[Finding]) -> Rule:
    """Ask of every finding to be as strong as the weakest confirmed one."""
    limit = max((one.p for one in answered if one.lesions), default=1.0)
    return lambda one: one.p <= limit


def raise_to_equal(others: Study, needed: int) -> Rule:
    """The strictest limit on p at which so many lesions are found in these very patients."""
    for limit in sorted({0.0, *(one.p for _, findings in others for one in findings)}):
        rule = _stronger(limit)
        if sum(count_patient(patient, rule)[2] for patient in others) >= needed:
            return rule
    return lambda _: True


def _stronger(limit: float) -> Rule:
    return lambda one: one.p <= limit


def count_patient(patient: tuple[int, list[Finding]], rule: Rule) -> list[float]:
    """Of one patient: false findings that stay, lesions, and lesions with a finding that stays."""
    left = [one for one in patient[1] if rule(one)]
    found = {lesion for one in left for lesion in one.lesions}
    return [sum(not one.lesions for one in left), patient[0], len(found)]


ROWS = ("all", "kinds", "raised to the same", "regression", "raised to the same", "weakest")


def measure_study(study: Study, count: int, seed: int) -> tuple[NDArray[Any], list[str]]:
    """Per patient (n, row, 3): means of `count_patient` over the draws in which the patient has no answer."""
    sums, times, told = np.zeros((len(study), len(ROWS), 3)), np.zeros(len(study)), [0, 0, 0]
    for draw in range(DRAWS):
        answered = draw_answered(study, count, np.random.default_rng([seed, draw]))
        whose = {one.patient for one in answered}
        others = [place for place in range(len(study)) if place not in whose]
        kept = [study[place] for place in others]
        rules: list[Rule] = [lambda _: True]
        for learned in (learn_kinds(answered, LEAST), learn_regression(answered)):
            needed = sum(count_patient(patient, learned)[2] for patient in kept)
            rules += [learned, raise_to_equal(kept, int(needed))]
            told[len(rules) // 2 - 1] += any(not learned(one) for _, findings in study for one in findings)
        rules.append(raise_to_weakest(answered))
        told[2] += sum(not one.lesions for one in answered)
        sums[others] += [[count_patient(patient, rule) for rule in rules] for patient in kept]
        times[others] += 1
    words = [f"kinds learned in {told[0]}, regression in {told[1]} of {DRAWS} draws", f"{told[2] / DRAWS:.1f} rejected"]
    return sums[times > 0] / times[times > 0, None, None], words


def compare_least_numbers(studies: Sequence[Study]) -> None:
    """Print, for each of TRIED, the shares of other patients' true and false findings that are set aside."""
    for count in (5, 10, 20, 40):
        for least in TRIED:
            aside, total = np.zeros(2), np.zeros(2)
            for number, study in enumerate(studies):
                for draw in range(DRAWS):
                    answered = draw_answered(study, count, np.random.default_rng([number, draw]))
                    rule, whose = learn_kinds(answered, least), {one.patient for one in answered}
                    for one in (one for _, found in study for one in found if one.patient not in whose):
                        aside[int(not one.lesions)] += not rule(one)
                        total[int(not one.lesions)] += 1
            true, false = 100 * aside / np.maximum(total, 1)
            print(f"{count} answers, at least {least}: set aside {true:.1f} % of true, {false:.1f} % of false findings")


def describe_counts(counts: NDArray[Any]) -> str:
    """A line a rule: false findings a patient, their ratio to all of them, and the share of lesions found."""
    drawn = counts[np.random.default_rng(0).integers(len(counts), size=(BOOTSTRAPS, len(counts)))].mean(1)
    lines = []
    for row, name in enumerate(ROWS):
        told = []
        for words, figure in (
            ("false a patient", lambda mean, row=row: mean[..., row, 0]),
            ("of all", lambda mean, row=row: mean[..., row, 0] / np.maximum(mean[..., 0, 0], 1e-9)),
            ("lesions found", lambda mean, row=row: mean[..., row, 2] / np.maximum(mean[..., row, 1], 1e-9)),
        ):
            low, high = np.quantile(figure(drawn), [0.025, 0.975])
            told.append(f"{words} {figure(counts.mean(0)):.3f} ({low:.3f}-{high:.3f})")
        lines.append(f"  {name:20}{', '.join(told)}")
    return "\n".join(lines)


def main() -> None:
    """Score what is not scored yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--patients", type=int, default=30)
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--spots", type=float, default=2.0)
    parser.add_argument("--choose", action="store_true")
    given = parser.parse_args()
    score_studies(given.folder, given.seeds, given.patients, given.spots)
    studies = [read_study(given.folder, seed, given.patients) for seed in given.seeds]
    if given.choose:
        compare_least_numbers(studies)
        return
    every = []
    for seed, study in zip(given.seeds, studies, strict=True):
        findings = [one for _, found in study for one in found]
        false = sum(not one.lesions for one in findings)
        counts, words = measure_study(study, given.answers, seed)
        print(f"seed {seed}: {len(findings)} findings, {false} false; {'; '.join(words)}\n{describe_counts(counts)}")
        every.append(counts)
    print(f"all\n{describe_counts(np.concatenate(every))}")


if __name__ == "__main__":
    main()
