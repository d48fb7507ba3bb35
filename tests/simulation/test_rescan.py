"""A scan taken again shows the same anatomy elsewhere, and nothing else of its source."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from siamese_med.imaging.volume import Volume
from siamese_med.simulation import rescan, scanner
from siamese_med.simulation.rescan import ScannedBody
from siamese_med.simulation.scanner import Scanner

AFFINE = np.array([[0.0, -2, 0, 30], [2, 0, 0, -50], [0, 0, 2, 7], [0, 0, 0, 1]])
"""Columns to the front and rows to the left, off the origin: nothing may rely on canonical axes."""


def textured(shape: tuple[int, int, int], seed: int, smoothness: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smoothness)
    return np.asarray(600 + 150 * noise / noise.std(), dtype=np.float32)


@pytest.fixture(scope="module")
def crop() -> Volume:
    """Tissue up to every face, as cut out of a head: 35 x 51 x 40 voxels of 2 mm."""
    return Volume(textured((35, 51, 40), 0, 2.0), AFFINE)


@pytest.fixture(scope="module")
def head() -> Volume:
    """A ball of tissue in noisy air, its neck cut by the lowest face."""
    shape = (48, 56, 48)
    place = np.indices(shape) - np.array([24, 28, 26])[:, None, None, None]
    body = (np.linalg.norm(place, axis=0) < 18) | ((np.hypot(place[0], place[1]) < 9) & (place[2] < 0))
    noise = np.random.default_rng(1).rayleigh(15, shape)
    return Volume((body * textured(shape, 2, 2.0) + noise).astype(np.float32), np.diag([2.0, 2, 2, 1]))


@pytest.fixture(scope="module")
def clean_machine(crop: Volume) -> Scanner:
    """Without noise and bias, at the crop's resolution."""
    machine = rescan.draw_rescan_scanners(crop.spacing_mm, np.random.default_rng(0))[1]
    return replace(machine, noise=0.0, bias=np.zeros((4, 4, 4), np.float32), gamma=1.0)


def sampled(volume: Volume, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at points (n, 3) in mm."""
    from scipy.ndimage import map_coordinates

    inverse = np.linalg.inv(volume.affine)
    return np.asarray(map_coordinates(volume.voxels, (points @ inverse[:3, :3].T + inverse[:3, 3]).T, order=1))


def places(scan: Volume) -> NDArray[np.float64]:
    """Centres of the voxels (n, 3) in mm."""
    voxels = np.stack(np.meshgrid(*map(np.arange, scan.voxels.shape), indexing="ij"), -1).reshape(-1, 3)
    return np.asarray(voxels @ scan.affine[:3, :3].T + scan.affine[:3, 3])


def test_the_anatomy_is_where_the_pose_says(crop: Volume, clean_machine: Scanner) -> None:
    from scipy.stats import spearmanr

    body = rescan.extract_body(crop)
    for seed in range(3):
        scan = rescan.acquire_rescan(body, clean_machine, np.random.default_rng(seed))
        points = places(scan.volume)
        there = points @ scan.to_anatomy[:3, :3].T + scan.to_anatomy[:3, 3]
        moved = np.linalg.norm(there - points, axis=1).mean()
        values = scan.volume.voxels.reshape(-1)
        assert moved > 0.5
        assert spearmanr(values, sampled(crop, there)).statistic > 0.99
        assert spearmanr(values, sampled(crop, points)).statistic < 0.98


@pytest.mark.parametrize("seed", range(4))
def test_no_voxel_lies_beyond_a_face_that_cuts_the_body(crop: Volume, seed: int) -> None:
    body = rescan.extract_body(crop)
    assert body.cut.all()
    for machine in rescan.draw_rescan_scanners(body.spacing_mm, np.random.default_rng(0)):
        scan = rescan.acquire_rescan(body, machine, np.random.default_rng(seed))
        corners = np.array(list(product(*[(-0.5, n - 0.5) for n in scan.volume.voxels.shape])))
        to_source = np.linalg.inv(crop.affine) @ scan.to_anatomy @ scan.volume.affine
        inside = corners @ to_source[:3, :3].T + to_source[:3, 3]
        assert inside.min() > -0.6
        assert (inside < np.array(crop.voxels.shape) - 0.4).all()
        assert np.prod(scan.volume.voxels.shape * scan.volume.spacing_mm) > 0.35 * np.prod(crop.voxels.shape) * 8


def test_only_the_neck_is_cut_and_air_is_air(head: Volume) -> None:
    body = rescan.extract_body(head)
    assert body.cut.tolist() == [[False, False, True], [False, False, False]]
    corner = body.signal[:8, :8, 30:]
    assert corner.max() == 0
    assert head.voxels[:8, :8, 30:].min() > 0


def test_two_scans_of_one_source_share_less_than_half_of_its_noise_and_none_in_air(head: Volume) -> None:
    shape = (32, 32, 32)
    noisy = [textured(shape, 5, 3.0) + 40 * np.random.default_rng(seed).standard_normal(shape) for seed in (0, 1)]
    bodies = [rescan.extract_body(Volume(voxels.astype(np.float32), np.diag([2.0, 2, 2, 1]))) for voxels in noisy]
    raw, left = (
        np.corrcoef((a - b).ravel(), noisy[0].ravel() - noisy[1].ravel())[0, 1] * (a - b).std()
        for a, b in ((noisy[0], noisy[1]), (bodies[0].signal, bodies[1].signal))
    )
    scale = np.percentile(noisy[0], 99) - np.percentile(noisy[0], 1)
    assert left < 0.5 * raw / scale
    quiet = rescan.extract_body(head)
    machine = rescan.draw_rescan_scanners(quiet.spacing_mm, np.random.default_rng(0))[1]
    air = [
        rescan.acquire_rescan(quiet, machine, np.random.default_rng(seed)).volume.voxels[:6, :6, :6] for seed in (0, 1)
    ]
    assert abs(np.corrcoef(air[0].ravel(), air[1].ravel())[0, 1]) < 0.2


def test_the_rng_decides_all(crop: Volume, clean_machine: Scanner) -> None:
    body = rescan.extract_body(crop)
    first, again, other = (
        rescan.acquire_rescan(body, clean_machine, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first.volume.voxels.tobytes() == again.volume.voxels.tobytes()
    assert (first.volume.affine == again.volume.affine).all()
    assert first.volume.voxels.tobytes() != other.volume.voxels.tobytes()


def test_machines_ask_no_more_of_a_source_than_it_can_give() -> None:
    even, thick = (
        rescan.draw_rescan_scanners(np.array(edges), np.random.default_rng(0)) for edges in ((1, 1, 1), (1.0, 4.0, 0.9))
    )
    assert {machine.plane for machine in even} == {"axial", "coronal", "sagittal"}
    assert min(machine.pixel_mm for machine in even) == 1
    assert min(machine.slice_mm for machine in even) == 1
    assert {machine.plane for machine in thick} == {"coronal"}
    assert min(machine.slice_mm for machine in thick) >= 4
    assert min(machine.pixel_mm for machine in thick) == 1


def test_a_protocols_field_of_view_tells_nothing_of_the_source(crop: Volume, clean_machine: Scanner) -> None:
    larger = Volume(textured((45, 59, 44), 3, 2.0), AFFINE)
    extent = np.array([40.0, 30.0, 35.0])
    shapes = {
        rescan.acquire_rescan(
            rescan.extract_body(source), clean_machine, np.random.default_rng(seed), extent
        ).volume.voxels.shape
        for source in (crop, larger)
        for seed in range(3)
    }
    assert len(shapes) == 1


def test_planes_run_as_those_of_the_simulated_scanners(crop: Volume) -> None:
    body = rescan.extract_body(Volume(crop.voxels, np.diag([2.0, 2, 2, 1])))
    for machine in rescan.draw_rescan_scanners(body.spacing_mm, np.random.default_rng(0)):
        scan = rescan.acquire_rescan(body, machine, np.random.default_rng(0)).volume
        directions = scan.affine[:3, :3] / scan.spacing_mm
        np.testing.assert_allclose(directions, scanner.get_plane_directions(machine.plane), atol=1e-9)


def test_a_constant_source_is_scanned_without_complaint() -> None:
    body: ScannedBody = rescan.extract_body(Volume(np.full((12, 12, 12), 7, np.int16), np.diag([2.0, 2, 2, 1])))
    machine = rescan.draw_rescan_scanners(body.spacing_mm, np.random.default_rng(0))[0]
    assert np.isfinite(rescan.acquire_rescan(body, machine, np.random.default_rng(0)).volume.voxels).all()
