"""Two inputs in one study: equal places and labels are different people, unless a Name or the images say otherwise."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from siamese_med.ingestion.inputs.bids_metadata import read_dataset_name
from siamese_med.ingestion.inputs.input_namespaces import INPUT_KEY_PREFIX
from tests.ingestion.bids_trees import data_set, scan, subjects
from tests.ingestion.conftest import Place

DAYS = ("2020-01-05", "2021-02-07")
PLACES = ("one.nii.gz", "case/T1.nii.gz")
FOLDERS = tuple(f"{who}/{day}/T1.nii.gz" for who in ("P7", "P8") for day in DAYS)


def write(root: Path, places: Sequence[str]) -> Path:
    for place in places:
        scan(root / place)
    return root


def labelled(root: Path) -> Path:
    subjects(root, "01", "02")
    return root


MADE: dict[str, Callable[[Path], Path]] = {
    "places": lambda root: write(root, PLACES),
    "dated folders": lambda root: write(root, FOLDERS),
    "labels without a description": labelled,
    "labels without a name": lambda root: data_set(root, None, "01", "02"),
    "labels with a name to fill in": lambda root: data_set(root, "TODO: name of the dataset", "01", "02"),
}


def count_people(place: Place) -> int:
    return int(place.scans()["subject"].nunique())


@pytest.mark.parametrize("second", MADE)
@pytest.mark.parametrize("first", MADE)
def test_equal_names_of_two_inputs_are_four_people(place: Place, tmp_path: Path, first: str, second: str) -> None:
    for folder, kind in (("a", first), ("b", second)):
        for _ in range(2):
            place.ingest(MADE[kind](tmp_path / folder) if not (tmp_path / folder).exists() else tmp_path / folder)
    assert count_people(place) == 4
    alike = first.split()[0] == second.split()[0] != "places"
    assert all(("similar_id" in flags) == alike for flags in place.scans()["flags"])


def test_one_file_after_another_from_two_folders_are_two_people(place: Place, tmp_path: Path) -> None:
    for folder in "ab":
        place.ingest(scan(tmp_path / folder / "T1.nii.gz"))
    assert count_people(place) == 2


def test_a_name_means_the_same_in_every_input_and_differs_from_none(place: Place, tmp_path: Path) -> None:
    for folder, name, session in (("a", None, "1"), ("b", "Ageing", "1"), ("c", "Ageing", "2")):
        place.ingest(data_set(tmp_path / folder, name, "01", sessions=(session,)))
    assert count_people(place) == 2
    assert place.scans().groupby("subject").size().tolist() in ([1, 2], [2, 1])


@pytest.mark.parametrize("kind", MADE)
def test_a_moved_input_that_grew_keeps_its_people(place: Place, tmp_path: Path, kind: str) -> None:
    place.ingest(MADE[kind](tmp_path / "before"))
    place.ingest(MADE[kind](tmp_path / "old"))
    known = set(place.scans()["subject"])
    (tmp_path / "old").rename(tmp_path / "new")
    more = {"places": "more.nii.gz", "dated folders": "P7/2022-01-01/T1.nii.gz"}
    scan(tmp_path / "new" / more.get(kind, "sub-01/ses-3/anat/sub-01_ses-3_T1w.nii.gz"))
    place.ingest(tmp_path / "new")
    assert len(set(place.scans()["subject"]) - known) == (kind == "places")
    assert not any("copied_scan" in flags for flags in place.scans()["flags"])


def test_one_template_that_two_inputs_share_does_not_make_them_one(place: Place, tmp_path: Path) -> None:
    for folder in "ab":
        write(tmp_path / folder, ("case1/T1.nii.gz", "case2/T1.nii.gz"))
    scan(tmp_path / "a" / "template.nii.gz")
    shutil.copy(tmp_path / "a" / "template.nii.gz", tmp_path / "b")
    for folder in "ab":
        place.ingest(tmp_path / folder)
    assert count_people(place) == 5


def test_a_catalogue_of_before_knows_its_input(place: Place, tmp_path: Path) -> None:
    first = set(place.ingest(labelled(tmp_path / "a")).scans["subject"])
    with closing(sqlite3.connect(place.data / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute("DELETE FROM meta WHERE key LIKE ?", (f"{INPUT_KEY_PREFIX}%",))
    subjects(tmp_path / "a", "01", sessions=("3",))
    assert set(place.ingest(tmp_path / "a").scans["subject"]) == first
    place.ingest(labelled(tmp_path / "b"))
    assert count_people(place) == 4


@pytest.mark.parametrize(
    ("name", "read"),
    [("The Ageing study", "The Ageing study"), ("A", "A"), ("Study 2", "Study 2")]
    + [(name, "") for name in ("TODO: name of the dataset", "Unnamed", "my dataset", "[REQUIRED]", "Test", "", "n/a")],
)
def test_a_name_that_a_program_left_to_be_filled_in_is_none(tmp_path: Path, name: str, read: str) -> None:
    assert read_dataset_name(data_set(tmp_path, name)) == read
