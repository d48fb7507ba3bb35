"""Pairs of scans of the simulated head, with and without a planted change, and a reference to read them against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from siamese_med.imaging import registration, resampling
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.change import noise_floor, pair_measurement, residual_detector
from siamese_med.scoring.change.noise_floor import OTHER_SCANNER, NoiseFloor, NoiseStratum
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import simulate_scan_pair
from siamese_med.simulation import rescan
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import ScoreConfig

BALL_ML = 5.0
BALL_VOXEL = np.array([78, 80, 68])
"""Centre of the planted ball on the anatomy's grid: to the patient's right, in front, above the middle."""
QUIET = 5


@pytest.fixture(scope="session")
def score_config() -> ScoreConfig:
    return ScoreConfig(spacing_mm=3.0)


@pytest.fixture(scope="session")
def with_ball(person: Anatomy) -> Anatomy:
    """The patient with a new ball-shaped lesion of 5 ml."""
    grid = np.stack(np.meshgrid(*map(np.arange, HEAD_GRID_SHAPE), indexing="ij"), -1)
    radius = (3 * BALL_ML * 1000 / (4 * np.pi)) ** (1 / 3) / HEAD_GRID_MM
    lesion = person.lesion.clone()
    lesion[np.linalg.norm(grid - BALL_VOXEL, axis=-1) <= radius] = 1
    return replace(person, lesion=lesion)


@pytest.fixture(scope="session")
def acquisitions(person: Anatomy, with_ball: Anatomy, acquired: Callable[..., Acquisition]) -> dict[str, Acquisition]:
    """A first visit, a rescan, and a visit with the ball."""
    return {"first": acquired(person, 0), "rescan": acquired(person, 1), "ball": acquired(with_ball, 2)}


@pytest.fixture(scope="session")
def template(acquisitions: dict[str, Acquisition]) -> Volume:
    """The first visit on a centred grid of 4 mm."""
    shape, scan = (44, 52, 44), acquisitions["first"].volume
    start = np.eye(4)
    start[:3, 3] = resampling.centre_of_mass(scan)
    grid = make_centred_affine(shape, 4.0)
    return Volume(normalise_intensity(*resampling.resample_volume(scan, start @ grid, shape)[0]).numpy(), grid)


@pytest.fixture(scope="session")
def sides(acquisitions: dict[str, Acquisition], template: Volume) -> dict[str, PairScan]:
    scans = [acquisition.volume for acquisition in acquisitions.values()]
    found = registration.register_scans(scans, template)
    return {
        name: PairScan(scan, None, np.linalg.inv(one.matrix), "MR", "FLAIR", "unknown")
        for name, scan, one in zip(acquisitions, scans, found, strict=True)
    }


@pytest.fixture(scope="session")
def plain(score_config: ScoreConfig) -> ChangeDetector:
    return partial(residual_detector.detect_with_residual, smoothing_mm=score_config.smoothing_mm)


@pytest.fixture(scope="session")
def instrument(sides: dict[str, PairScan], score_config: ScoreConfig, plain: ChangeDetector) -> CalibratedDetector:
    """The residual with the real rescan, and the first visit against simulated rescans, for pairs without change."""
    spacing_mm = score_config.spacing_mm
    pairs = [pair_measurement.measure_pair(sides["first"], sides["rescan"], spacing_mm, plain)]
    body = rescan.extract_body(sides["first"].scan)
    for seed in range(QUIET - 1):
        taken, _ = simulate_scan_pair(body, True, np.random.default_rng(seed))
        again = replace(sides["first"], scan=taken.volume)
        pairs.append(pair_measurement.measure_pair(sides["first"], again, spacing_mm, plain))
    known = noise_floor.build_no_change_reference([pair.finding for pair in pairs], "synthesised")
    grown = noise_floor.build_no_change_reference([pair.growth for pair in pairs], "synthesised")
    where = NoiseStratum("MR FLAIR", OTHER_SCANNER)
    return CalibratedDetector(plain, NoiseFloor({where: known}), NoiseFloor({where: grown}))
