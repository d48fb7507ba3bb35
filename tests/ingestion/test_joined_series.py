"""One volume in two series: put together where the tags prove it, else two scans that are named."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from siamese_med.ingestion import ingest_plan
from siamese_med.ingestion.single_scan import read_single_scan
from siamese_med.study.config import IngestConfig
from tests.ingestion import exports
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid

Change = Callable[[list[Dataset]], None]
SLICES = 8
LOWER = slice(0, 4), slice(4, 8)
ODD = slice(0, 8, 2), slice(1, 8, 2)


def whole(**tags: Any) -> list[Dataset]:
    return exports.series(slices=SLICES, **{"SeriesNumber": 4, "EchoTime": 3.0, "RepetitionTime": 2000.0, **tags})


def split(slices: list[Dataset], parts: tuple[slice, slice] = LOWER) -> tuple[list[Dataset], list[Dataset]]:
    """The slices as an export might split them: the second part has a series UID of its own."""
    first, second = (copy.deepcopy(slices[part]) for part in parts)
    uid = new_uid()
    for one in second:
        one.SeriesInstanceUID = uid
    return first, second


def write(folder: Path, *parts: list[Dataset]) -> Path:
    for number, part in enumerate(parts):
        exports.write(folder / f"part{number}", part)
    return folder


def setting(**tags: Any) -> Change:
    """Tags that differ in the second part."""

    def change(second: list[Dataset]) -> None:
        for one in second:
            for keyword, value in tags.items():
                setattr(one, keyword, value)

    return change


def renumber(second: list[Dataset]) -> None:
    for number, one in enumerate(second):
        one.InstanceNumber = number + 1


def shift(mm: float) -> Change:
    """The second part lies further along the stack."""

    def change(second: list[Dataset]) -> None:
        normal = np.cross(exports.SIDEWAYS[:3], exports.SIDEWAYS[3:])
        for one in second:
            place = np.asarray(one.ImagePositionPatient, dtype=float) + mm * normal
            one.ImagePositionPatient = [round(float(value), 6) for value in place]

    return change


def nothing(_: list[Dataset]) -> None:
    pass


AT_ONCE = {"AcquisitionTime": "101500.25", "AcquisitionNumber": 1}


@pytest.mark.parametrize(
    ("parts", "tags", "change"),
    [
        (LOWER, {}, nothing),
        (ODD, {}, nothing),
        ((slice(0, 7), slice(7, 8)), {}, nothing),
        (LOWER, AT_ONCE, renumber),
        (ODD, AT_ONCE, renumber),
    ],
)
def test_halves_give_the_volume_of_the_whole_series(
    new_place: Callable[[], Place], tmp_path: Path, parts: tuple[slice, slice], tags: dict[str, Any], change: Change
) -> None:
    slices = whole(**tags)
    halves = split(slices, parts)
    change(halves[1])
    expected = new_place()
    expected.ingest(write(tmp_path / "whole", slices))
    place = new_place()
    ingested = place.ingest(write(tmp_path / "halves", *halves))
    assert (ingested.account.ingested, len(ingested.scans)) == (SLICES, 1)
    assert ingested.scans["flags"][0] == ["joined_series"]
    one, other = (nib.load(there.data / there.scans()["path"][0]) for there in (expected, place))
    assert np.array_equal(one.dataobj, other.dataobj)
    assert np.array_equal(one.affine, other.affine)
    assert place.ingest(tmp_path / "halves").scans.equals(ingested.scans)


@pytest.mark.parametrize(
    ("change", "tags"),
    [
        (setting(EchoTime=5.0), {}),
        (setting(EchoNumbers=2), {"EchoNumbers": 1}),
        (setting(ImageType=["ORIGINAL", "PRIMARY", "P"]), {}),
        (setting(ConvolutionKernel="B60f"), {"ConvolutionKernel": "B30f"}),
        (setting(SeriesDescription="sag T1 MPRAGE upper"), {}),
        (setting(SeriesNumber=5), {}),
        (setting(SeriesNumber=None), {"SeriesNumber": None}),
        (setting(SeriesTime="101612"), {}),
        (setting(AcquisitionTime="101800"), {"AcquisitionTime": "101500"}),
        (setting(AcquisitionNumber=2), {"AcquisitionNumber": 1}),
        (setting(TemporalPositionIdentifier=2), {"TemporalPositionIdentifier": 1}),
        (setting(TriggerTime=300), {"TriggerTime": 100}),
        (setting(FrameOfReferenceUID=new_uid()), {}),
        (setting(StudyInstanceUID=new_uid()), {}),
        (setting(PatientSex="M"), {"PatientSex": "F"}),
        (setting(ReceiveCoilName="body"), {"ReceiveCoilName": "head"}),
        (renumber, {}),
        (renumber, {"AcquisitionTime": "101500"}),
        (shift(-4 * exports.GAP), {}),  # the same places again
        (shift(-4.5 * exports.GAP), {}),
        (shift(-exports.GAP), {}),
        (shift(0.1), {}),
        (shift(exports.GAP), {}),
    ],
)
def test_two_scans_are_never_put_together(place: Place, tmp_path: Path, change: Change, tags: dict[str, Any]) -> None:
    first, second = split(whole(**tags))
    change(second)
    ingested = place.ingest(write(tmp_path / "in", first, second))
    assert (ingested.account.ingested, len(ingested.scans)) == (SLICES, 2)
    assert not any("joined_series" in flags for flags in ingested.scans["flags"])


@pytest.mark.parametrize(("begins", "scans"), [(101504, 1), (101834, 2)])
def test_a_pause_between_the_parts_is_another_acquisition(
    place: Place, tmp_path: Path, begins: int, scans: int
) -> None:
    first, second = split(whole())
    for begin, part in ((101500, first), (begins, second)):
        for number, one in enumerate(part):
            one.AcquisitionTime = str(begin + number)
    assert len(place.ingest(write(tmp_path / "in", first, second)).scans) == scans


def test_parts_that_are_not_proven_are_named(place: Place, tmp_path: Path) -> None:
    first, second = split(whole())
    renumber(second)
    ingested = place.ingest(write(tmp_path / "in", first, second))
    assert ingested.scans["flags"].tolist() == [["split_volume"], ["split_volume"]]


def test_the_second_half_may_arrive_later(place: Place, tmp_path: Path) -> None:
    first, second = split(whole())
    folder = write(tmp_path / "in", first)
    assert place.ingest(folder).scans["shape"][0][0] == 4
    exports.write(folder / "late", second)
    ingested = place.ingest(folder)
    assert (ingested.account.ingested, len(ingested.scans), len(place.scans())) == (SLICES, 1, 1)
    assert ingested.scans["shape"][0][0] == SLICES
    assert len(list(place.data.rglob("*.nii.gz"))) == 1


def test_another_series_of_the_visit_that_arrives_later_changes_nothing(place: Place, tmp_path: Path) -> None:
    first, second = split(whole())
    folder = write(tmp_path / "in", first)
    before = place.ingest(folder).scans
    setting(SeriesNumber=9)(second)
    exports.write(folder / "late", second)
    after = place.ingest(folder).scans.set_index("id")
    assert len(after) == 2
    assert after.loc[before["id"][0], "sha256"] == before["sha256"][0]


def test_a_slice_of_one_half_that_arrives_later_is_judged_with_both(place: Place, tmp_path: Path) -> None:
    slices = exports.series(slices=SLICES + 1, SeriesNumber=4)
    first, second = split(slices, (slice(0, 4), slice(4, 9)))
    folder = write(tmp_path / "in", first, second[:-1])
    before = place.ingest(folder).scans
    exports.write(folder / "late", second[-1:])
    after = place.ingest(folder).scans
    assert after["id"].tolist() == before["id"].tolist()
    assert after["shape"][0][0] == SLICES + 1


def test_half_of_it_in_another_input_does_not_replace_the_volume(place: Place, tmp_path: Path) -> None:
    slices = exports.series(slices=SLICES + 1, SeriesNumber=4)
    first, second = split(slices, (slice(0, 4), slice(4, 9)))
    place.ingest(write(tmp_path / "in", first, second[:-1]))
    before = place.scans()
    assert place.ingest(write(tmp_path / "half", second)).account.reasons == {"missing_slice": 1}
    assert place.scans().equals(before)


def test_parts_that_no_longer_fit_are_two_scans_again(place: Place, tmp_path: Path) -> None:
    first, second = split(whole())
    folder = write(tmp_path / "in", first, second)
    assert len(place.ingest(folder).scans) == 1
    shutil.rmtree(folder / "part1")
    setting(EchoTime=9.0)(second)
    exports.write(folder / "part1", second)
    ingested = place.ingest(folder)
    assert len(ingested.scans) == len(place.scans()) == 2
    assert ingested.scans["shape"].map(lambda shape: shape[0]).tolist() == [4, 4]


def test_two_rows_of_a_manifest_are_two_scans(place: Place, tmp_path: Path) -> None:
    write(tmp_path, *split(whole()))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("subject,session,path\na,1,part0\na,1,part1\n")
    assert len(place.ingest(manifest).scans) == 2


def test_plan_and_single_scans_agree(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", *split(whole()))
    config = IngestConfig(workers=1)
    assert ingest_plan.plan_ingest(folder, config)["scans"] == 1
    scan = read_single_scan(folder, config)
    assert (scan.volume.voxels.shape[0], scan.flags) == (SLICES, ("joined_series",))
