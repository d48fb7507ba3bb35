"""Several BIDS data sets below one input: equal labels are different people, in every run the same ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest

from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.inputs.bids_datasets import BidsDatasets
from siamese_med.ingestion.privacy.reidentification import reveal_label
from siamese_med.study.tables import IngestResult
from tests.ingestion.bids_trees import data_set, scan, subjects
from tests.ingestion.conftest import Place

PLAIN = "bids"


def people(ingested: IngestResult) -> set[str]:
    return set(ingested.scans["subject"])


def plain(place: Place, *labels: str) -> set[str]:
    """The pseudonyms that the labels of an only data set have always had."""
    from siamese_med.ingestion.privacy.pseudonyms import load_pseudonyms

    return {load_pseudonyms(place.secret).subject(PLAIN, label) for label in labels}


@pytest.mark.parametrize("names", [("ds000001", "ds000117"), ("same", "same"), (None, None)])
def test_equal_labels_of_two_data_sets_are_four_people(
    place: Place, tmp_path: Path, names: tuple[str | None, str | None]
) -> None:
    for folder, name in zip(("one", "two"), names, strict=True):
        data_set(tmp_path / "in" / folder, name, "01", "02")
    found = people(place.ingest(tmp_path / "in"))
    assert len(found) == 4
    assert people(place.ingest(tmp_path / "in")) == found
    (tmp_path / "in").rename(tmp_path / "moved")
    assert people(place.ingest(tmp_path / "moved")) == found
    assert place.scans()["subject"].nunique() == 4


def test_an_only_data_set_keeps_its_pseudonyms_wherever_it_lies(new_place: Callable[[], Place], tmp_path: Path) -> None:
    for folder, name in (("a", "A"), ("b/deeper/c", None)):
        place, root = new_place(), tmp_path / folder
        data_set(root, name, "01", "02")
        expected = plain(place, "01", "02")
        assert people(place.ingest(root)) == expected
        assert people(place.ingest(tmp_path / folder.split("/")[0])) == expected
        assert place.scans()["subject"].nunique() == 2


@pytest.mark.parametrize("name", ["A", None])
def test_a_data_set_that_joins_changes_nothing_for_the_first(place: Place, tmp_path: Path, name: str | None) -> None:
    data_set(tmp_path / "b", name, "01", "02")
    first = people(place.ingest(tmp_path))
    assert first == plain(place, "01", "02")
    data_set(tmp_path / "a", name and "B", "01", "03")
    both = people(place.ingest(tmp_path))
    assert (len(both), both >= first) == (4, True)
    assert people(place.ingest(tmp_path / "b")) == first
    assert people(place.ingest(tmp_path / "a")) == both - first


def test_data_sets_of_other_names_stay_apart_when_they_come_one_by_one(place: Place, tmp_path: Path) -> None:
    one = people(place.ingest(data_set(tmp_path / "a", "A", "01")))
    two = people(place.ingest(data_set(tmp_path / "b", "B", "01")))
    assert (one, one & two) == (plain(place, "01"), set())
    later = people(
        place.ingest(data_set(tmp_path / "c", "A", "01", sessions=("3",)))
    )  # the same study, delivered again
    assert later == one


def test_a_catalogue_that_merged_two_people_is_put_right(place: Place, tmp_path: Path) -> None:
    description = data_set(tmp_path, None) / "dataset_description.json"
    subjects(tmp_path / "a", "01")
    subjects(tmp_path / "b", "01", "02")
    merged = people(place.ingest(tmp_path))
    assert len(merged) == 2
    for folder in "ab":
        shutil.copy(description, tmp_path / folder)
    description.unlink()
    found = people(place.ingest(tmp_path))
    assert (len(found), place.scans()["subject"].nunique(), found & merged) == (3, 3, plain(place, "01"))


def test_labels_in_places_without_a_description_are_not_guessed(place: Place, tmp_path: Path) -> None:
    subjects(tmp_path / "a", "01")
    subjects(tmp_path / "b", "01", "02")
    ingested = place.ingest(tmp_path)
    assert (ingested.account.ingested, ingested.account.reasons) == (2, {"unclear_dataset": 4})
    assert people(ingested) == plain(place, "02")
    (tmp_path / "dataset_description.json").write_text("{}", encoding="utf-8")
    assert people(place.ingest(tmp_path)) == plain(place, "01", "02")


def test_one_with_a_description_and_one_without_are_two(place: Place, tmp_path: Path) -> None:
    data_set(tmp_path / "a", "A", "01")
    subjects(tmp_path / "b", "01")
    assert len(people(place.ingest(tmp_path))) == 2


def test_derivatives_and_source_data_are_of_the_same_people(new_place: Callable[[], Place], tmp_path: Path) -> None:
    data_set(tmp_path / "usual", "A", "01")
    data_set(tmp_path / "usual/derivatives/tool", "T", "01", sessions=("3",))
    data_set(tmp_path / "usual/sourcedata/raw", "R", "01", sessions=("4",))
    data_set(tmp_path / "project/rawdata", "B", "01")
    data_set(tmp_path / "project/derivatives/tool", "T", "01", sessions=("3",))
    scan(tmp_path / "project/sourcedata/sub-01/sub-01_ses-4_T1w.nii.gz")
    subjects(tmp_path / "bare", "01")
    subjects(tmp_path / "bare/derivatives/tool", "01", sessions=("3",))
    for folder, scans, derivatives in (("usual", 3, 1), ("project", 3, 1), ("bare", 2, 1)):
        place = new_place()
        ingested = place.ingest(tmp_path / folder)
        assert people(ingested) == plain(place, "01"), folder
        assert (len(ingested.scans), ingested.account.reasons["derivative"]) == (scans, derivatives), folder


def test_which_folder_is_whose_data_set() -> None:
    names = {"": "A", "nested": "N", "derivatives/t": "T", "sourcedata/p": "P", "sourcedata/q": "Q"}
    sets = BidsDatasets({PurePath(folder): name for folder, name in names.items()})
    expected = {
        "sub-01/ses-1": "A", "nested/sub-01": "N", "derivatives/t/sub-01": "A", "sourcedata/p/sub-01": "P",
        "sourcedata/q/sub-01": "Q", "sourcedata/sub-01": "A", "nested/derivatives/x/sub-01": "N",
    }  # fmt: skip
    assert {folder: sets.of(PurePath(folder)).name for folder in expected} == expected


@pytest.mark.parametrize("later", [False, True])
def test_a_copy_of_a_data_set_is_the_same_people(place: Place, tmp_path: Path, later: bool) -> None:
    data_set(tmp_path / "a", "A", "01", "02")
    if later:
        place.ingest(tmp_path)
    shutil.copytree(tmp_path / "a", tmp_path / "0_backup")
    expected = people(place.ingest(tmp_path))
    ingested = place.ingest(tmp_path)
    assert people(ingested) == expected
    assert (len(expected), ingested.account.ingested, ingested.account.reasons["duplicate"]) == (2, 4, 5)


def test_an_image_of_two_people_is_taken_for_neither(place: Place, tmp_path: Path) -> None:
    data_set(tmp_path / "a", "A", "01", sessions=("1",))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    data_set(tmp_path / "b", "B")
    for _ in range(2):
        ingested = place.ingest(tmp_path)
        assert (ingested.account.ingested, ingested.account.reasons["patient_conflict"]) == (0, 1)


def test_files_without_a_label_at_equal_places_stay_apart(place: Place, tmp_path: Path) -> None:
    for name in "AB":
        data_set(tmp_path / name, name, "01")
        scan(tmp_path / name / "extra/scan.nii.gz")
    assert len(people(place.ingest(tmp_path))) == 4


def test_what_ingest_wrote_is_one_data_set_too(new_place: Callable[[], Place], tmp_path: Path) -> None:
    place, other = new_place(), new_place()
    place.ingest(data_set(tmp_path, "A", "0_1", "02"))
    again = other.ingest(place.data / "scans")
    assert (len(people(again)), again.account.ingested, again.account.quarantined) == (2, 4, 0)


def test_names_of_data_sets_lie_sealed_in_the_catalogue_and_are_revealed(place: Place, tmp_path: Path) -> None:
    for name in ("Kranker Name", "Anderer Name"):
        data_set(tmp_path / name[:3], name, "01", sessions=("1",))
    subject = sorted(people(place.ingest(tmp_path)))[0]
    assert not any(b"er Name" in path.read_bytes() for path in place.data.rglob("*") if path.is_file())
    (line,) = reveal_label(subject, place.url, place.secret)["subjects"]
    assert (line["patient_id"], line["named_by"]) == ("01", "bids")
    assert line["issuer"] in ("Kranker Name", "Anderer Name")
    assert catalogue.read_account(place.url).balanced()
