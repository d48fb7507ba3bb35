"""NIfTI files of every kind that a folder may hold: what becomes of each, and that voxels and place survive."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.errors import InputError, MissingFileError
from siamese_med.ingestion import single_scan
from siamese_med.study.config import IngestConfig
from tests.ingestion import exports
from tests.ingestion.conftest import Place

FORM_CODES, PIXDIM, SROW_X, DIM = 252, 76, 280, 40
"""Where fields of a NIfTI-1 header stand."""


def content(image: nib.Nifti1Image | None = None) -> bytearray:
    """The bytes of an uncompressed NIfTI-1."""
    return bytearray((image or exports.nifti()).to_bytes())


def patched(offset: int, values: np.ndarray, seed: int = 0) -> bytearray:
    """A NIfTI-1 with some bytes of its header replaced."""
    made = content(exports.nifti(seed))
    made[offset : offset + values.nbytes] = values.tobytes()
    return made


def metres() -> bytearray:
    image = exports.nifti(30)
    affine = np.diag([1e-3, 1e-3, 1e-3, 1]) @ image.affine
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("meter")
    return content(image)


def some_nan(dtype: str = "float32") -> bytearray:
    image = exports.nifti(31, dtype)
    voxels = np.array(image.dataobj)
    voxels[0, 0, :3] = np.nan
    return content(nib.Nifti1Image(voxels, image.affine, image.header))


def constant(value: float) -> bytearray:
    image = exports.nifti(32, "float32")
    return content(nib.Nifti1Image(np.full(image.shape, value, np.float32), image.affine, image.header))


def moved_qform(mm: float) -> bytearray:
    image = exports.nifti(33)
    affine = image.affine.copy()
    affine[0, 3] += mm
    image.set_qform(affine, 1)
    return content(image)


def coloured() -> bytearray:
    rgb = np.zeros((8, 7, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return content(nib.Nifti1Image(rgb, np.eye(4)))


def broken_checksum() -> bytes:
    squeezed = bytearray(gzip.compress(bytes(content(exports.nifti(34)))))
    squeezed[-6] ^= 0xFF
    return bytes(squeezed)


NIFTI_2 = nib.Nifti2Image(np.asarray(exports.nifti(2).dataobj), exports.nifti(2).affine).to_bytes()
ANALYZE = nib.AnalyzeImage(np.asarray(exports.nifti(3).dataobj), np.eye(4))

GOOD: dict[str, Callable[[], bytes | bytearray]] = {
    "plain.nii": content,
    "squeezed.nii.gz": lambda: gzip.compress(content(exports.nifti(1))),
    "squeezed_but_named_otherwise.nii": lambda: gzip.compress(content(exports.nifti(4))),
    "plain_but_named_gz.nii.gz": lambda: content(exports.nifti(5)),
    "no_suffix_at_all": lambda: content(exports.nifti(6)),
    "second_version.nii": lambda: NIFTI_2,
    "unsigned.nii": lambda: content(exports.nifti(7, "uint8")),
    "doubles.nii": lambda: content(exports.nifti(8, "float64")),
    "one_volume_in_four_axes.nii": lambda: content(exports.nifti(9, shape=(8, 7, 6, 1))),
    "nearly_one_place.nii": lambda: moved_qform(0.05),
    "only_qform.nii": lambda: patched(FORM_CODES, np.array([1, 0], "<i2"), 10),
    "only_sform.nii": lambda: patched(FORM_CODES, np.array([0, 1], "<i2"), 11),
    "metres.nii": metres,
    "some_nan.nii": some_nan,
}

BAD: dict[str, tuple[Callable[[], bytes | bytearray], str]] = {
    "empty.nii.gz": (lambda: b"", "empty_file"),
    "text.nii": (lambda: b"this is not an image, whatever its name says" * 20, "not_an_image"),
    "header_cut.nii": (lambda: content()[:200], "unreadable_header"),
    "voxels_cut.nii": (lambda: content(exports.nifti(20))[:-100], "truncated"),
    "squeezed_and_cut.nii.gz": (lambda: gzip.compress(content())[:5], "truncated"),
    "stream_cut.nii.gz": (lambda: gzip.compress(content(exports.nifti(21)))[:-300], "truncated"),
    "short_inside.nii.gz": (lambda: gzip.compress(content(exports.nifti(22))[:-100]), "truncated"),
    "broken_checksum.nii.gz": (broken_checksum, "corrupt_gzip"),
    "boastful.nii": (lambda: patched(DIM, np.array([3, 30000, 30000, 30000], "<i2")), "too_large"),
    "bomb.nii.gz": (lambda: gzip.compress(bytes(content(exports.nifti(23))) + bytes(80 * 2**20)), "too_large"),
    "negative_axis.nii": (lambda: patched(DIM, np.array([3, -8, 7, 6], "<i2"), 24), "unreadable_header"),
    "eight_axes.nii": (lambda: patched(DIM, np.array([8, 8, 7, 6], "<i2"), 25), "unreadable_header"),
    "zero_spacing.nii": (lambda: patched(PIXDIM, np.array([1, 0, 0, 0], "<f4"), 26), "bad_spacing"),
    "nan_spacing.nii": (lambda: patched(PIXDIM, np.array([1, np.nan, 1, 1], "<f4"), 27), "bad_spacing"),
    "nan_affine.nii": (lambda: patched(SROW_X, np.full(4, np.nan, "<f4"), 28), "bad_affine"),
    "infinite_affine.nii": (lambda: patched(SROW_X, np.full(4, np.inf, "<f4"), 29), "bad_affine"),
    "singular_affine.nii": (lambda: patched(SROW_X, np.zeros(4, "<f4"), 35), "bad_affine"),
    "two_places.nii": (lambda: moved_qform(0.2), "affine_conflict"),
    "no_forms.nii": (lambda: patched(FORM_CODES, np.array([0, 0], "<i2"), 36), "no_orientation"),
    "all_nan.nii": (lambda: constant(np.nan), "no_finite_voxel"),
    "all_equal.nii": (lambda: constant(5), "constant_image"),
    "complex.nii": (lambda: content(exports.nifti(37, "complex64")), "complex"),
    "coloured.nii": (coloured, "rgb"),
    "flat.nii": (lambda: content(exports.nifti(38, shape=(8, 7))), "ndim_2"),
    "one_slice.nii": (lambda: content(exports.nifti(39, shape=(8, 7, 1))), "ndim_2"),
    "two_slices.nii": (lambda: content(exports.nifti(40, shape=(8, 7, 2))), "too_few_slices"),
    "over_time.nii": (lambda: content(exports.nifti(41, shape=(8, 7, 6, 3))), "ndim_4"),
    "header_alone.hdr": (lambda: ANALYZE.header.binaryblock, "no_orientation"),
    "scan_mask.nii": (lambda: content(exports.nifti(42)), "non_image"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nifti")
    for name, make in {**GOOD, **{name: make for name, (make, _) in BAD.items()}}.items():
        (made / name).write_bytes(make())
    return made


@pytest.fixture(scope="module")
def place(new_place: Callable[[], Place], folder: Path) -> Place:
    place = new_place()
    place.ingest(folder)
    return place


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_keeps_its_voxels_and_place(place: Place, folder: Path, name: str) -> None:
    assert place.reasons(folder)[name] == ""
    scan = _scan(place, folder / name)
    (folder.parent / "copy.nii").write_bytes(_plain(folder / name))
    source = nib.as_closest_canonical(nib.load(folder.parent / "copy.nii"))
    expected = np.nan_to_num(np.asarray(source.dataobj).reshape(source.shape[:3]))
    assert np.array_equal(place.voxels(scan["id"]), expected)
    factor = 1000 if name == "metres.nii" else 1
    assert np.asarray(scan["affine"])[:3] == pytest.approx(source.affine[:3] * factor, abs=2e-4)
    assert scan["source"] == "nifti"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_its_reason(place: Place, folder: Path, name: str) -> None:
    assert place.reasons(folder)[name] == BAD[name][1]


@pytest.mark.parametrize(("name", "flag"), [("metres.nii", "units_converted"), ("some_nan.nii", "nan_count")])
def test_what_was_mended_is_flagged(place: Place, folder: Path, name: str, flag: str) -> None:
    assert flag in _scan(place, folder / name)["flags"]


def test_each_unnamed_file_is_a_subject_of_its_own(place: Place) -> None:
    assert place.scans()["subject"].nunique() == len(GOOD)


def test_a_pair_of_header_and_voxels_is_one_scan(new_place: Callable[[], Place], tmp_path: Path) -> None:
    image = exports.nifti(50)
    nib.Nifti1Pair(np.asarray(image.dataobj), image.affine).to_filename(tmp_path / "scan.hdr")
    place = new_place()
    ingested = place.ingest(tmp_path)
    assert (ingested.account.ingested, len(ingested.scans)) == (2, 1)
    expected = nib.as_closest_canonical(image)
    assert np.array_equal(place.voxels(ingested.scans["id"][0]), np.asarray(expected.dataobj))
    assert place.ingest(tmp_path).account == ingested.account


@pytest.mark.parametrize(
    ("rule", "expected"), [("first", lambda many: many[..., 0]), ("mean", lambda many: many.mean(-1))]
)
def test_a_volume_of_four_axes_can_be_asked_for(
    new_place: Callable[[], Place], tmp_path: Path, rule: str, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    image = exports.nifti(51, shape=(8, 7, 6, 3))
    (tmp_path / "run.nii").write_bytes(content(image))
    place = new_place()
    scan = place.ingest(tmp_path, volume_of_4d=rule).scans["id"][0]
    assert place.voxels(scan) == pytest.approx(expected(np.asarray(nib.as_closest_canonical(image).dataobj)))


def test_one_file_is_read_without_a_catalogue(folder: Path) -> None:
    scan = single_scan.read_single_scan(folder / "squeezed.nii.gz", IngestConfig())
    assert scan.volume.voxels.shape == (8, 7, 6)
    with pytest.raises(InputError, match="ndim_4"):
        single_scan.read_single_scan(folder / "over_time.nii", IngestConfig())
    with pytest.raises(MissingFileError):
        single_scan.read_single_scan(folder / "not there.nii", IngestConfig())
    with pytest.raises(InputError, match="scans"):
        single_scan.read_single_scan(folder, IngestConfig())


def _plain(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


def _scan(place: Place, path: Path) -> dict[str, object]:
    from siamese_med.ingestion.catalogue import catalogue

    files = catalogue.read_file_table(place.url).set_index("sha256")
    scans = place.scans().set_index("id", drop=False)
    return dict(scans.loc[str(files.loc[exports.digest(path), "scan"])])
