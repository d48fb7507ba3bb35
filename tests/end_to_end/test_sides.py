"""Left is left: a head with a marker right, in front and on top, however it was stored, in every picture and map.

The letters are read off the pictures, not taken for granted. Markers differ in size, so that none passes for another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.ndimage import gaussian_filter

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import stages
from siamese_med.reporting.data import side_by_side
from siamese_med.reporting.data.report_content import EvidenceStatement, Slice, WrongPatientAlarm
from siamese_med.reporting.render.slice_choice import PairSliceStack
from siamese_med.scoring.change import pair_measurement, pair_scoring, pair_slices, residual_detector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.simulation import dicom_series, scanner
from siamese_med.study.config import Config
from siamese_med.study.tables import Study
from tests.end_to_end.looking import Shown, grey, halves, labelled, lettered, marked

CENTRE = np.array([12.0, -20.0, 30.0])
BODY_MM = np.array([65.0, 80.0, 70.0])
MARKERS = {"R": ((40, 0, 0), 16), "A": ((0, 52, 0), 12), "S": ((0, 0, 46), 9)}
"""Place from the centre and radius, mm, by the letter of their side: right, front and top are positive."""
NEW = np.array([34.0, 30.0, 22.0])
NEW_RADIUS_MM = 10
VOXEL_MM, SHAPE_MM = (2.5, 2.5, 3.0), np.array([165.0, 190.0, 170.0])
TISSUE, MARKER = 350, 900
TILT = np.deg2rad(6)
PLANES = ("axial", "coronal", "sagittal")

AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
DICOM = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL", "oblique": "LPS"}
"""Where columns, rows and slices of a series run."""
NIFTI = ("RAS", "LPS", "ASR", "PIL")
PAIRS = [("axial", "coronal"), ("sagittal", "oblique"), ("RAS", "LPS"), ("ASR", "PIL")]
"""The same head twice, stored in two ways; the second time with something new."""


def head(codes: str, tilt: float, new: bool, texture: Volume) -> Volume:
    """The head, its voxel axes running to these sides, all turned about the axis from left to right."""
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    sides = turn @ np.array([AXES[code] for code in codes], dtype=float).T
    shape = np.ceil(np.abs(np.linalg.inv(turn) @ sides).T @ SHAPE_MM / VOXEL_MM).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = sides * VOXEL_MM
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((shape - 1) / 2)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    place = voxels @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    detail = resampling.resample_volume(texture, affine, tuple(int(n) for n in shape))[0, 0].numpy()
    scan = np.where(((place / BODY_MM) ** 2).sum(-1) < 1, TISSUE * (1 + 0.5 * detail), 0)
    for centre, radius in [*MARKERS.values(), *([(NEW, NEW_RADIUS_MM)] if new else [])]:
        scan[np.linalg.norm(place - centre, axis=-1) < radius] = MARKER
    return Volume(scan.astype(np.int16), affine)


@pytest.fixture(scope="module")
def texture() -> Volume:
    """What the head has of its own everywhere, so that two scans of it can be laid on each other."""
    noise = gaussian_filter(np.random.default_rng(3).normal(size=(44, 48, 44)), 2)
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = CENTRE - 4 * np.array([43, 47, 43]) / 2
    return Volume((noise / np.abs(noise).max()).astype(np.float32), grid)


@dataclass(frozen=True)
class Ingested:
    """A study with all the heads in it; the catalogue's row of each by how it was stored."""

    study: Study
    rows: dict[str, dict[str, Any]]
    export: Path

    def scan(self, name: str) -> Volume:
        return volume.read_volume(self.study.data / self.rows[name]["path"])


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, texture: Volume) -> Ingested:
    folder = tmp_path_factory.mktemp("sides")
    study, rows = Study(folder / "data", folder / "reports", Config()), {}
    for number, name in enumerate([*DICOM, *NIFTI]):
        made = head(DICOM.get(name, name), TILT if name == "oblique" else 0.0, name in dict(PAIRS).values(), texture)
        source = folder / "input" / name
        if name in DICOM:
            machine = scanner.draw_scanners(np.random.default_rng(1), 1)[0]
            who = dicom_series.PatientIdentity("Doe^Jane", f"P{number}", "19700101", "F")
            dicom_series.write_dicom_series(
                source, made, machine, who, dicom_series.SimulatedExamination("20210101", name)
            )
        else:
            assert nib.aff2axcodes(made.affine) == tuple(name)
            source.mkdir(parents=True)
            nib.save(nib.Nifti1Image(made.voxels, made.affine), source / "head.nii")
        stages.ingest(source, study)
        known = {row["id"] for row in rows.values()}
        (rows[name],) = (row for row in stages.scans(study).to_dict("records") if row["id"] not in known)
    return Ingested(study, rows, folder / "input")


@dataclass(frozen=True)
class Compared:
    """Two of the heads laid on each other: the change map, and the slices of the patient's page."""

    map: Volume
    slices: list[Slice]


@pytest.fixture(scope="module")
def compared(ingested: Ingested, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compared]:
    folder = tmp_path_factory.mktemp("compared")
    scans = {name: ingested.scan(name) for name in ingested.rows}
    sides = {name: PairScan(scan, None, None, "MR", "FLAIR", "unknown") for name, scan in scans.items()}
    made = {}
    for earlier, later in PAIRS:
        measured = pair_measurement.measure_pair(
            sides[earlier],
            sides[later],
            3.0,
            lambda pair, spacing: residual_detector.detect_with_residual(pair, spacing, 2.0),
        )
        probability = measured.evidence.abs() / measured.evidence.abs().max()
        pair_scoring.write_change_map(folder / f"{later}.nii", sides[earlier], measured, probability)
        both = scans[earlier], scans[later]
        pair_slices.write_pair_slices(folder / f"{later}.npz", measured.pair, both, measured.evidence, probability)
        stack = PairSliceStack(folder / f"{later}.npz")
        slices = [stack.slice(index) for index in range(len(stack))]
        made[later] = Compared(volume.read_volume(folder / f"{later}.nii"), slices)
    return made


MARKED = {"axial": "RA", "coronal": "RS", "sagittal": "AS"}
"""Letters beside the markers in a middle slice, the larger marker first."""


@pytest.fixture(scope="module")
def thumbnail(ingested: Ingested) -> Callable[[str], list[Shown]]:
    """The three tiles of a scan on the ingest page."""
    page = ingested.study.files_page.read_text(encoding="utf-8")

    def tiles(name: str) -> list[Shown]:
        figure = next(one for one in page.split("<figure")[1:] if f'title="{ingested.rows[name]["id"]}"' in one)
        strip = grey(re.search('src="([^"]+)"', figure)[1])
        return [lettered(tile) for tile in np.split(strip, 3, axis=1)]

    return tiles


@pytest.mark.parametrize("name", DICOM)
def test_the_series_is_what_dicom_says_of_it(ingested: Ingested, name: str) -> None:
    """In DICOM's own terms, with none of our geometry: +x is the patient's left, +y the back, +z the head."""
    bright = []
    for path in (ingested.export / name).iterdir():
        slice_ = pydicom.dcmread(path)
        rows, columns = np.nonzero(_signal(slice_) > 0.75 * MARKER)
        across, down = np.array(slice_.ImageOrientationPatient, float).reshape(2, 3)
        steps = np.outer(columns, across * slice_.PixelSpacing[1]) + np.outer(rows, down * slice_.PixelSpacing[0])
        bright.append(np.array(slice_.ImagePositionPatient, float) + steps)
    x, y, z = np.concatenate(bright).mean(0) - CENTRE * (-1, -1, 1)
    assert x < -10
    assert y < -5
    assert z > 2


def _signal(slice_: pydicom.Dataset) -> NDArray[np.float64]:
    return slice_.pixel_array * float(slice_.get("RescaleSlope", 1)) + float(slice_.get("RescaleIntercept", 0))


@pytest.mark.parametrize("name", [*DICOM, *NIFTI])
def test_thumbnails_show_each_marker_beside_its_letter(thumbnail: Callable[[str], list[Shown]], name: str) -> None:
    assert [marked(tile) for tile in thumbnail(name)] == [MARKED[plane] for plane in PLANES]


def middle(slices: tuple[Slice, ...]) -> dict[str, Slice]:
    """The slice through the middle of the body in each plane: the first fixed one."""
    return {one.plane: one for one in reversed(slices) if one.chosen == "fixed"}


@pytest.mark.parametrize("later", [later for _, later in PAIRS])
def test_slices_of_a_pair_show_each_marker_beside_its_letter(compared: dict[str, Compared], later: str) -> None:
    shown = middle(compared[later].slices)
    assert sorted(shown) == sorted(PLANES)
    for one in shown.values():
        earlier, later = (labelled(url, one.panels.labels) for url in (one.panels.earlier, one.panels.later))
        assert marked(earlier) == marked(later) == MARKED[one.plane]


@pytest.mark.parametrize("later", [later for _, later in PAIRS])
def test_what_is_new_lies_right_front_and_up_in_difference_and_change(
    compared: dict[str, Compared], later: str
) -> None:
    strongest = [one for one in compared[later].slices if one.chosen != "fixed"]
    for plane, sides in (("axial", {"R", "A"}), ("coronal", {"R", "S"})):
        one = next(one for one in strongest if one.plane == plane)
        difference, change = (labelled(url, one.panels.labels) for url in (one.panels.difference, one.panels.change))
        assert halves(difference) == halves(change) == sides


@pytest.mark.parametrize("later", [later for _, later in PAIRS])
def test_the_change_map_has_its_maximum_where_the_new_thing_is(compared: dict[str, Compared], later: str) -> None:
    change = compared[later].map
    assert np.linalg.norm(_peak(change) - CENTRE - NEW) < 6
    assert np.linalg.norm(_peak(Volume(change.voxels[::-1], change.affine)) - CENTRE - NEW) > 30


def _peak(change: Volume) -> NDArray[np.float64]:
    """World position, RAS+ mm, around which the map is strongest, over about the size of the new thing."""
    spacing = np.linalg.norm(change.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(change.voxels.astype(float), NEW_RADIUS_MM / 2 / spacing)
    strongest = np.unravel_index(smooth.argmax(), smooth.shape)
    return change.affine[:3, :3] @ strongest + change.affine[:3, 3]


def test_a_lineup_shows_each_marker_beside_its_letter(ingested: Ingested, tmp_path: Path) -> None:
    grid = np.diag([3.0, 3.0, 3.0, 1.0])
    grid[:3, 3] = CENTRE - 3 * (np.array([60, 70, 60]) - 1) / 2
    aligned = resampling.resample_volume(ingested.scan("PIL"), grid, (60, 70, 60))[0]
    np.save(tmp_path / "scan.npy", normalise_intensity(*aligned).numpy() / 2)
    row, nothing = ingested.rows["PIL"], EvidenceStatement("none", "", "")
    alarm = WrongPatientAlarm(row["id"], row["session"], row["subject"], None, None, None, nothing, nothing)
    (lineup,) = side_by_side.build_wrong_patient_comparisons(
        [alarm], [row], [{"scan": row["id"], "volume": "scan.npy"}], tmp_path
    )
    assert marked(lettered(grey(lineup.faces[0].picture))) == MARKED["axial"]


TURNS = {"left to right": np.fliplr, "top to bottom": np.flipud, "both": np.rot90, "about the diagonal": np.transpose}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_is_noticed(
    thumbnail: Callable[[str], list[Shown]], compared: dict[str, Compared], turn: str
) -> None:
    seen = dict(zip(PLANES, thumbnail("oblique"), strict=True))
    for plane, one in middle(compared["PIL"].slices).items():
        seen[f"{plane} slice"] = labelled(one.panels.later, one.panels.labels)
    for name, shown in seen.items():
        inside = shown.slice
        edge = min(inside.shape)
        top, left = ((length - edge) // 2 for length in inside.shape)
        turned = np.zeros_like(inside)
        turned[top : top + edge, left : left + edge] = TURNS[turn](inside[top : top + edge, left : left + edge])
        assert marked(Shown(turned, shown.letters)) != MARKED[name.split()[0]]
