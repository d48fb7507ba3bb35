"""dciodvfy finds no error in an object that it does not find in the images that the object was made from."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import stages
from tests.dicom_export.conftest import PLANES, Hospital

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
USED = (
    *("siemens_mr", "ge_3d_48", "hitachi_mr_charset2022", "generic_nonisotropic", "comp_rle", "comp_j2k"),
    *("monochrome1_mr", "charset_wrong", "private_phi", "dup_slice_identical", "unsigned_rescale"),
)
"""Real series, and real ones with something odd about them, of which objects are made."""

LEFT_OUT = {"philips_enh_anat": "multi_frame", "siemens_multiecho_fmap": "multi_frame", "dates_missing": "no_date"}

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy: install dicom3tools")


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error, without the module's name, which differs between kinds of objects."""
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
    assert "Can't" not in told.stderr.splitlines()[0], told.stderr
    lines = [line for line in told.stderr.splitlines() if line.startswith("Error")]
    return {re.sub(r" Module=<\w+>", "", line) for line in lines}


def test_an_error_is_seen(hospital: Hospital, tmp_path: Path) -> None:
    """So that the tests below can fail."""
    made = pydicom.dcmread(hospital.objects(hospital.scans("axial")[1])["seg"])
    del made.SegmentSequence
    made.save_as(tmp_path / "broken.dcm")
    assert any("SegmentSequence" in line for line in errors(tmp_path / "broken.dcm"))


@pytest.mark.parametrize("who", PLANES)
@pytest.mark.parametrize("kind", ["seg", "sr", "report"])
def test_objects_of_simulated_scans_have_no_error(hospital: Hospital, who: str, kind: str) -> None:
    assert errors(hospital.objects(hospital.scans(who)[1])[kind]) == set()


@pytest.mark.parametrize("kind", ["seg", "sr"])
def test_objects_with_findings_have_no_error(hospital: Hospital, two_places: dict[str, Any], kind: str) -> None:
    earlier, later = hospital.scans("axial")
    hospital.report(earlier, later, **two_places)
    hospital.export("findings")
    hospital.report(earlier, later)
    assert errors(hospital.objects(later, "findings")[kind]) == set()


@pytest.fixture(scope="module")
def real(new_hospital: Callable[[], Hospital]) -> Hospital:
    """The corpus, ingested case by case, since several cases are derived from one series."""
    if not CORPUS.is_dir():
        pytest.skip("no corpus at ../shared/corpus")
    return new_hospital()


def exported(real: Hospital, case: str) -> tuple[list[str], dict[str, object]]:
    """Export one case as the follow-up of itself, with half of the scan called changed."""
    hospital = Hospital(
        real.root / case, type(real.study)(real.root / case / "d", real.root / case / "r", real.study.config)
    )
    shutil.copytree(CORPUS / case, hospital.source)
    hospital.ingest()
    scans = sorted(stages.scans(hospital.study).itertuples(), key=lambda row: str(row.id))
    for row in scans:
        scan = volume.read_volume(hospital.study.data / row.path)
        half = Volume(scan.voxels * 0, scan.affine)
        half.voxels[: len(half.voxels) // 2] = 1
        volume.write_volume(hospital.study.data / "half.nii.gz", half)
        identity = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
        hospital.report(str(row.id), str(row.id), map="half.nii.gz", transform=identity)
    return [str(row.id) for row in scans], hospital.export()[1]


@pytest.mark.parametrize("case", USED)
def test_objects_of_real_series_have_no_error_of_their_own(real: Hospital, case: str) -> None:
    scans, facts = exported(real, case)
    images = [path for path in (CORPUS / case).rglob("*") if path.is_file()]
    theirs = set().union(*(errors(path) for path in images[:20]))
    placed = any("FrameOfReferenceUID" in pydicom.dcmread(path) for path in images)
    assert facts["left_out"] == ({} if placed else {"no_frame_of_reference": 1})
    seen = 0
    for path in (real.root / case / "back").rglob("*.dcm"):
        assert errors(path) - theirs == set(), path.name
        seen += 1
        made, image = pydicom.dcmread(path), pydicom.dcmread(images[0])
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
            assert made.get_item(keyword).value == image.get_item(keyword).value
        if made.Modality == "SEG":
            voxels = sum(frame.sum() for frame in made.pixel_array.reshape(-1, made.Rows, made.Columns))
            assert voxels > 100
    assert seen == 2 + placed == facts["objects"]
    assert scans


@pytest.mark.parametrize("case", LEFT_OUT)
def test_real_series_that_are_of_no_use_have_a_reason(real: Hospital, case: str) -> None:
    scans, facts = exported(real, case)
    assert facts == {"objects": 0, "patients": 0, "left_out": {LEFT_OUT[case]: 1}}
    assert scans
