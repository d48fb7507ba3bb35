"""A manifest may leave subjects to the DICOM headers: whoever it does not name keeps the pseudonym."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from siamese_med.errors import ManifestError
from siamese_med.ingestion.ingest_plan import plan_ingest
from siamese_med.study.config import IngestConfig
from tests.ingestion import exports
from tests.ingestion.conftest import Place

pytestmark = pytest.mark.usefixtures("shared_workers")


def _visit(folder: Path, patient: str, seed: int, **tags: Any) -> None:
    exports.write(folder, exports.series(patient, seed, **tags))


def _manifest(folder: Path, *rows: str) -> Path:
    path = folder / "scans.csv"
    path.write_text("subject,session,path,date\n" + "".join(f"{row}\n" for row in rows))
    return path


def _subjects(place: Place) -> dict[str, int]:
    return place.scans()["subject"].value_counts().to_dict()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Anna has two visits and a scan under an old number; two people lie in one folder."""
    folder = tmp_path / "in"
    for seed, (where, patient) in enumerate(
        (("anna/1", "ANNA"), ("anna/2", "ANNA"), ("old", "OLD-7"), ("rest/x", "PAUL"), ("rest/y", "MARY"))
    ):
        _visit(folder / where, patient, seed, StudyDate=f"202104{seed + 1:02d}")
    return folder


def test_people_who_are_not_named_keep_their_pseudonyms_and_are_not_merged(
    place: Place, export: Path, tmp_path: Path
) -> None:
    place.ingest(export)
    before = _subjects(place)
    assert sorted(before.values()) == [1, 1, 1, 2]
    repaired = Place(tmp_path / "repaired", place.secret)
    repaired.ingest(_manifest(export, "anna,,anna/1,", "anna,,anna/2,", "anna,,old,", ",,rest,"))
    after = _subjects(repaired)
    assert sorted(after.values()) == [1, 1, 3]
    assert len(set(after) & set(before)) == 2
    assert {subject for subject, scans in after.items() if scans == 1} < set(before)


def test_a_scan_is_left_out_and_a_date_corrected_without_another_pseudonym(
    place: Place, export: Path, tmp_path: Path
) -> None:
    place.ingest(export)
    before = place.scans()
    repaired = Place(tmp_path / "repaired", place.secret)
    repaired.ingest(_manifest(export, ",,anna/1,", ",,anna/2,2021-05-02", ",,rest,"))
    after = repaired.scans()
    assert set(after["subject"]) < set(before["subject"])
    (anna,) = after["subject"][after["subject"].duplicated()]
    first, second = sorted(np.array(after["date"][after["subject"] == anna], "datetime64[D]"))
    assert int((second - first) / np.timedelta64(1, "D")) == 31


def test_the_plan_says_who_names_the_patient(place: Place, export: Path) -> None:
    plan = plan_ingest(_manifest(export, "anna,,anna,", ",,rest,"), IngestConfig(secret_file=place.secret, workers=2))
    assert sorted({scan["named_by"] for scan in plan["plan"]}) == ["PatientID in the header", "the manifest"]


def test_a_header_without_a_patient_names_nobody(place: Place, tmp_path: Path) -> None:
    _visit(tmp_path / "in", "", 1)
    assert place.ingest(_manifest(tmp_path / "in", ",,.,")).account.reasons["missing_patient_id"] > 0
    assert place.scans().empty


def test_a_nifti_file_needs_a_subject(place: Place, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(1000, dtype=np.float32).reshape(10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(ManifestError, match="row 2 has no subject: a NIfTI file names nobody"):
        place.ingest(_manifest(tmp_path, ",,a.nii,"))
    (tmp_path / "a.nii").rename(tmp_path / "a")  # known by its content alone
    assert place.ingest(_manifest(tmp_path, ",,a,")).account.reasons == {"missing_patient_id": 1}
