"""The count of `benchmarks.deidentification`: what it plants, that it finds what is left, and what may be written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from benchmarks import deidentification
from siamese_med.ingestion.dicom.acquisition import read_acquisition_facts


def test_what_is_left_of_a_planted_value_is_found_also_in_compressed_files_and_names(tmp_path: Path) -> None:
    planted = deidentification.write_export(tmp_path / "in", 1)
    assert sum(map(len, planted.gone.values())) > 600
    out = tmp_path / "out"
    out.mkdir()
    (out / "empty.txt").write_text("nothing")
    counts, left = deidentification.count_removed(planted, out)
    assert all(right == total for right, total in counts.values())
    assert not left
    name, day, word = planted.gone["character sets"][0], planted.gone["dates"][-1], planted.gone["nested"][0]
    (out / "table.json").write_text(f'{{"name": "{name}", "day": "{day[:4]}-{day[4:6]}-{day[6:]}"}}')
    (out / "scan.nii.gz").write_bytes(gzip.compress(word.split("^")[1].encode()))
    (out / planted.gone["paths"][0]).write_text("")
    counts, left = deidentification.count_removed(planted, out)
    assert {category: total - right for category, (right, total) in counts.items() if right < total} == {
        "character sets": 1,
        "dates": 1,
        "nested": 1,
        "paths": 1,
    }
    assert len(left) == 4


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"RepetitionTime": "2300", "EchoTime": "2.98"}, {"RepetitionTime": 2.3, "EchoTime": 0.00298}),
        ({"FlipAngle": "19700101", "EchoTime": "-3", "SliceThickness": "1"}, {"SliceThickness": 1.0}),
        ({"Manufacturer": "Doe^Jane", "ManufacturerModelName": "Jane Doe's Skyra, 555-1234"},
         {"ManufacturersModelName": "Skyra"}),
        ({"Manufacturer": "SIEMENS", "MagneticFieldStrength": "3"},
         {"Manufacturer": "Siemens", "MagneticFieldStrength": 3.0}),
    ],
)  # fmt: skip
def test_of_the_acquisition_plausible_numbers_and_known_names_alone_are_kept(
    tags: dict[str, str], kept: dict[str, object]
) -> None:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    assert dict(read_acquisition_facts(dataset)) == kept
