"""What the catalogue can tell of files, by patient and series, of those that became no scan too."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import create_engine, text

from siamese_med.errors import CatalogueError
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.catalogue.inventory import read_inventory
from siamese_med.study.tables import SeriesAccount
from tests.ingestion import exports
from tests.ingestion.conftest import Place

LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


def of(place: Place, word: str) -> list[SeriesAccount]:
    """The series with files of this reason; the empty word is for those that were ingested."""
    return [one for one in read_inventory(place.url).series if word in one.files]


def same_study(one: list, other: list) -> None:
    for dataset in other:
        dataset.StudyInstanceUID = one[0].StudyInstanceUID


@pytest.fixture(scope="module")
def mixed(new_place: Callable[[], Place], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One visit: a scan, a localizer, a dose report, a series that lacks a slice. A text; two patients in a series."""
    place, export = new_place(), tmp_path_factory.mktemp("export")
    scan, view, short = exports.series(seed=1), exports.series(seed=2, **LOCALIZER), exports.series(seed=3)
    report = exports.of_class("1.2.840.10008.5.1.4.1.1.88.67", exports.series(seed=4)[0])
    report.Modality = "SR"
    for other in (view, short, [report]):
        same_study(scan, other)
    both = exports.series("PAT-2", seed=5)
    both[0].PatientID = "PAT-3"
    exports.write(export / "scan", scan)
    exports.write(export / "view", view)
    exports.write(export / "short", [*short[:2], *short[3:]])
    exports.write(export / "report", [report])
    exports.write(export / "both", both)
    (export / "note.txt").write_text("a text")
    shutil.copytree(export / "scan", export / "scan again")
    place.ingest(export)
    return place


def test_the_account_is_the_sum_of_what_is_listed(mixed: Place) -> None:
    found = read_inventory(mixed.url)
    assert found.account == mixed.account()
    assert found.account.balanced()
    listed = sum(sum(one.files.values()) for one in found.series) + sum(found.loose.values())
    assert listed == found.account.files_seen
    assert found.departed == 0


def test_a_scan_has_subject_visit_files_and_a_picture(mixed: Place) -> None:
    (one,) = of(mixed, "")
    (row,) = mixed.scans().itertuples()
    assert (one.subjects, one.session, one.date) == ((row.subject,), row.session, row.date)
    assert (one.modality, one.contrast, one.slices) == ("MR", "T1w", 6)
    assert one.files == {"": 6, "duplicate": 6}
    (scan,) = one.scans
    assert scan.id == row.id
    assert np.asarray(Image.open(io.BytesIO(scan.thumbnail))).std() > 10


@pytest.mark.parametrize(
    ("word", "slices", "modality"), [("missing_slice", 5, "MR"), ("localizer", 0, "MR"), ("non_image", 0, "SR")]
)
def test_what_became_no_scan_has_subject_and_visit_too(mixed: Place, word: str, slices: int, modality: str) -> None:
    (one,), (row,) = of(mixed, word), mixed.scans().itertuples()
    assert (one.subjects, one.session, one.date) == ((row.subject,), row.session, row.date)
    assert (one.modality, one.slices, one.scans) == (modality, slices, ())


def test_files_that_were_judged_alone_are_listed_as_one_series(mixed: Place) -> None:
    (one,) = of(mixed, "localizer")
    assert one.files == {"localizer": 6}


def test_two_patients_in_a_series_are_both_named(mixed: Place) -> None:
    (one,) = of(mixed, "patient_conflict")
    assert len(one.subjects) == 2
    assert (one.session, one.date) == (None, None)


def test_what_nobody_owns_is_counted_by_reason(mixed: Place) -> None:
    assert read_inventory(mixed.url).loose == {"not_an_image": 1}


def test_nothing_of_the_input_can_be_read_from_the_catalogue(mixed: Place) -> None:
    content = (mixed.data / "catalogue.sqlite").read_bytes()
    for name in (b"PAT-", b"Doe", b"Jane", b"20210304", b"2021-03-04", b"note.txt", b"export", b"MPRAGE"):
        assert name not in content


def test_a_word_that_is_no_modality_is_not_kept(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, exports.series(**LOCALIZER, Modality="MUELLER"))
    place.ingest(tmp_path)
    assert {one.modality for one in read_inventory(place.url).series} == {"unknown"}


def test_what_was_repaired_or_removed_is_no_longer_listed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"\x5c\x01\0\0 cut")
    (tmp_path / "b.txt").write_text("a text")
    exports.nifti(2).to_filename(tmp_path / "c.nii")
    place.ingest(tmp_path)
    assert read_inventory(place.url).departed == 0
    exports.nifti(1).to_filename(tmp_path / "a.nii")
    (tmp_path / "b.txt").unlink()
    place.ingest(tmp_path)
    found = read_inventory(place.url)
    assert found.departed == 2
    assert found.loose == {}
    assert [one.files for one in found.series] == [{"": 1}, {"": 1}]


def test_a_scan_stays_although_its_files_were_cleared_away(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    place.ingest(tmp_path)
    shutil.rmtree(tmp_path / "a")
    exports.write(tmp_path / "b", exports.series("PAT-2"))
    place.ingest(tmp_path)
    assert [one.files for one in read_inventory(place.url).series] == [{"": 6}, {"": 6}]


def test_another_input_forgets_nothing(place: Place, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note").write_text(name)
        place.ingest(tmp_path / name)
    assert read_inventory(place.url).loose == {"not_an_image": 2}


def test_slices_that_come_alone_leave_what_is_known_of_their_series(place: Place, tmp_path: Path) -> None:
    exports.write_in_halves(tmp_path)
    place.ingest(tmp_path / "one")
    place.ingest(tmp_path / "two")
    (one,) = read_inventory(place.url).series
    assert (one.files, one.slices, len(one.scans)) == ({"": 4, "missing_slice": 4}, 4, 1)


@pytest.mark.parametrize("layout", ["1", "2", None])
def test_a_catalogue_of_another_layout_is_refused_in_one_line(place: Place, tmp_path: Path, layout: str | None) -> None:
    exports.nifti().to_filename(tmp_path / "a.nii")
    place.ingest(tmp_path)
    with create_engine(place.url).begin() as connection:
        connection.execute(text("DELETE FROM meta WHERE key = 'layout'"))
        if layout:
            connection.execute(text("INSERT INTO meta VALUES ('layout', :layout)"), {"layout": layout})
    for ask in (lambda: place.ingest(tmp_path), place.account, lambda: read_inventory(place.url)):
        with pytest.raises(CatalogueError, match=f"layout {layout or 1} .* another --data") as error:
            ask()
        assert "\n" not in str(error.value)


def test_a_catalogue_whose_making_was_interrupted_is_new(place: Place, tmp_path: Path) -> None:
    place.data.mkdir(parents=True)
    catalogue.get_catalogue_tables()["meta"].metadata.create_all(create_engine(place.url))
    exports.nifti().to_filename(tmp_path / "a.nii")
    assert place.ingest(tmp_path).account.ingested == 1
