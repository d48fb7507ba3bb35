"""A mask that a manifest names is kept beside its scan where it fits, and left out with a word where it does not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.errors import ManifestError
from tests.ingestion import exports
from tests.ingestion.conftest import Place


@pytest.fixture
def scan(tmp_path: Path) -> nib.Nifti1Image:
    """A scan in the input folder, and its image."""
    image = exports.nifti(0)
    image.to_filename(tmp_path / "scan.nii.gz")
    return image


def marks(scan: nib.Nifti1Image) -> np.ndarray:
    voxels = np.zeros(scan.shape, dtype=np.uint8)
    voxels[2:5, 1:4, 3:5] = 1
    return voxels


def manifest(folder: Path, mask: str) -> Path:
    (folder / "scans.csv").write_text(f"subject,session,path,mask\nQuax,1,scan.nii.gz,{mask}\n")
    return folder / "scans.csv"


def test_a_mask_on_the_scans_grid_is_kept_beside_it(place: Place, tmp_path: Path, scan: nib.Nifti1Image) -> None:
    nib.Nifti1Image(marks(scan) * 7, scan.affine).to_filename(tmp_path / "quax organ.nii")
    (row,) = place.ingest(manifest(tmp_path, "quax organ.nii")).scans.itertuples()
    assert row.mask == row.path.replace(".nii.gz", "_mask.nii.gz")
    kept, image = nib.load(place.data / row.mask), nib.load(place.data / row.path)
    np.testing.assert_allclose(kept.affine, image.affine, atol=1e-5)
    assert set(np.unique(kept.dataobj)) == {0, 1}
    assert np.asarray(kept.dataobj).sum() == marks(scan).sum()
    assert row.flags == ["date_unknown"]


def test_a_mask_stored_with_other_axes_marks_the_same_place(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = scan.shape[0] - 1
    nib.Nifti1Image(marks(scan)[::-1], scan.affine @ flip).to_filename(tmp_path / "mask.nii.gz")
    (row,) = place.ingest(manifest(tmp_path, "mask.nii.gz")).scans.itertuples()
    kept = nib.load(place.data / row.mask)
    found = nib.affines.apply_affine(kept.affine, np.argwhere(np.asarray(kept.dataobj) > 0)).mean(0)
    true = nib.affines.apply_affine(scan.affine, np.argwhere(marks(scan) > 0)).mean(0)
    np.testing.assert_allclose(found, true, atol=1e-4)


def other_grid(path: Path, scan: nib.Nifti1Image) -> None:
    shifted = scan.affine.copy()
    shifted[0, 3] += 1
    nib.Nifti1Image(marks(scan), shifted).to_filename(path)


def other_shape(path: Path, scan: nib.Nifti1Image) -> None:
    nib.Nifti1Image(marks(scan)[:-1], scan.affine).to_filename(path)


def nothing(path: Path, scan: nib.Nifti1Image) -> None:
    nib.Nifti1Image(-marks(scan).astype(np.int16), scan.affine).to_filename(path)


def garbage(path: Path, scan: nib.Nifti1Image) -> None:
    path.write_bytes(bytes(range(256)) * scan.shape[0])


def cut(path: Path, scan: nib.Nifti1Image) -> None:
    path.write_bytes(gzip.compress(nib.Nifti1Image(marks(scan), scan.affine).to_bytes())[:-20])


@pytest.mark.parametrize("spoiled", [other_grid, other_shape, nothing, garbage, cut])
def test_a_mask_that_does_not_fit_is_left_out_and_the_scan_kept(
    spoiled: Callable[[Path, nib.Nifti1Image], None], place: Place, tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    spoiled(tmp_path / "mask.nii.gz", scan)
    (row,) = place.ingest(manifest(tmp_path, "mask.nii.gz")).scans.itertuples()
    assert row.mask is None
    assert "mask_unused" in row.flags
    assert not list(place.data.rglob("*_mask.nii.gz"))


def test_another_mask_under_the_same_name_is_taken_and_none_takes_it_away(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    nib.Nifti1Image(marks(scan), scan.affine).to_filename(tmp_path / "mask.nii")
    place.ingest(manifest(tmp_path, "mask.nii"))
    nib.Nifti1Image(np.roll(marks(scan), 1, 0), scan.affine).to_filename(tmp_path / "mask.nii")
    again = place.ingest(manifest(tmp_path, "mask.nii"))
    assert again.new
    (row,) = place.scans().itertuples()
    assert np.asarray(nib.load(place.data / row.mask).dataobj).sum() == marks(scan).sum()
    place.ingest(manifest(tmp_path, ""))
    assert [row.mask for row in place.scans().itertuples()] == [None]
    assert not list(place.data.rglob("*_mask.nii.gz"))


def test_a_mask_that_is_not_there_stops_the_run(place: Place, tmp_path: Path, scan: nib.Nifti1Image) -> None:
    assert scan.ndim == 3
    with pytest.raises(ManifestError, match=r"row 2 names a mask"):
        place.ingest(manifest(tmp_path, "nowhere.nii"))


def with_lesions(folder: Path, lesions: str) -> Path:
    (folder / "scans.csv").write_text(f"subject,session,path,lesions\nQuax,1,scan.nii.gz,{lesions}\n")
    return folder / "scans.csv"


@pytest.mark.parametrize("marked", [True, False])
def test_a_mask_of_lesions_is_kept_beside_its_scan_also_where_there_are_none(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image, marked: bool
) -> None:
    nib.Nifti1Image(marks(scan) * marked, scan.affine).to_filename(tmp_path / "seen.nii.gz")
    (row,) = place.ingest(with_lesions(tmp_path, "seen.nii.gz")).scans.itertuples()
    assert row.lesions == row.path.replace(".nii.gz", "_lesions.nii.gz")
    assert row.mask is None
    assert np.asarray(nib.load(place.data / row.lesions).dataobj).sum() == marks(scan).sum() * marked
    assert row.flags == ["date_unknown"]


def test_a_mask_of_lesions_on_another_grid_is_left_out(place: Place, tmp_path: Path, scan: nib.Nifti1Image) -> None:
    nib.Nifti1Image(marks(scan)[1:], scan.affine).to_filename(tmp_path / "seen.nii.gz")
    (row,) = place.ingest(with_lesions(tmp_path, "seen.nii.gz")).scans.itertuples()
    assert row.lesions is None
    assert "lesions_unused" in row.flags


def test_lesions_that_were_drawn_again_are_taken_and_taken_away(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    nib.Nifti1Image(marks(scan), scan.affine).to_filename(tmp_path / "seen.nii")
    (first,) = place.ingest(with_lesions(tmp_path, "seen.nii")).scans.itertuples()
    nib.Nifti1Image(marks(scan) * 0, scan.affine).to_filename(tmp_path / "seen.nii")
    assert place.ingest(with_lesions(tmp_path, "seen.nii")).account.ingested == 1
    (row,) = place.scans().itertuples()
    assert np.asarray(nib.load(place.data / row.lesions).dataobj).sum() == 0
    assert row.subject == first.subject
    place.ingest(with_lesions(tmp_path, ""))
    assert [row.lesions for row in place.scans().itertuples()] == [None]
    assert not list(place.data.rglob("*_lesions.nii.gz"))


def test_lesions_that_are_not_there_stop_the_run(place: Place, tmp_path: Path, scan: nib.Nifti1Image) -> None:
    assert scan
    with pytest.raises(ManifestError, match=r"row 2 names a mask of lesions that is not there"):
        place.ingest(with_lesions(tmp_path, "seen.nii"))


def test_without_compression_scan_and_mask_are_nii_with_the_same_content(
    new_place: Callable[[], Place], tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    nib.Nifti1Image(marks(scan), scan.affine).to_filename(tmp_path / "seen.nii.gz")
    manifest = with_lesions(tmp_path, "seen.nii.gz")
    packed, plain = new_place(), new_place()
    ((one,), (other,)) = (
        place.ingest(manifest, compress=compress).scans.itertuples()
        for place, compress in ((packed, True), (plain, False))
    )
    assert (other.path, other.lesions) == (one.path.removesuffix(".gz"), one.lesions.removesuffix(".gz"))
    assert other.sha256 == one.sha256
    for name in ("path", "lesions"):
        content = (plain.data / getattr(other, name)).read_bytes()
        assert content == gzip.decompress((packed.data / getattr(one, name)).read_bytes())
    assert (plain.data / other.path).with_suffix(".json").is_file()  # the metadata of BIDS
    assert plain.ingest(manifest, compress=False).account.ingested == 1
    assert not list(plain.data.rglob("*.gz"))


def test_a_scan_that_is_made_anew_without_compression_leaves_no_compressed_one(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image
) -> None:
    nib.Nifti1Image(marks(scan), scan.affine).to_filename(tmp_path / "seen.nii")
    (first,) = place.ingest(with_lesions(tmp_path, "seen.nii")).scans.itertuples()
    (kept,) = place.ingest(with_lesions(tmp_path, "seen.nii"), compress=False).scans.itertuples()
    assert kept.path == first.path  # nothing is new
    nib.Nifti1Image(marks(scan) * 0, scan.affine).to_filename(tmp_path / "seen.nii")
    (row,) = place.ingest(with_lesions(tmp_path, "seen.nii"), compress=False).scans.itertuples()
    assert nib.load(place.data / row.path).shape == scan.shape
    images = {path.relative_to(place.data).as_posix() for path in place.data.rglob("*.nii*")}
    assert images == {row.path, row.lesions}
