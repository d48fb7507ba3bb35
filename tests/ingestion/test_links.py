"""Links, and paths that cannot be opened: each is followed once or counted with its reason, and none ends a batch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from siamese_med.errors import MissingFileError
from siamese_med.ingestion.inputs import folder_walk
from siamese_med.ingestion.reasons import REASON_HINTS, UNOPENED_REASONS
from tests.ingestion.bids_trees import scan, subjects
from tests.ingestion.conftest import Place

DEEPEST = 1500


def test_a_linked_patient_folder_is_taken_and_a_loop_is_counted(place: Place, tmp_path: Path) -> None:
    subjects(tmp_path / "study", "01")
    subjects(tmp_path / "otherdisk", "02")
    (tmp_path / "study/sub-02").symlink_to(tmp_path / "otherdisk/sub-02")
    (tmp_path / "study/loop").symlink_to("..")
    for _ in range(2):
        ingested = place.ingest(tmp_path / "study")
        assert (ingested.account.files_seen, ingested.account.ingested) == (5, 4)
        assert ingested.account.reasons == {"linked_folder": 1}
        assert ingested.scans["subject"].nunique() == 2


def test_what_links_lead_to_is_counted_once_with_what_to_do(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    scan(folder / "sub-01/sub-01_T1w.nii.gz")
    targets = {
        "self": "self", "there": "back", "back": "there", "sub-02_T1w.nii.gz": "/nowhere/scan.nii.gz",
        "sub-03_T1w.nii.gz": "../.git/annex/objects/aa/bb/MD5E-s9--1.nii.gz/MD5E-s9--1.nii.gz",
        "zero": "/dev/zero", "root": "/", "processes": "/proc", "passwords": "/etc/passwd", "pipe": "fifo",
        "again": "sub-01", "sub-01/up": "..", "copy.nii.gz": "sub-01/sub-01_T1w.nii.gz",
    }  # fmt: skip
    for name, target in targets.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo")
    (folder / "sub-04_T1w.nii.gz").write_bytes(b"/annex/objects/MD5E-s9--1.nii.gz\n")
    (folder / "sub-05_T1w.nii.gz").write_bytes(b"version https://git-lfs/spec/v1\noid sha256:12\nsize 9\n")
    expected = {
        "broken_link": 4, "not_fetched": 3, "special_file": 3, "linked_folder": 4, "not_an_image": 1, "duplicate": 1,
    }  # fmt: skip
    for _ in range(2):
        ingested = place.ingest(folder)
        assert ingested.account.reasons == expected
        assert (ingested.account.ingested, ingested.account.files_seen) == (1, 1 + sum(expected.values()))
    assert REASON_HINTS.keys() >= UNOPENED_REASONS


def test_folders_that_link_to_each_other_are_walked_once(tmp_path: Path) -> None:
    one, two = scan(tmp_path / "one/a.nii"), scan(tmp_path / "two/b.nii")
    (tmp_path / "one/two").symlink_to(tmp_path / "two")
    (tmp_path / "two/one").symlink_to(tmp_path / "one")
    (tmp_path / "input").mkdir()
    for folder in (one.parent, two.parent):
        (tmp_path / "input" / folder.name).symlink_to(folder)
    found = {Path(path.path).relative_to(tmp_path): path.reason for path in folder_walk.walk_folder(tmp_path / "input")}
    assert {str(path): reason for path, reason in found.items()} == {
        "input/one/a.nii": "", "input/two/b.nii": "",
        "input/one/two": "linked_folder", "input/two/one": "linked_folder",
    }  # fmt: skip


def test_a_link_to_more_than_was_walked_brings_the_rest(tmp_path: Path) -> None:
    scan(tmp_path / "disk/sub-01/a.nii")
    scan(tmp_path / "disk/sub-02/b.nii")
    (tmp_path / "input").mkdir()
    (tmp_path / "input/a").symlink_to(tmp_path / "disk/sub-01")
    (tmp_path / "input/b").symlink_to(tmp_path / "disk")
    names = {
        Path(one.path).relative_to(tmp_path / "input").as_posix(): one.reason
        for one in folder_walk.walk_folder(tmp_path / "input")
    }
    assert names == {"a/a.nii": "", "b/sub-01": "linked_folder", "b/sub-02/b.nii": ""}


def test_content_that_is_fetched_later_is_ingested_then(place: Place, tmp_path: Path) -> None:
    link = tmp_path / "study/sub-01_T1w.nii.gz"
    link.parent.mkdir()
    link.symlink_to("../annex/objects/key.nii.gz")
    assert place.ingest(link.parent).account.reasons == {"not_fetched": 1}
    scan(tmp_path / "annex/objects/key.nii.gz")
    assert place.ingest(link.parent).account.ingested == 1
    account = place.account()
    assert (account.files_seen, account.ingested) == (1, 1)  # what stood for it is gone
    (tmp_path / "annex/objects/key.nii.gz").unlink()
    assert place.ingest(link.parent).account.reasons == {"not_fetched": 1}
    assert len(place.scans()) == 1  # content that was given back to the annex was not overwritten


def test_what_git_annex_keeps_for_itself_makes_no_scan_of_its_own(place: Place, tmp_path: Path) -> None:
    scan(tmp_path / ".git/annex/objects/key.nii.gz")
    scan(tmp_path / ".git/annex/objects/old.nii.gz")
    (tmp_path / "sub-01_T1w.nii.gz").symlink_to(".git/annex/objects/key.nii.gz")
    ingested = place.ingest(tmp_path)
    assert (ingested.account.ingested, ingested.account.reasons) == (1, {"repository_file": 2})


@pytest.fixture(params=["d", "ddd"])
def deep(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with folders nested as deep as names of one or three letters allow; too deep for pytest to remove."""
    folder = tmp_path / request.param
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEEPEST):
        os.mkdir(request.param, dir_fd=here)
        below = os.open(request.param, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("deep.nii", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_folders_nested_without_end_end_nothing(place: Place, tmp_path: Path, deep: Path) -> None:
    scan(tmp_path / "sub-01_T1w.nii.gz")
    ingested = place.ingest(tmp_path)
    assert ingested.account.files_seen == 2
    assert ingested.account.reasons == ({"empty_file": 1} if len(deep.name) == 1 else {"unusable_path": 1})


def test_rows_of_a_manifest_that_cannot_be_opened_are_counted(place: Place, tmp_path: Path) -> None:
    scan(tmp_path / "good.nii.gz")
    scan(tmp_path / "folder/other.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.nii.gz").symlink_to("nowhere.nii.gz")
    os.mkfifo(tmp_path / "pipe")
    paths = ("good.nii.gz", "folder", "x" * 5000, "y/" * 3000, "nu\0l.nii", "self", "gone.nii.gz", "pipe", "empty")
    rows = [f"p{number},1,{path}," for number, path in enumerate(paths)] + ["p0,1,good.nii.gz," + "m" * 5000]
    (tmp_path / "scans.csv").write_text("\n".join(["subject,session,path,mask", *rows[1:]]) + "\n", encoding="utf-8")
    ingested = place.ingest(tmp_path / "scans.csv")
    words = {"unusable_path": 3, "broken_link": 2, "special_file": 1, "empty_folder": 1}
    assert (ingested.account.reasons, ingested.account.ingested) == (words, 2)
    assert sorted(map(tuple, ingested.scans["flags"])) == [("date_unknown",), ("date_unknown", "mask_unused")]


@pytest.mark.parametrize("name", ["q" * 5000, "q/" * 3000, "self", "pipe"])
def test_an_input_that_cannot_be_opened_is_said_in_one_line(place: Place, tmp_path: Path, name: str) -> None:
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingFileError):
        place.ingest(tmp_path / name)


def test_a_file_without_a_name_before_its_suffix_ends_nothing(place: Place, tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz").rename(tmp_path / ".nii.gz")
    assert place.ingest(tmp_path).account.ingested == 1
