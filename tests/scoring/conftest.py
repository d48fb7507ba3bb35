"""Pairs of scans of the simulated head, with and without a planted change, and a reference to read them against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from siamese_med import alignment, resampling
from siamese_med.config import ScoreConfig
from siamese_med.intensity import normalise
from siamese_med.phantom.anatomy import Anatomy
from siamese_med.phantom.head import GRID_MM, GRID_SHAPE
from siamese_med.phantom.scanner import Acquisition
from siamese_med.scoring import comparison, floor, overlay, residual
from siamese_med.scoring.comparison import Instrument, Side
from siamese_med.scoring.floor import OTHER, Floor, Stratum
from siamese_med.scoring.overlay import Detector, PairSpace
from siamese_med.scoring.rescans import simulated
from siamese_med.volume import Volume, centred_grid

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
    grid = np.stack(np.meshgrid(*map(np.arange, GRID_SHAPE), indexing="ij"), -1)
    radius = (3 * BALL_ML * 1000 / (4 * np.pi)) ** (1 / 3) / GRID_MM
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
    grid = centred_grid(shape, 4.0)
    return Volume(normalise(*resampling.resample(scan, start @ grid, shape)[0]).numpy(), grid)


@pytest.fixture(scope="session")
def sides(acquisitions: dict[str, Acquisition], template: Volume) -> dict[str, Side]:
    scans = [acquisition.volume for acquisition in acquisitions.values()]
    found = alignment.align(scans, template)
    return {
        name: Side(scan, one.matrix, "MR", "FLAIR", "unknown", True)
        for name, scan, one in zip(acquisitions, scans, found, strict=True)
    }


@pytest.fixture(scope="session")
def space(template: Volume, score_config: ScoreConfig) -> PairSpace:
    return overlay.pair_space(template, score_config.spacing_mm)


@pytest.fixture(scope="session")
def plain(score_config: ScoreConfig) -> Detector:
    return partial(residual.evidence, smoothing_mm=score_config.smoothing_mm)


@pytest.fixture(scope="session")
def instrument(sides: dict[str, Side], space: PairSpace, plain: Detector) -> Instrument:
    """The residual with the real rescan, and the first visit against simulated rescans, for pairs without change."""
    pairs = [comparison.measured(sides["first"], sides["rescan"], space, plain)]
    for seed in range(QUIET - 1):
        again = replace(sides["first"], scan=simulated(sides["first"].scan, True, np.random.default_rng(seed))[0])
        pairs.append(comparison.measured(sides["first"], again, space, plain))
    known = floor.reference([pair.finding for pair in pairs], "synthesised")
    grown = floor.reference([pair.growth for pair in pairs], "synthesised")
    where = Stratum("MR FLAIR", OTHER)
    return Instrument(plain, Floor({where: known}), Floor({where: grown}))
