"""Section by section of what may be wrong with a DICOM export: every file gets the outcome that the table promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.ingestion import single_scan
from siamese_med.ingestion.reasons import REASON_HINTS
from siamese_med.study.config import IngestConfig
from tests.ingestion import exports
from tests.ingestion.conftest import Place
from tests.ingestion.dicom_cases import CASES


@dataclass
class Export:
    """All cases ingested at once, one folder each."""

    place: Place
    folder: Path
    scans: pd.DataFrame

    def of(self, case: str) -> pd.DataFrame:
        """Scans that the case's files became part of."""
        from siamese_med.ingestion.catalogue import catalogue

        files = catalogue.read_file_table(self.place.url).set_index("sha256")
        hashes = [exports.digest(path) for path in (self.folder / case).iterdir()]
        series = set(files.loc[hashes, "scan"]) - {""}
        return self.scans[self.scans["id"].isin(series)]


@pytest.fixture(scope="module")
def export(new_place: Callable[[], Place], tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("export")
    for name, case in CASES.items():
        case.make(folder / name)
    place = new_place()
    return Export(place, folder, place.ingest(folder).scans)


@pytest.mark.parametrize("case", CASES)
def test_every_file_of_a_case_ends_as_it_should(export: Export, case: str) -> None:
    expected = {word: count for word, count in CASES[case].reasons.items() if count}
    assert Counter(export.place.reasons(export.folder / case).values()) == expected
    scans = export.of(case)
    assert len(scans) == CASES[case].scans
    assert set(CASES[case].flags) <= {flag for flags in scans["flags"] for flag in flags}


def test_a_clean_series_bears_no_flag(export: Export) -> None:
    (flags,) = export.of("plain")["flags"]
    assert set(flags) <= {"shorter_scan"}  # other cases are longer scans of the same patient


def test_reasons_are_explained(export: Export) -> None:
    assert set(export.place.account().reasons) <= set(REASON_HINTS)


SAME_VOXELS = {
    "plain": 0, "no_preamble": 3, "implicit_without_meta": 4, "implicit": 5, "deflated": 6, "big_endian": 7,
    "run_length": 8, "jpeg_2000": 9, "inverted": 43,
}  # fmt: skip
"""Cases whose stored values are those drawn from a seed."""


@pytest.mark.parametrize(("case", "seed"), SAME_VOXELS.items())
def test_voxels_are_those_of_the_export(export: Export, case: str, seed: int) -> None:
    """Sagittal slices: columns run to the back, rows to the feet, slices along -x in LPS, which is to the right."""
    scan = export.of(case).iloc[0]
    stored = export.place.voxels(scan["id"])
    assert stored.dtype == np.int16
    assert stored.shape == (exports.SLICES, exports.COLUMNS, exports.ROWS)
    assert scan["spacing_mm"] == [exports.GAP, exports.SPACING[1], exports.SPACING[0]]
    expected = exports.voxels(seed)[:, ::-1, ::-1].swapaxes(1, 2)
    assert np.array_equal(stored, expected)


def test_orientation_follows_the_header(export: Export) -> None:
    scan = export.of("plain").iloc[0]
    stored, affine = export.place.voxels(scan["id"]), np.asarray(scan["affine"])
    first = exports.voxels(0)[0]
    row, column = 2, 7
    lps = exports.ORIGIN + column * exports.SPACING[1] * np.array(exports.SIDEWAYS[:3])
    lps = lps + row * exports.SPACING[0] * np.array(exports.SIDEWAYS[3:])
    i, j, k = np.round(np.linalg.inv(affine) @ [-lps[0], -lps[1], lps[2], 1])[:3].astype(int)
    assert stored[i, j, k] == first[row, column]
    assert (np.diag(affine)[:3] > 0).all()


def test_slope_and_intercept_belong_to_their_slice(export: Export) -> None:
    stored = export.place.voxels(export.of("rescaled_slice_by_slice")["id"].iloc[0])
    assert stored.dtype == np.float32
    expected = sorted(float((one * (0.5 + n) - 3.25).sum()) for n, one in enumerate(exports.voxels(44).astype(float)))
    assert sorted(float(one.sum()) for one in stored.astype(float)) == pytest.approx(expected, rel=1e-6)


def test_frames_of_an_enhanced_file_are_rescaled_apart(export: Export) -> None:
    stored = export.place.voxels(export.of("enhanced")["id"].iloc[0])
    expected = sorted(int(one.sum()) * 2 + n * one.size for n, one in enumerate(exports.voxels(0).astype(int)))
    assert sorted(int(one.sum()) for one in stored.astype(int)) == expected


def test_tiles_of_a_mosaic_lie_where_single_slices_would(export: Export) -> None:
    mosaic, plain = export.of("mosaic").iloc[0], export.of("plain").iloc[0]
    assert np.allclose(np.asarray(mosaic["affine"])[:, :3], np.asarray(plain["affine"])[:, :3])
    assert mosaic["shape"] == [5, exports.COLUMNS, exports.ROWS]
    first = export.place.voxels(mosaic["id"])[0]
    assert sorted(first.ravel()) == sorted(exports.voxels(0, 5)[0].ravel())
    assert np.asarray(mosaic["affine"])[:3, 3] == pytest.approx(np.asarray(plain["affine"])[:3, 3])


def test_no_word_of_the_export_is_in_what_is_written(export: Export) -> None:
    secret_words = (b"Doe", b"Jane", b"PAT-1", b"passwd", b"</script", b"MPRAGE", b"20210304", b"plain", b"IM0003")
    for path in export.place.data.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found = [
            word
            for word in secret_words
            if word in content or word in str(path.relative_to(export.place.data)).encode()
        ]
        assert not found, path


@pytest.mark.parametrize("rule", ["first", "mean"])
def test_a_volume_of_a_4d_series_can_be_asked_for(place: Place, tmp_path: Path, rule: str) -> None:
    CASES["two_times"].make(tmp_path / "series")
    ingested = place.ingest(tmp_path / "series", volume_of_4d=rule)
    assert len(ingested.scans) == 1
    assert f"{rule}_of_repeats" in ingested.scans["flags"][0]
    assert ingested.account.ingested == (6 if rule == "first" else 12)


def test_one_series_is_read_without_a_catalogue(tmp_path: Path) -> None:
    exports.write(tmp_path / "one", exports.series(patient=""))
    scan = single_scan.read_single_scan(tmp_path / "one", IngestConfig())
    assert (scan.modality, scan.contrast) == ("MR", "T1w")
    assert scan.volume.voxels.shape == (exports.SLICES, exports.COLUMNS, exports.ROWS)
