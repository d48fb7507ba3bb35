"""A mask of what changed since an earlier visit is kept beside the later scan, with the session that it names."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.errors import ManifestError
from tests.ingestion import exports
from tests.ingestion.conftest import Place

VISITS = ("quax base", "quax month 6", "quax month 12")


@pytest.fixture
def scan(tmp_path: Path) -> nib.Nifti1Image:
    """Three visits of one patient in the input folder, with a mask on the grid of the last; returns the last scan."""
    for number in range(3):
        exports.nifti(number).to_filename(tmp_path / f"{number}.nii.gz")
    last = exports.nifti(2)
    write_marks(tmp_path, last)
    return last


def write_marks(folder: Path, scan: nib.Nifti1Image, shift: int = 0, grid: int = 0) -> None:
    """Mark 12 voxels in a file whose name and header name the patient."""
    voxels = np.zeros(scan.shape, dtype=np.uint8)
    voxels[2 + shift : 5 + shift, 1:3, 3:5] = 3
    image = nib.Nifti1Image(voxels[grid:], scan.affine)
    image.header["descrip"] = b"Quax, Jo"
    image.to_filename(folder / "quax new.nii.gz")


def manifest(folder: Path, difference: str = "quax new.nii.gz", since: str = "") -> Path:
    rows = [f"Quax,{visit},202{n}-01-01,{n}.nii.gz,," for n, visit in enumerate(VISITS[:2])]
    rows.append(f"Quax,{VISITS[2]},2022-01-01,2.nii.gz,{difference},{since}")
    (folder / "scans.csv").write_text("\n".join(["subject,session,date,path,difference,since", *rows]))
    return folder / "scans.csv"


@pytest.mark.parametrize(("since", "session"), [("", None), (VISITS[0], "ses-01"), (VISITS[1], "ses-02")])
def test_it_is_kept_beside_the_later_scan_with_the_session_it_names(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image, since: str, session: str | None
) -> None:
    *others, row = place.ingest(manifest(tmp_path, since=since)).scans.itertuples()
    assert row.difference == row.path.replace(".nii.gz", "_difference.nii.gz")
    assert row.since == session
    assert [(one.difference, one.since) for one in others] == [(None, None)] * 2
    kept = nib.load(place.data / row.difference)
    assert set(np.unique(kept.dataobj)) == {0, 1}
    assert np.asarray(kept.dataobj).sum() == 12
    assert b"Quax" not in kept.header.binaryblock
    assert kept.shape == scan.shape
    assert not list(place.data.rglob("*quax*"))
    assert row.flags == []


@pytest.mark.parametrize(("grid", "since"), [(1, ""), (0, "month 18")])
def test_one_that_does_not_fit_or_names_a_visit_that_is_not_there_is_left_out(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image, grid: int, since: str
) -> None:
    write_marks(tmp_path, scan, grid=grid)
    *_, row = place.ingest(manifest(tmp_path, since=since)).scans.itertuples()
    assert (row.difference, row.since) == (None, None)
    assert row.flags == ["difference_unused"]
    assert not list(place.data.rglob("*_difference.nii.gz"))


def test_one_that_was_drawn_again_is_taken_and_taken_away(place: Place, tmp_path: Path, scan: nib.Nifti1Image) -> None:
    *_, first = place.ingest(manifest(tmp_path)).scans.itertuples()
    before = np.asarray(nib.load(place.data / first.difference).dataobj)
    write_marks(tmp_path, scan, shift=1)
    place.ingest(manifest(tmp_path))
    *_, row = place.scans().itertuples()
    assert (np.asarray(nib.load(place.data / row.difference).dataobj) != before).any()
    place.ingest(manifest(tmp_path, since=VISITS[0]))
    assert [row.since for row in place.scans().itertuples()] == [None, None, "ses-01"]
    place.ingest(manifest(tmp_path, difference=""))
    assert [row.difference for row in place.scans().itertuples()] == [None] * 3
    assert not list(place.data.rglob("*_difference.nii.gz"))


@pytest.mark.parametrize(
    ("difference", "since", "said"),
    [
        ("gone.nii", "", "row 4 names a mask of what changed that is not there"),
        ("", VISITS[0], "row 4 has 'since' but no 'difference'"),
        ("quax new.nii.gz", VISITS[2], "row 4: 'since' is its own session"),
    ],
)
def test_a_row_that_contradicts_itself_stops_the_run(
    place: Place, tmp_path: Path, scan: nib.Nifti1Image, difference: str, since: str, said: str
) -> None:
    assert scan
    with pytest.raises(ManifestError, match=said):
        place.ingest(manifest(tmp_path, difference, since))
