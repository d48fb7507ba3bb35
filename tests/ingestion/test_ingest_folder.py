"""Runs over a tree that stays, grows, moves or shrinks: nothing is done twice, nothing is lost, the account holds."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from siamese_med.ingestion import ingest_folder, workers
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.study.config import IngestConfig
from siamese_med.study.tables import SCAN_COLUMNS
from tests.ingestion import exports
from tests.ingestion.conftest import Place


def test_a_second_run_looks_at_nothing_and_says_the_same(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports.write(tmp_path / "a", exports.series())
    (tmp_path / "a" / "note").write_text("a text")
    first = place.ingest(tmp_path)
    before = _state(place.data)
    monkeypatch.setattr(workers.Workers, "_call", _no_worker)
    second = place.ingest(tmp_path)
    assert second.account == first.account == place.account()
    assert second.scans.equals(first.scans)
    assert _state(place.data) == before


def _no_worker(*_: object) -> object:
    raise AssertionError("a worker was asked although nothing is new")


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.nii.gz")}


def test_slices_that_arrive_later_make_the_series_whole(place: Place, tmp_path: Path) -> None:
    slices = exports.series()
    paths = exports.write(tmp_path / "all", slices)
    export = tmp_path / "export"
    export.mkdir()
    for path in [*paths[:2], *paths[3:]]:
        shutil.copy2(path, export)
    assert place.ingest(export).account.reasons == {"missing_slice": 5}
    shutil.copy2(paths[2], export)
    ingested = place.ingest(export)
    assert (ingested.account.ingested, len(ingested.scans)) == (6, 1)
    assert place.account() == ingested.account


def test_a_series_that_grows_at_its_end_keeps_its_name(place: Place, tmp_path: Path) -> None:
    paths = exports.write(tmp_path / "all", exports.series())
    export = tmp_path / "export"
    export.mkdir()
    for path in paths[:4]:
        shutil.copy2(path, export)
    first = place.ingest(export).scans.iloc[0]
    for path in paths[4:]:
        shutil.copy2(path, export)
    second = place.ingest(export).scans
    assert second["id"].tolist() == [first["id"]]
    assert second["shape"][0][0] == first["shape"][0] + 2
    assert second["sha256"][0] != first["sha256"]


def test_new_slices_alone_do_not_replace_a_scan(place: Place, tmp_path: Path) -> None:
    exports.write_in_halves(tmp_path)
    place.ingest(tmp_path / "one")
    before = place.scans()
    assert place.ingest(tmp_path / "two").account.reasons == {"missing_slice": 4}
    assert place.scans().equals(before)
    assert place.ingest(tmp_path / "all").scans["shape"][0][0] == 8


def test_a_copied_tree_becomes_what_it_was(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    first = place.ingest(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = place.ingest(tmp_path / "b")
    assert again.account == first.account
    assert again.scans.equals(first.scans)
    assert place.account().duplicate == 6


def test_a_scan_that_was_deleted_is_made_again(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    path = place.data / place.ingest(tmp_path).scans["path"][0]
    content = path.read_bytes()
    path.unlink()
    place.ingest(tmp_path)
    assert path.read_bytes() == content


def test_a_file_with_new_content_takes_the_place_of_the_old(place: Place, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    exports.nifti(1).to_filename(export / "a.nii")
    exports.nifti(2).to_filename(export / "b.nii")
    before = place.ingest(export).scans
    exports.nifti(3).to_filename(export / "a.nii")
    after = place.ingest(export).scans
    assert len(set(before["sha256"]) & set(after["sha256"])) == 1
    assert place.scans().equals(after)
    assert len(list(place.data.rglob("*.nii.gz"))) == 2


def test_other_rules_give_a_quarantined_file_another_chance(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series(slices=2))
    assert place.ingest(tmp_path).account.reasons == {"too_few_slices": 2}
    assert place.ingest(tmp_path, min_slices=2).account.ingested == 2


def test_sessions_are_numbered_by_date_and_keep_their_number(place: Place, tmp_path: Path) -> None:
    for year in (2020, 2018):
        exports.write(tmp_path / str(year), exports.series(seed=year, StudyDate=f"{year}0101"))
    first = place.ingest(tmp_path).scans
    exports.write(tmp_path / "2016", exports.series(seed=2016, StudyDate="20160101"))
    scans = place.ingest(tmp_path).scans
    assert scans.iloc[:2].drop(columns="flags").equals(first.drop(columns="flags"))  # of three visits, a word is said
    by_date = scans.sort_values("date")["session"].tolist()
    assert by_date == ["ses-03", "ses-01", "ses-02"]


def test_ids_and_columns_are_as_promised(place: Place, tmp_path: Path) -> None:
    first, second = exports.series(seed=1), exports.series(seed=2)
    for dataset in second:
        dataset.StudyInstanceUID = first[0].StudyInstanceUID
    exports.write(tmp_path / "a", first)
    exports.write(tmp_path / "b", second)
    scans = place.ingest(tmp_path).scans
    assert tuple(scans.columns) == SCAN_COLUMNS
    pattern = r"sub-[a-z2-7]{26}_ses-01(_run-2)?_T1w"
    assert all(re.fullmatch(pattern, one) for one in scans["id"])
    assert scans["id"].is_unique
    for scan in scans.itertuples():
        assert scan.path == f"scans/{scan.subject}/{scan.session}/{scan.id}.nii.gz"
        assert (place.data / scan.path).is_file()


def test_what_a_killed_run_left_is_cleared_away(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    leftover = place.data / "scans" / "sub-x" / ".tmp-abc.nii.gz"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    place.ingest(tmp_path)
    assert not leftover.exists()


def test_a_second_run_waits_for_the_first(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    place.data.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from siamese_med.study.config import IngestConfig;"
        "from siamese_med.ingestion import ingest_folder; a = sys.argv;"
        "ingest_folder.ingest_files(Path(a[1]), Path(a[2]), a[3], IngestConfig(secret_file=a[4], workers=1))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(place.data), place.url, str(place.secret)]
    with (place.data / ".ingest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert run.stderr is not None
        assert "waiting" in run.stderr.readline()
        assert not (place.data / "catalogue.sqlite").exists()
    assert run.wait(600) == 0
    assert place.account().ingested == 6


def test_looking_at_the_catalogue_shows_contents_and_no_paths(place: Place, tmp_path: Path) -> None:
    paths = exports.write(tmp_path / "a", exports.series())
    place.ingest(tmp_path)
    table = catalogue.read_file_table(place.url)
    assert set(table["sha256"]) == {exports.digest(path) for path in paths}
    assert set(table["outcome"]) == {"ingested"}
    assert set(table["scan"]) == set(place.scans()["id"])


def test_the_catalogue_may_be_any_database_url(new_place: Callable[[], Place], tmp_path: Path) -> None:
    from siamese_med.ingestion import ingest_folder
    from siamese_med.study.config import IngestConfig

    place = new_place()
    exports.write(tmp_path / "a", exports.series())
    url = f"sqlite+pysqlite:///{tmp_path / 'elsewhere' / 'c.db'}"
    ingest_folder.ingest_files(tmp_path / "a", place.data, url, IngestConfig(secret_file=place.secret))
    assert len(catalogue.read_scan_table(url)) == 1


def test_verify_finds_a_change_that_size_and_time_hide(place: Place, tmp_path: Path) -> None:
    path = exports.write(tmp_path / "in", exports.series())[2]
    place.ingest(tmp_path / "in")
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = place.scans()["sha256"][0]
    place.ingest(tmp_path / "in")
    assert place.scans()["sha256"][0] == before
    ingest_folder.ingest_files(
        tmp_path / "in", place.data, place.url, IngestConfig(secret_file=place.secret), verify=True
    )
    assert place.scans()["sha256"][0] != before
