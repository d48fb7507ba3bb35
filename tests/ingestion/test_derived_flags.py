"""Flags that follow from other rows: alarms, contradicting headers, similar identifiers, parts of one volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue, derived_flags, inventory
from siamese_med.study.config import IngestConfig
from tests.commands import siamese_med
from tests.ingestion import conftest, exports

pytestmark = pytest.mark.usefixtures("shared_workers")

WORD = "wrong_patient"


class Place:
    """An input of two patients with one scan each, and where it is ingested to."""

    def __init__(self, folder: Path) -> None:
        self.input, self.data = folder / "input", folder / "data"
        self.input.mkdir()
        self.config = IngestConfig(workers=1)
        for number, name in enumerate(("sub-a", "sub-b")):
            self.write(name, number)
        self.ingest()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.data / 'catalogue.sqlite'}"

    def write(self, name: str, seed: int) -> None:
        voxels = np.random.default_rng(seed).uniform(0, 1000, (9, 9, 9)).astype(np.float32)
        volume.write_volume(self.input / name / "anat" / f"{name}_T1w.nii.gz", Volume(voxels, np.eye(4)))

    def ingest(self) -> list[list[str]]:
        """The flags of this input's scans, as ingest reports them."""
        return [
            list(row["flags"])
            for row in ingest_folder.ingest_files(self.input, self.data, self.url, self.config).scan_rows
        ]

    def alarm(self, *places: int) -> None:
        scans = catalogue.read_scan_table(self.url)
        catalogue.replace_wrong_patient_alarms(self.url, {scans.id[place]: scans.sha256[place] for place in places})

    def flags(self) -> list[bool]:
        return [WORD in flags for flags in catalogue.read_scan_table(self.url)["flags"]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_flag_stands_while_the_alarm_does(place: Place) -> None:
    assert place.flags() == [False, False]
    place.alarm(1)
    assert place.flags() == [False, True]
    place.alarm(0)
    assert place.flags() == [True, False]
    place.alarm()
    assert place.flags() == [False, False]


def test_ingesting_again_neither_loses_nor_doubles_it(place: Place) -> None:
    place.alarm(1)
    for _ in range(2):
        assert sum(flags.count(WORD) for flags in place.ingest()) == 1
        assert [flags.count(WORD) for flags in catalogue.read_scan_table(place.url)["flags"]] == [0, 1]


def test_the_same_alarms_again_leave_the_catalogue_untouched(place: Place) -> None:
    place.alarm(1)
    before = (place.data / "catalogue.sqlite").stat().st_mtime_ns
    place.alarm(1)
    assert (place.data / "catalogue.sqlite").stat().st_mtime_ns == before


def test_the_alarm_ends_with_the_content_it_was_of(place: Place) -> None:
    place.alarm(0, 1)
    place.write("sub-a", 7)
    place.ingest()
    assert sum(place.flags()) == 1


def test_the_page_on_what_came_in_shows_and_explains_it(place: Place) -> None:
    place.alarm(1)
    found = inventory.read_inventory(place.url)
    shown = [scan.flags for series in found.series for scan in series.scans]
    assert sorted(WORD in flags for flags in shown) == [False, True]
    assert "check the records" in found.flags[WORD]


def test_what_leaves_the_study_as_bids_does_not_carry_it(place: Place) -> None:
    """An alarm is an opinion of a model on this study; it is not a property of the scan."""
    place.alarm(0, 1)
    place.ingest()
    written = list((place.data / "scans").rglob("*.json"))
    assert written
    assert all(WORD not in path.read_text() for path in written)


def export_people(folder: Path, *people: dict[str, Any]) -> None:
    """One series for each of the headers, each with an anatomy and a date of its own."""
    for number, tags in enumerate(people):
        dated = {"StudyDate": f"2020{number + 1:02d}05", **tags}
        exports.write(folder / str(number), exports.series(seed=number, **dated))


def flags_of(place: conftest.Place, folder: Path, *people: dict[str, Any]) -> list[list[str]]:
    export_people(folder, *people)
    return [list(row["flags"]) for row in place.ingest(folder).scan_rows]


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ({"PatientSex": "M"}, {"PatientSex": "F"}, True),
        ({"PatientSex": "M"}, {"PatientSex": "O"}, False),
        ({"PatientSex": "M"}, {}, False),
        ({"PatientBirthDate": "19500203"}, {"PatientBirthDate": "19500204"}, True),
        ({"PatientBirthDate": "19500203"}, {"PatientBirthDate": "19500101"}, False),  # the year alone
        ({"PatientBirthDate": "19500203"}, {"PatientBirthDate": "19000101"}, False),  # what anonymisers write
        ({"PatientBirthDate": "19500203"}, {"PatientAge": "070Y"}, False),
        ({"PatientBirthDate": "19500203"}, {"PatientAge": "035Y"}, True),
        ({"PatientAge": "070Y"}, {"PatientAge": "069Y"}, False),
        ({"PatientSize": "1.82"}, {"PatientSize": "1.78"}, False),
        ({"PatientSize": "1.85"}, {"PatientSize": "1.52"}, True),
        ({"PatientSize": "185"}, {"PatientSize": "1.52"}, False),  # no height in metres
        ({"ClinicalTrialSubjectID": "01-017"}, {"ClinicalTrialSubjectID": "01-018"}, True),  # PatientID is the trial
        ({"ClinicalTrialSubjectID": "01-017"}, {"ClinicalTrialSubjectID": "01 017"}, False),
        ({"ClinicalTrialSubjectID": "01-017"}, {}, False),
    ],
)
def test_headers_of_one_identifier_that_cannot_be_of_one_person(
    new_place: Callable[[], conftest.Place], tmp_path: Path, one: dict[str, str], other: dict[str, str], conflict: bool
) -> None:
    found = flags_of(new_place(), tmp_path / "in", {"PatientID": "MRN-5", **one}, {"PatientID": "MRN-5", **other})
    assert found == [["identity_conflict"] if conflict else []] * 2


def test_a_conflict_ends_with_the_scan_that_made_it_and_nothing_is_stored_in_clear(
    new_place: Callable[[], conftest.Place], tmp_path: Path
) -> None:
    place = new_place()
    people = [{"PatientID": "A", "PatientSex": sex, "PatientBirthDate": "19540713"} for sex in "MMF"]
    assert flags_of(place, tmp_path / "in", *people) == [["identity_conflict"]] * 3
    stored = (place.data / "catalogue.sqlite").read_bytes()
    assert b"19540713" not in stored
    assert b"1954-07-13" not in stored
    for path in (tmp_path / "in" / "2").iterdir():
        path.write_bytes(b"")
    place.ingest(tmp_path / "in")
    assert place.scans()["flags"].tolist() == [[], []]


@pytest.mark.parametrize(
    ("one", "other", "similar"),
    [
        ({"PatientID": "00123"}, {"PatientID": "123"}, True),
        ({"PatientID": "mrn-7a"}, {"PatientID": "MRN-07A"}, True),
        ({"PatientID": "123"}, {"PatientID": "123", "IssuerOfPatientID": "Ward"}, True),
        ({"PatientID": "123", "IssuerOfPatientID": "Here"}, {"PatientID": "123", "IssuerOfPatientID": "There"}, False),
        ({"PatientID": "00123", "PatientSex": "M"}, {"PatientID": "123", "PatientSex": "F"}, False),
        ({"PatientID": "1230"}, {"PatientID": "123"}, False),
    ],
)
def test_identifiers_that_differ_by_how_they_are_written(
    new_place: Callable[[], conftest.Place], tmp_path: Path, one: dict[str, str], other: dict[str, str], similar: bool
) -> None:
    assert flags_of(new_place(), tmp_path / "in", one, other) == [["similar_id"] if similar else []] * 2


@pytest.mark.parametrize(
    "identifier", ["ANONYMOUS", "0", "XXXX", "Test", "PATIENT", "n/a", "Unknown^Unknown", "TRAUMA"]
)
def test_an_identifier_for_nobody_is_said_and_not_paired(
    new_place: Callable[[], conftest.Place], tmp_path: Path, identifier: str
) -> None:
    place, folder = new_place(), tmp_path / "in"
    assert flags_of(place, folder, *[{"PatientID": identifier}] * 3) == [["placeholder_id"]] * 3
    manifest = tmp_path / "who.csv"
    manifest.write_text("subject,session,path\n" + "".join(f"anna,{n},in/{n}\n" for n in range(3)))
    assert [row["flags"] for row in place.ingest(manifest).scan_rows] == [[]] * 3


BORN = {"PatientBirthDate": "19700305"}


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ([{}] * 3, True),
        ([{"PatientID": "1"}] * 4, True),
        ([{}] * 2, False),  # a patient and a follow-up
        ([{}, {}, {"PatientSex": "F"}], True),  # one of several
        ([{"PatientSex": "F"}] * 3, True),  # half of all people
        ([BORN] * 3, False),
        ([BORN, BORN, {}], False),
        ([BORN, {}, {}], True),
        ([{}, {}, {}, {"PatientID": "PAT-2"}], False),
    ],
)
def test_one_identifier_for_a_whole_export_is_said(
    new_place: Callable[[], conftest.Place], tmp_path: Path, people: list[dict[str, Any]], said: bool
) -> None:
    assert flags_of(new_place(), tmp_path / "in", *people) == [["unproven_id"] if said else []] * len(people)


VISIT_ENDINGS = [
    ("_M00", "_M12"),
    ("-w04", "-w12"),
    ("_12M", "_24M"),
    ("_pre", "_post"),
    ("_2019", "_2021"),
    ("-scr", "-Y1"),
]


def _people(*identifiers: str) -> list[dict[str, Any]]:
    return [{"PatientID": one} for one in identifiers]


@pytest.mark.parametrize(
    ("people", "similar"),
    [
        (_people("S01_V1", "S01_V2", "S02_V1", "S02_V2"), True),
        (_people("P001_20200105", "P001_20200305", "P002_20200205", "P002_20200405"), True),
        *((_people(*(f"S0{n}{end}" for n in (1, 2) for end in ends)), True) for ends in VISIT_ENDINGS),
        (_people("01-002-M", "01-003-M", "02-002-M", "02-003-M"), False),  # the sex
        (_people("MS7_V1", "MS7_V2", "MS7_V3"), False),  # volunteers of one study
        (_people("S01_V1", "S01_V2", "S02_V1", "S03_V1"), False),
        (_people("S01A", "S01B", "S02A", "S02B"), False),
    ],
)
def test_identifiers_that_end_with_a_visit(
    new_place: Callable[[], conftest.Place], tmp_path: Path, people: list[dict[str, Any]], similar: bool
) -> None:
    assert flags_of(new_place(), tmp_path / "in", *people) == [["similar_id"] if similar else []] * len(people)


TALL = {"PatientSex": "F", "PatientSize": "1.82"}
HERE, THERE = {"InstitutionName": "St. Anna"}, {"InstitutionName": "City Hospital"}


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ([HERE, THERE], [True, True]),
        ([HERE, {"InstitutionName": "ST ANNA"}], [False, False]),  # one place, written in two ways
        ([HERE, {}], [False, False]),
        ([HERE | {"PatientSex": "F"}, THERE | {"PatientSex": "F"}], [True, True]),
        ([HERE | BORN, THERE], [True, True]),
        ([HERE | BORN, THERE | BORN], [False, False]),
        ([HERE | TALL, THERE | TALL], [False, False]),
        ([HERE | {"IssuerOfPatientID": "REG"}, THERE | {"IssuerOfPatientID": "REG"}], [False, False]),
        ([HERE, THERE, HERE | {"PatientID": "PAT-2"}], [True, True, False]),
    ],
)
def test_one_number_of_two_institutions_is_said(
    new_place: Callable[[], conftest.Place], tmp_path: Path, people: list[dict[str, Any]], said: list[bool]
) -> None:
    place = new_place()
    flags = flags_of(place, tmp_path / "in", *people)
    assert sorted(flags) == sorted(["unproven_id"] if one else [] for one in said)
    stored = (place.data / "catalogue.sqlite").read_bytes().lower()
    assert b"anna" not in stored
    assert b"hospital" not in stored


def test_the_command_says_what_to_do_about_identifiers(tmp_path: Path) -> None:
    export_people(tmp_path / "nobody", *[{"PatientID": "ANONYMOUS"}] * 2)
    export_people(tmp_path / "one", *[{"PatientID": "1"}] * 3)
    nobody = siamese_med("ingest", "nobody", "--data", "a", "--reports", "a/r", "--no-prefect", cwd=tmp_path)
    assert nobody.returncode == 4
    assert "name the patients in a manifest (`placeholder_id`)" in nobody.stdout + nobody.stderr
    one = siamese_med("ingest", "one", "--data", "b", "--reports", "b/r", "--no-prefect", cwd=tmp_path)
    assert one.returncode == 0
    assert "name them in a manifest (`unproven_id`)" in " ".join((one.stdout + one.stderr).split())


def part(name: str, first: float, slices: int = 12, step: float = 4.0) -> dict[str, Any]:
    """A row of 40 x 48 voxels of 4 mm in a plane, its slices along z from `first` mm."""
    affine = np.diag([4.0, 4.0, step, 1.0])
    affine[2, 3] = first
    known = dict.fromkeys(("subject", "session", "modality", "contrast", "protocol", "scanner"), "one")
    return {**known, "date": None, "id": name, "shape": [40, 48, slices], "affine": affine.tolist()}


@pytest.mark.parametrize(
    ("second", "parts"),
    [
        (part("b", 48.0), True),  # directly above
        (part("b", -48.0), True),  # directly below
        (part("b", 0.0), False),  # the same place again
        (part("b", 24.0), False),  # half of it again
        (part("b", 56.0), False),  # with a gap
        (part("b", 2.0), True),  # the slices between
        (part("b", 48.0, slices=80), False),  # another station of the body
        ({**part("b", 48.0), "session": "two"}, False),
        ({**part("b", 48.0), "session": "two", "date": "2020-01-02"}, False),
        ({**part("b", 48.0), "protocol": "two"}, False),
        ({**part("b", 48.0), "shape": [40, 40, 12]}, False),
    ],
)
def test_parts_of_one_volume(second: dict[str, Any], parts: bool) -> None:
    find: Callable[[list[Any]], set[str]] = derived_flags.find_split_volumes
    assert find([part("a", 0.0), second]) == ({"a", "b"} if parts else set())
    assert find([second, part("a", 0.0)]) == ({"a", "b"} if parts else set())
