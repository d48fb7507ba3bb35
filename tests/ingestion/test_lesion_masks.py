"""Masks of lesions in a BIDS dataset are found, and kept with the scan that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.ingestion.inputs.lesion_masks import is_lesion_mask
from tests.ingestion import exports
from tests.ingestion.conftest import Place

SCAN = "sub-01/ses-{}/anat/sub-01_ses-{}_{}.nii.gz"


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Two visits with FLAIR; a T1w of the first on another grid."""
    folder = tmp_path / "bids"
    folder.mkdir()
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "a study", "BIDSVersion": "1.9.0"}))
    for visit in (1, 2):
        save(exports.nifti(visit), folder / SCAN.format(visit, visit, "FLAIR"))
    other = exports.nifti(7)
    save(nib.Nifti1Image(np.asarray(other.dataobj)[1:], other.affine), folder / SCAN.format(1, 1, "T1w"))
    return folder


def save(image: nib.Nifti1Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)


def mark(folder: Path, name: str, image: nib.Nifti1Image | None = None, root: str = "derivatives/lesions") -> Path:
    """A mask of the given name in the folder of its session, on the grid of the FLAIR."""
    base = image or exports.nifti(1)
    voxels = np.zeros(base.shape, dtype=np.uint8)
    voxels[2:5, 1:4, 3:5] = 1
    session = next(token for token in name.split("_") if token.startswith("ses-"))
    path = folder / root / "sub-01" / session / "anat" / f"{name}.nii.gz"
    save(nib.Nifti1Image(voxels, base.affine), path)
    return path


def with_lesions(place: Place) -> list[tuple[str, str]]:
    return sorted((row.session, row.contrast) for row in place.scans().itertuples() if row.lesions)


@pytest.mark.parametrize("root", ["derivatives/lesions", "."])
def test_a_mask_is_kept_with_the_scan_on_whose_grid_it_lies(place: Place, data_set: Path, root: str) -> None:
    mark(data_set, "sub-01_ses-1_label-lesion_mask", root=root)
    ingested = place.ingest(data_set)
    assert with_lesions(place) == [("ses-01", "FLAIR")]
    assert ingested.account.reasons["lesion_mask"] == 1
    assert all("lesions_unused" not in row.flags for row in place.scans().itertuples())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_ses-2_desc-lesions_dseg", [("ses-02", "FLAIR")]),
        ("sub-01_ses-2_space-orig_label-lesion_mask", [("ses-02", "FLAIR")]),
        ("sub-01_ses-2_space-FLAIR_label-lesion_mask", [("ses-02", "FLAIR")]),
        ("sub-01_ses-2_FLAIR_label-lesion_mask", [("ses-02", "FLAIR")]),
        ("sub-01_ses-2_space-T1w_label-lesion_mask", []),
        ("sub-01_ses-2_space-MNI152NLin2009cAsym_label-lesion_mask", []),
        ("sub-01_ses-2_acq-highres_label-lesion_mask", []),
        ("sub-01_ses-2_label-brain_mask", []),
    ],
)
def test_the_name_of_a_mask_says_whose_it_is(
    place: Place, data_set: Path, name: str, expected: list[tuple[str, str]]
) -> None:
    mark(data_set, name)
    place.ingest(data_set)
    assert with_lesions(place) == expected


def test_of_two_masks_of_one_scan_none_is_taken(place: Place, data_set: Path) -> None:
    mark(data_set, "sub-01_ses-1_label-lesion_mask", root="derivatives/one")
    mark(data_set, "sub-01_ses-1_label-lesion_mask", root="derivatives/other")
    place.ingest(data_set)
    assert with_lesions(place) == []


def test_a_mask_that_comes_later_is_taken_and_its_scan_stays_the_same_person(place: Place, data_set: Path) -> None:
    place.ingest(data_set)
    before = {(row.session, row.contrast): row.subject for row in place.scans().itertuples()}
    path = mark(data_set, "sub-01_ses-2_label-lesion_mask")
    place.ingest(data_set)
    assert with_lesions(place) == [("ses-02", "FLAIR")]
    assert {(row.session, row.contrast): row.subject for row in place.scans().itertuples()} == before
    path.unlink()
    place.ingest(data_set)
    assert with_lesions(place) == []
    assert len(place.scans()) == len(before)


def test_names_of_other_masks_are_none_of_lesions() -> None:
    for name in ("lesion_mask", "sub-01_label-lesion_T1w", "sub-01_lesion_mask", "sub-01_label-lesionfree_mask"):
        assert not is_lesion_mask(name)


@pytest.mark.parametrize(
    ("names", "flagged"),
    [
        (["sub-01_ses-1_desc-r1_label-lesion_mask", "sub-01_ses-1_desc-r2_label-lesion_mask"], True),  # two readers
        (["sub-01_ses-1_acq-3D_label-lesion_mask"], False),  # no scan has this acquisition
    ],
)
def test_a_mask_that_no_scan_gets_is_said(place: Place, data_set: Path, names: list[str], flagged: bool) -> None:
    for name in names:
        mark(data_set, name)
    ingested = place.ingest(data_set)
    assert with_lesions(place) == []
    assert ingested.account.reasons["mask_without_scan"] == 1  # two of one content are one file
    assert any("lesions_unused" in row.flags for row in place.scans().itertuples()) == flagged
