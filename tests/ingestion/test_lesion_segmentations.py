"""DICOM Segmentation objects among the files of a series become the lesion mask of its scan, or are left out."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from siamese_med.dicom_export.identifiers import MANUFACTURER
from siamese_med.ingestion.catalogue.inventory import read_inventory
from siamese_med.ingestion.dicom.segmented_properties import names_lesion
from tests.ingestion import exports
from tests.ingestion import segmentation_objects as objects
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def images(tmp_path: Path) -> list[Any]:
    """A slanted series, which lies in the folder `in`."""
    made = objects.images()
    exports.write(tmp_path / "in", made)
    return made


def read_lesions(place: Place) -> np.ndarray | None:
    """Voxels of the lesion mask of the only scan, or None where it has none."""
    (row,) = place.scans().itertuples()
    return np.asarray(nib.load(place.data / row.lesions).dataobj) if row.lesions else None


def lay_by_hand(images: list[Any], marked: np.ndarray, place: Place) -> np.ndarray:
    """The marked voxels on the scan, from the tags of the images alone."""
    (row,) = place.scans().itertuples()
    laid = np.zeros(row.shape, dtype=int)
    for number, one in enumerate(images):
        turn, corner = np.array(one.ImageOrientationPatient, float), np.array(one.ImagePositionPatient, float)
        for line, column in np.argwhere(marked[number]):
            lps = corner + turn[:3] * column * exports.SPACING[1] + turn[3:] * line * exports.SPACING[0]
            voxel = np.linalg.inv(np.array(row.affine)) @ LPS_TO_RAS @ [*lps, 1]
            assert np.abs(voxel - np.rint(voxel)).max() < 1e-3
            laid[tuple(np.rint(voxel[:3]).astype(int))] = 1
    return laid


def is_unused(place: Place) -> bool:
    (row,) = place.scans().itertuples()
    assert not row.lesions
    return "lesions_unused" in row.flags


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("BINARY", ExplicitVRLittleEndian),
        ("BINARY", DeflatedExplicitVRLittleEndian),
        ("FRACTIONAL", ExplicitVRLittleEndian),
        ("FRACTIONAL", RLELossless),
        ("LABELMAP", RLELossless),
    ],
)
def test_every_marked_voxel_lies_where_its_plane_says(
    place: Place, tmp_path: Path, images: list[Any], kind: str, syntax: str
) -> None:
    marked = objects.mark()
    marked[2] = False  # highdicom leaves such a frame out
    given = marked * 0.5 if kind == "FRACTIONAL" else marked.astype(np.uint8)
    if kind == "FRACTIONAL":
        given[0] += 0.49 * ~marked[0]  # just below half of the maximum
    objects.save(tmp_path / "in", objects.segment(images, given, kind=kind, syntax=syntax))
    ingested = place.ingest(tmp_path / "in")
    assert ingested.account.reasons == {"lesion_mask": 1}
    lesions = read_lesions(place)
    assert lesions is not None
    assert np.array_equal(lesions, lay_by_hand(images, marked, place))
    assert lesions.sum() == marked.sum()


def test_lesions_are_united_and_organs_left_out(place: Place, tmp_path: Path, images: list[Any]) -> None:
    one, other, organ = objects.mark(1), objects.mark(2), objects.mark(3, share=0.5)
    kinds = [
        ("MS lesions", *objects.BRAIN_KIND[1:]),
        objects.LESION_KIND,
        objects.BRAIN_KIND,
        ("Tumor", *[objects.ABNORMAL] * 2),
    ]
    given = np.stack([organ, one, organ, other], axis=-1).astype(np.uint8)
    objects.save(tmp_path / "in", objects.segment(images, given, kinds))
    place.ingest(tmp_path / "in")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, one | other, place))


@pytest.mark.parametrize(
    "settings", [{"kinds": [objects.BRAIN_KIND]}, {"manufacturer": MANUFACTURER}], ids=["organ", "own export"]
)
def test_other_segmentations_are_no_masks(
    place: Place, tmp_path: Path, images: list[Any], settings: dict[str, Any]
) -> None:
    objects.save(tmp_path / "in", objects.segment(images, objects.mark().astype(np.uint8), **settings))
    assert place.ingest(tmp_path / "in").account.reasons == {"non_image": 1}
    assert not is_unused(place)


@pytest.mark.parametrize(
    "settings",
    [
        {"FrameOfReferenceUID": new_uid()},
        {"PatientID": "PAT-2"},
        {"shift_mm": -1.2},
        {"NumberOfFrames": 5},
        {"syntax": JPEGLSLossless},
    ],
    ids=["other frame of reference", "other patient", "off the grid", "broken", "compressed otherwise"],
)
def test_a_segmentation_that_does_not_fit_is_flagged(
    place: Place, tmp_path: Path, images: list[Any], settings: dict[str, Any]
) -> None:
    objects.save(tmp_path / "in", objects.segment(images, objects.mark().astype(np.uint8), **settings))
    assert place.ingest(tmp_path / "in").account.reasons == {"lesion_mask": 1}
    assert is_unused(place)
    assert place.scans().subject.nunique() == 1


def test_planes_within_half_a_voxel_go_to_the_nearest(place: Place, tmp_path: Path, images: list[Any]) -> None:
    marked = objects.mark()
    objects.save(tmp_path / "in", objects.segment(images, marked.astype(np.uint8), shift_mm=0.4 * exports.GAP))
    place.ingest(tmp_path / "in")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, marked, place))


def test_those_that_a_manifest_lists_go_with_its_row(place: Place, tmp_path: Path, images: list[Any]) -> None:
    marked = objects.mark()
    objects.save(tmp_path / "in", objects.segment(images, marked.astype(np.uint8)))
    (tmp_path / "visits.csv").write_text("subject,session,path\nA,1,in\n")
    for _ in range(2):
        assert place.ingest(tmp_path / "visits.csv").account.reasons == {"lesion_mask": 1}
        assert np.array_equal(read_lesions(place), lay_by_hand(images, marked, place))


def test_of_two_segmentations_none_is_taken(place: Place, tmp_path: Path, images: list[Any]) -> None:
    made = [objects.segment(images, objects.mark(seed).astype(np.uint8)) for seed in (1, 2)]
    objects.save(tmp_path / "in", *made)
    assert place.ingest(tmp_path / "in").account.reasons == {"lesion_mask": 2}
    assert is_unused(place)


def test_one_that_comes_later_is_taken_and_then_nothing_is_new(place: Place, tmp_path: Path, images: list[Any]) -> None:
    place.ingest(tmp_path / "in")
    before = set(place.scans().id)
    marked = objects.mark()
    (path,) = objects.save(tmp_path / "in", objects.segment(images, marked.astype(np.uint8)))
    place.ingest(tmp_path / "in")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, marked, place))
    assert set(place.scans().id) == before
    written, listed = [(place.data / one).stat().st_mtime_ns for one in place.scans().path], path.stat()
    path.write_bytes(bytes(listed.st_size))
    os.utime(path, ns=(listed.st_atime_ns, listed.st_mtime_ns))
    assert place.ingest(tmp_path / "in").account.reasons == {"lesion_mask": 1}  # an unchanged file is not read again
    assert [(place.data / one).stat().st_mtime_ns for one in place.scans().path] == written
    assert read_lesions(place) is not None
    again = objects.mark(8)
    objects.segment(images, again.astype(np.uint8)).save_as(path)
    place.ingest(tmp_path / "in")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, again, place))


def test_one_without_its_series_changes_nothing_and_waits_for_it(
    place: Place, tmp_path: Path, images: list[Any]
) -> None:
    marked = objects.mark()
    made = objects.segment(images, marked.astype(np.uint8))
    (path,) = objects.save(tmp_path / "alone", made)
    place.ingest(tmp_path / "in")
    place.ingest(tmp_path / "alone")
    assert len(place.scans()) == 1
    made.ContentLabel = "SECOND"
    made.save_as(path)
    place.ingest(tmp_path / "alone")  # its file was replaced, and the scan stays
    assert len(place.scans()) == 1
    assert sum(sum(one.files.values()) for one in read_inventory(place.url).series) >= exports.SLICES
    objects.save(tmp_path / "in", made)
    place.ingest(tmp_path / "in")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, marked, place))


def test_a_manifest_may_name_one_and_wins(place: Place, tmp_path: Path, images: list[Any]) -> None:
    marked = objects.mark()
    objects.save(tmp_path / "in", objects.segment(images, objects.mark(9).astype(np.uint8)))
    objects.save(tmp_path / "marks", objects.segment(images, marked.astype(np.uint8)))
    (tmp_path / "visits.csv").write_text("subject,session,path,lesions\nA,1,in,marks/SG0000\n")
    place.ingest(tmp_path / "visits.csv")
    assert np.array_equal(read_lesions(place), lay_by_hand(images, marked, place))


def test_broken_objects_never_stop_an_ingest(place: Place, tmp_path: Path, images: list[Any]) -> None:
    (path,) = objects.save(tmp_path / "in", objects.segment(images, objects.mark().astype(np.uint8)))
    whole, sound = path.read_bytes(), dcmread(path)
    path.unlink()
    broken = []
    for keyword in (
        "SegmentSequence", "ReferencedSeriesSequence", "PerFrameFunctionalGroupsSequence", "PatientID", "Rows",
        "SharedFunctionalGroupsSequence", "FrameOfReferenceUID", "SegmentationType", "PixelData", "StudyInstanceUID",
    ):  # fmt: skip
        broken.append(copy.deepcopy(sound))
        delattr(broken[-1], keyword)
    for keyword, value in (("NumberOfFrames", 10**9), ("Columns", 65_000), ("BitsAllocated", 16), ("Rows", 0)):
        broken.append(copy.deepcopy(sound))
        setattr(broken[-1], keyword, value)
    for number, one in enumerate(broken):
        for held in (tmp_path / "in").glob("SG*"):
            held.unlink()
        objects.save(tmp_path / "in", one)
        place.ingest(tmp_path / "in")
        assert read_lesions(place) is None, number
    for end in range(200, len(whole), len(whole) // 12):
        (tmp_path / "in" / "SG0000").write_bytes(whole[:end])
        place.ingest(tmp_path / "in")
        assert read_lesions(place) is None, end


def test_texts_that_name_no_lesion() -> None:
    for text in ("", "normal tissue near the lesion", "non-lesion", "perilesional", "white matter", "muscle mass"):
        assert not names_lesion(text), text
