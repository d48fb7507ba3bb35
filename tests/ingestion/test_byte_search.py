"""Nothing that identifies a patient, a place or a device stands in anything that ingest leaves, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from benchmarks import privacy
from tests.commands import siamese_med
from tests.ingestion import exports
from tests.studies import SECRET

NAMING = {
    "PatientName": "Wintergreen^Adalbert",
    "PatientBirthDate": "19610203",
    "PatientAddress": "Quincunx Lane 17",
    "OtherPatientIDs": "OTHER-PID-99",
    "AccessionNumber": "ACC-5550123",
    "StudyID": "STUDYID-77",
    "StudyDescription": "Sclerosis of Wintergreen",
    "InstitutionName": "Saint Quincunx Clinic",
    "StationName": "STATION-XK9",
    "DeviceSerialNumber": "SERIAL-424242",
    "ReferringPhysicianName": "Holloway^Referrer",
    "ImageComments": "known to Doctor Holloway",
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two visits and a series that lacks a slice, whose headers name the patient everywhere, nested and privately."""
    folder = tmp_path_factory.mktemp("export")
    for number, date in enumerate(("20210304", "20220405", "20230506")):
        made = exports.series("MRN-4711-0815", seed=number, **NAMING, StudyDate=date)
        for dataset in made:
            item = Dataset()
            item.PatientID = "NESTED-PID-31337"
            dataset.RequestAttributesSequence = [item]
            block = dataset.private_block(0x0009, "WINTERGREEN CREATOR", create=True)
            block.add_new(0x01, "LO", "private Wintergreen note")
        exports.write(
            folder / f"WINTERGREEN_{number}", [one for place, one in enumerate(made) if number < 2 or place != 2]
        )
    return folder


def test_nothing_that_identifies_anybody_is_left(
    export: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (
        tmp_path_factory.mktemp("secret") / "secret"
    )  # a random one may shift one date onto another that is searched
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    monkeypatch.setenv("SIAMESE_MED_SECRET_FILE", str(secret))
    done = siamese_med("ingest", export, "--no-prefect", "--json", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    (tmp_path / "said.txt").write_text(done.stdout + done.stderr)
    words = privacy.words_of(export) | {b"WINTERGREEN", b"WINTERGREEN_0"}
    looked_for = {word.decode("latin-1") for word in words}
    assert {"SERIAL-424242", "MRN-4711-0815", "NESTED-PID-31337", "Wintergreen", "2021-03-04"} <= looked_for
    assert privacy.hits(words, [export])  # the search finds what is there
    assert len(list(tmp_path.glob("data/scans/**/*.nii.gz"))) == 2
    assert privacy.hits(words, [tmp_path]) == {}
