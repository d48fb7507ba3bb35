"""The flag of a scan that looks like another patient's: it comes and goes with the alarm, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue, inventory
from siamese_med.study.config import IngestConfig

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
    assert all(WORD not in path.read_text() for path in place.data.rglob("*.json"))
