"""`ingest --plan`: what would be taken for whom, with nothing written and nobody named."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from siamese_med.ingestion import ingest_folder, ingest_plan
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.study.config import IngestConfig
from tests.commands import siamese_med
from tests.ingestion import bids_trees, exports

CONFIG = IngestConfig(workers=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    for who in ("P7", "P8"):
        for day in ("2021-02-07", "2020-01-05"):
            bids_trees.scan(folder / who / day / "t1.nii.gz")
    bids_trees.scan(folder / "sub-01" / "sub-01_FLAIR.nii.gz")
    return folder


def test_each_scan_is_told_with_what_names_its_patient(source: Path) -> None:
    plan = ingest_plan.plan_ingest(source, CONFIG)
    assert (plan["patients"], plan["visits"], plan["scans"]) == (3, 5, 5)
    assert [(one["patient"], one["visit"], one["days"]) for one in plan["plan"][:4]] == [
        (1, 1, 0),
        (1, 2, 399),
        (2, 1, 0),
        (2, 2, 399),
    ]
    assert {one["named_by"] for one in plan["plan"]} == {"the folder above a date", "its BIDS label"}


def test_it_agrees_with_what_ingest_then_makes(source: Path, tmp_path: Path) -> None:
    plan = ingest_plan.plan_ingest(source, CONFIG)
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path / 'data' / 'catalogue.sqlite'}"
    ingest_folder.ingest_files(source, tmp_path / "data", url, CONFIG)
    scans = catalogue.read_scan_table(url)
    assert (scans.subject.nunique(), len(scans)) == (plan["patients"], plan["scans"])
    assert len(scans.groupby(["subject", "session"])) == plan["visits"]


def test_the_command_writes_nothing_and_makes_no_secret(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SIAMESE_MED_SECRET_FILE", raising=False)
    (source / "P7" / "2020-01-05" / "notes.txt").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = siamese_med("ingest", source, "--plan", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["left_out"] == {"not_an_image": 1}
    assert sorted(tmp_path.rglob("*")) == before


def test_dicom_is_named_by_its_header_and_no_id_or_date_is_printed(tmp_path: Path) -> None:
    first, *_ = exports.write(tmp_path / "input", exports.series())
    done = siamese_med("ingest", "input", "--plan", cwd=tmp_path)
    assert "named by PatientID in the header" in done.stdout
    header = pydicom.dcmread(first)
    assert not {str(header.PatientID), str(header.StudyDate)} & set(done.stdout.replace(",", " ").split())


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    bids_trees.scan(tmp_path / "input" / "red\x1b[31m" / "t1.nii.gz")
    assert "\x1b" not in siamese_med("ingest", "input", "--plan", cwd=tmp_path).stdout


def test_an_archive_has_no_plan(tmp_path: Path) -> None:
    done = siamese_med("ingest", "dicomwebs://pacs.example/dicom-web?PatientID=7", "--plan", cwd=tmp_path)
    assert done.returncode == 2
    assert "--plan reads a folder or a manifest" in done.stderr
