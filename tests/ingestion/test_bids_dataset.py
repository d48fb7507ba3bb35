"""The scans folder as a BIDS derivative: others can read it, nothing of the source is in it, the catalogue rules it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest

from siamese_med.ingestion.catalogue import bids_dataset
from siamese_med.ingestion.dicom import acquisition
from tests.ingestion import exports
from tests.ingestion.conftest import Place

ENTITIES = re.compile(
    r"sub-(?P<sub>[a-z2-7]{26})_ses-(?P<ses>\d+)(_run-(?P<run>\d+))?_(?P<suffix>[A-Za-z0-9]+)\.nii\.gz"
)


def fill(export: Path) -> None:
    """Two visits of a patient (the first with two T1, one with text burned in), an undated CT, a phase image."""
    first, second = exports.series(seed=1), exports.series(seed=2, SeriesNumber=2, BurnedInAnnotation="YES")
    for dataset in second:
        dataset.StudyInstanceUID = first[0].StudyInstanceUID
    scanner = {"Manufacturer": "ACME", "DeviceSerialNumber": "A17"}
    later = exports.series(seed=3, StudyDate="20220304", SeriesDescription="t2 flair", **scanner)
    undated = [
        exports.of_class(exports.CT, one)
        for one in exports.series("PAT-2", seed=4, Modality="CT", StudyDate="", SeriesDescription="head")
    ]
    phase = exports.series("PAT-3", seed=5, ImageType=["ORIGINAL", "PRIMARY", "P"], SeriesDescription="fl3d")
    for name, datasets in (("1", first), ("2", second), ("3", later), ("4", undated), ("5", phase)):
        exports.write(export / name, datasets)


@pytest.fixture(scope="module")
def written(new_place: Callable[[], Place], tmp_path_factory: pytest.TempPathFactory) -> Place:
    place, export = new_place(), tmp_path_factory.mktemp("export")
    fill(export)
    place.ingest(export)
    return place


def tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_describes_itself(written: Place) -> None:
    said = json.loads((written.data / "scans" / "dataset_description.json").read_text())
    assert said["DatasetType"] == "derivative"
    assert said["GeneratedBy"][0]["Name"] == "siamese-med"
    assert set(said) == {"Name", "BIDSVersion", "DatasetType", "GeneratedBy"}


def test_names_alone_tell_subject_session_and_run(written: Place) -> None:
    scans = {row.id: row for row in written.scans().itertuples()}
    for path in (written.data / "scans").glob("sub-*/ses-*/*.nii.gz"):
        match = ENTITIES.fullmatch(path.name)
        assert match, path.name
        row = scans.pop(path.name.removesuffix(".nii.gz"))
        assert (f"sub-{match['sub']}", f"ses-{match['ses']}") == (row.subject, row.session)
        assert path.parts[-3:-1] == (row.subject, row.session)
        assert nib.load(path).shape == tuple(row.shape)
    assert scans == {}


def test_tables_list_every_subject_session_and_scan_once(written: Place) -> None:
    folder, scans = written.data / "scans", written.scans()
    assert [row["participant_id"] for row in tsv(folder / "participants.tsv")] == sorted(set(scans["subject"]))
    for (subject, session), rows in scans.groupby(["subject", "session"]):
        listed = tsv(folder / subject / session / f"{subject}_{session}_scans.tsv")
        dates = {
            f"{row.id}.nii.gz": f"{row.date}T00:00:00" if isinstance(row.date, str) else "n/a"
            for row in rows.itertuples()
        }
        assert {row["filename"]: row["acq_time"] for row in listed} == dates
        (line,) = [row for row in tsv(folder / subject / f"{subject}_sessions.tsv") if row["session_id"] == session]
        assert line["acq_time"] in dates.values()


def test_a_side_car_says_what_the_catalogue_does_and_nothing_else(written: Place) -> None:
    for row in written.scans().itertuples():
        path = written.data / row.path.replace(".nii.gz", ".json")
        said = json.loads(path.read_text())
        acquired = {*acquisition.NUMBERS, "Manufacturer", "ManufacturersModelName"}
        assert set(said) - acquired == set(bids_dataset.SIDECAR_FIELDS.values())
        assert all(isinstance(said[name], float) for name in acquisition.NUMBERS if name in said)
        assert "SliceThickness" in said or row.source == "nifti"
        assert (said["Modality"], said["Scanner"], said["Flags"]) == (row.modality, row.scanner, row.flags)
        assert said["SpacingMillimetres"] == row.spacing_mm


def test_nothing_of_the_source_is_in_any_file_or_name(written: Place) -> None:
    for name, content in texts(written.data / "scans").items():
        for word in (b"PAT", b"Doe", b"ACME", b"A17", b"MPRAGE", b"20210304", b"2021-03-04", b"2022-03-04", b"101112"):
            assert word not in content
            assert word not in name.encode()


def test_our_own_output_read_in_gives_the_same_scans(written: Place, place: Place) -> None:
    again = place.ingest(written.data / "scans").scans
    before = written.scans()
    alike = ["sha256", "modality", "contrast", "shape", "spacing_mm", "session"]
    assert sorted(before[alike].astype(str).values.tolist()) == sorted(again[alike].astype(str).values.tolist())
    both = before.merge(again, on="sha256")
    assert both["flags_x"].tolist() == both["flags_y"].tolist()
    assert [one.split("_", 1)[1] for one in both["id_x"]] == [one.split("_", 1)[1] for one in both["id_y"]]
    assert both.groupby("subject_x")["subject_y"].nunique().eq(1).all()
    assert both.groupby("scanner_x")["scanner_y"].nunique().eq(1).all()
    assert both["scanner_y"].nunique() == both["scanner_x"].nunique()
    dated = both[both["date_x"].notna()]
    assert dated["date_y"].notna().all()


def test_writing_again_touches_nothing(place: Place, tmp_path: Path) -> None:
    fill(tmp_path)
    place.ingest(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in (place.data / "scans").rglob("*")}
    place.ingest(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (place.data / "scans").rglob("*")} == stamps


def test_whatever_happened_to_the_folder_the_next_run_puts_it_right(place: Place, tmp_path: Path) -> None:
    fill(tmp_path)
    place.ingest(tmp_path)
    folder = place.data / "scans"
    before = texts(folder)
    cars, tables = sorted(folder.rglob("sub-*.json")), sorted(folder.rglob("*.tsv"))
    cars[0].unlink()
    cars[1].write_text("{")
    tables[0].write_text("half a ta")
    orphan = folder / f"sub-{'a' * 26}" / "ses-01" / f"sub-{'a' * 26}_ses-01_T1w.nii.gz"
    orphan.parent.mkdir(parents=True)
    for path in (orphan, orphan.with_name(orphan.name.replace(".nii.gz", ".json")), folder / ".tmp-participants.tsv"):
        path.write_bytes(b"left by a killed run")
    place.ingest(tmp_path)
    assert texts(folder) == before
    assert not orphan.parent.parent.exists()


def test_what_others_put_there_stays(place: Place, tmp_path: Path) -> None:
    fill(tmp_path)
    scan = place.data / place.ingest(tmp_path).scans["path"][0]
    mine = [scan.with_name("notes.txt"), scan.with_name(scan.name.replace("T1w", "desc-lesion_mask"))]
    for path in mine:
        path.write_text("mine")
    place.ingest(tmp_path)
    assert all(path.read_text() == "mine" for path in mine)


def test_files_of_a_scan_that_is_no_more_go(place: Place, tmp_path: Path) -> None:
    exports.nifti(1).to_filename(tmp_path / "sub-1_ses-1_T1w.nii")
    exports.nifti(2).to_filename(tmp_path / "sub-2_ses-1_T1w.nii")
    gone = place.ingest(tmp_path).scans
    (tmp_path / "sub-2_ses-1_T1w.nii").write_bytes(b"no image any more")
    left = place.ingest(tmp_path).scans
    (lost,) = set(gone["subject"]) - set(left["subject"])
    assert not (place.data / "scans" / lost).exists()
    assert lost not in (place.data / "scans" / "participants.tsv").read_text()
    assert len(texts(place.data / "scans")) == len({"description", "participants", "sessions", "scans", "image", "car"})


def test_a_copy_of_the_folder_elsewhere_is_a_dataset_of_its_own(written: Place, place: Place, tmp_path: Path) -> None:
    shutil.copytree(written.data / "scans", tmp_path / "given")
    account = place.ingest(tmp_path / "given").account
    assert (account.ingested, account.quarantined) == (len(written.scans()), 0)
    assert set(account.reasons) == {"side_car"}
