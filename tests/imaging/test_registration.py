"""Rigid alignment on the simulated head, whose pose is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from siamese_med.imaging import registration, resampling
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.registration import RegistrationLevel
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition

SHAPE = (44, 52, 44)
SPACING_MM = 4.0
FINE_LEVELS = (RegistrationLevel(1.0, 8_000, 8, 1.0), RegistrationLevel(0.4, 20_000, 8, 0.5))


@pytest.fixture(scope="module")
def scans(person: Anatomy, acquired: Callable[..., Acquisition]) -> dict[str, Acquisition]:
    """One patient in four poses, once in another contrast."""
    return {
        "fixed": acquired(person, 0),
        "other pose": acquired(person, 1),
        "third pose": acquired(person, 2),
        "T1w": acquired(person, 5, "T1w"),
    }


@pytest.fixture(scope="module")
def start(scans: dict[str, Acquisition]) -> np.ndarray:
    """Template mm to mm of the scan that the template is made of: a shift."""
    matrix = np.eye(4)
    matrix[:3, 3] = resampling.centre_of_mass(scans["fixed"].volume)
    return matrix


@pytest.fixture(scope="module")
def template(scans: dict[str, Acquisition], start: np.ndarray) -> Volume:
    """The first scan on a centred grid of 4 mm."""
    grid = make_centred_affine(SHAPE, SPACING_MM)
    voxels, valid = resampling.resample_volume(scans["fixed"].volume, start @ grid, SHAPE)[0]
    return Volume(normalise_intensity(voxels, valid).numpy(), grid)


@pytest.fixture(scope="module")
def found(scans: dict[str, Acquisition], template: Volume) -> dict[str, registration.Alignment]:
    return dict(
        zip(scans, registration.register_scans([scan.volume for scan in scans.values()], template), strict=True)
    )


@pytest.mark.parametrize(
    ("scan", "degrees", "mm"), [("fixed", 1, 1), ("other pose", 1, 1), ("third pose", 1, 1), ("T1w", 2, 2)]
)
def test_a_known_pose_is_found_again(
    scan: str,
    degrees: float,
    mm: float,
    scans: dict[str, Acquisition],
    start: np.ndarray,
    found: dict[str, registration.Alignment],
) -> None:
    truth = np.linalg.inv(scans[scan].to_anatomy) @ scans["fixed"].to_anatomy @ start
    error = np.linalg.inv(truth) @ found[scan].matrix
    assert np.degrees(np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))) < degrees
    assert np.linalg.norm(error[:3, 3]) < mm


def test_the_poses_to_be_found_are_not_trivial(scans: dict[str, Acquisition], start: np.ndarray) -> None:
    for scan in ("other pose", "third pose", "T1w"):
        truth = np.linalg.inv(scans[scan].to_anatomy) @ scans["fixed"].to_anatomy @ start
        assert np.degrees(np.arccos((np.trace(truth[:3, :3]) - 1) / 2)) > 4


def test_the_pose_is_rigid(found: dict[str, registration.Alignment]) -> None:
    for one in found.values():
        np.testing.assert_allclose(one.matrix[:3, :3] @ one.matrix[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(one.matrix[:3, :3]) == pytest.approx(1, abs=1e-6)


def test_the_batch_a_scan_is_aligned_in_does_not_matter(
    scans: dict[str, Acquisition], template: Volume, found: dict[str, registration.Alignment]
) -> None:
    (alone,) = registration.register_scans([scans["other pose"].volume], template)
    shift = np.linalg.inv(found["other pose"].matrix) @ alone.matrix - np.eye(4)
    assert np.abs(shift[:3, :3]).max() * 100 + np.abs(shift[:3, 3]).max() < 0.1


def test_a_scan_stays_exactly_where_it_is_against_itself(template: Volume) -> None:
    (one,) = registration.register_scans([template], template, FINE_LEVELS, [np.eye(4)])
    assert np.array_equal(one.matrix, np.eye(4))
    assert one.correlation_ratio > 0.99


def test_an_unlike_image_reaches_a_low_ratio(template: Volume, found: dict[str, registration.Alignment]) -> None:
    noise = Volume(
        np.random.default_rng(0).random((40, 40, 40), dtype=np.float32), make_centred_affine((40, 40, 40), 4.0)
    )
    (one,) = registration.register_scans([noise], template)
    assert one.correlation_ratio < 0.2 < min(scan.correlation_ratio for scan in found.values())


def test_an_empty_scan_is_aligned_nowhere_and_breaks_nothing(template: Volume) -> None:
    (one,) = registration.register_scans(
        [Volume(np.zeros((20, 20, 20), dtype=np.float32), make_centred_affine((20, 20, 20), 5.0))], template
    )
    assert np.isfinite(one.matrix).all()
    assert one.correlation_ratio < 0.05


def turned(degrees: float, axis: int, shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.eye(3)[axis]).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize("name", ["other pose", "T1w"])
@pytest.mark.parametrize("axis", range(3))
def test_twenty_degrees_and_twenty_millimetres_are_found_back(
    name: str,
    axis: int,
    scans: dict[str, Acquisition],
    template: Volume,
    found: dict[str, registration.Alignment],
) -> None:
    for sign in (1, -1):
        motion = turned(20 * sign, axis, (11.5, -11.5, 11.5))
        scan = scans[name].volume
        (one,) = registration.register_scans([Volume(scan.voxels, motion @ scan.affine)], template)
        apart = np.linalg.inv(motion @ found[name].matrix) @ one.matrix
        assert np.degrees(np.arccos(np.clip((np.trace(apart[:3, :3]) - 1) / 2, -1, 1))) < 0.3
        assert np.linalg.norm(apart[:3, 3]) < 0.3


def test_the_quality_figure_tells_found_from_lost(
    scans: dict[str, Acquisition], template: Volume, found: dict[str, registration.Alignment]
) -> None:
    scan = scans["other pose"].volume
    upside_down = Volume(scan.voxels, turned(180, 0, (0, 0, 0)) @ scan.affine)
    emptied = scan.voxels.copy()
    emptied[emptied.shape[0] // 2 :] = 0
    lost = registration.register_scans([upside_down, Volume(emptied, scan.affine)], template)
    assert max(one.quality for one in lost) < 0.05 < min(one.quality for one in found.values())


def test_a_stretched_scan_is_followed_by_twelve_degrees_of_freedom_only(
    scans: dict[str, Acquisition], start: np.ndarray, template: Volume
) -> None:
    stretch = np.diag([1.1, 0.93, 1.05, 1.0])
    stretch[0, 1] = 0.04
    scan = scans["fixed"].volume
    moved = Volume(scan.voxels, stretch @ scan.affine)
    (rigid,), (affine,) = (
        registration.register_scans([moved], template, transform=kind) for kind in ("rigid", "affine")
    )
    true = stretch @ start
    assert np.abs(affine.matrix[:3, :3] - true[:3, :3]).max() < 0.02
    assert np.abs(rigid.matrix[:3, :3] - true[:3, :3]).max() > 0.05
    assert affine.correlation_ratio > rigid.correlation_ratio


def test_with_a_mask_what_lies_beside_the_organ_does_not_matter(
    scans: dict[str, Acquisition], start: np.ndarray, template: Volume
) -> None:
    """A second head beside the first, turned the other way: without the mask the two cannot be told apart."""
    scan, width = scans["other pose"].volume, scans["other pose"].volume.voxels.shape[0]
    doubled = np.concatenate([scan.voxels, scan.voxels[:, ::-1]])
    mask = np.zeros(doubled.shape, dtype=bool)
    mask[:width] = scan.voxels > scan.voxels.mean()
    (one,) = registration.register_scans([Volume(doubled, scan.affine)], template, masks=[mask])
    truth = np.linalg.inv(scans["other pose"].to_anatomy) @ scans["fixed"].to_anatomy @ start
    assert np.linalg.norm((np.linalg.inv(truth) @ one.matrix)[:3, 3]) < 2
    assert one.quality > 0.05
