"""What is exported goes into a real archive as often as one likes, and stays one object each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.dicom_export.conftest import Hospital
from tests.ingestion import orthanc

pytestmark = pytest.mark.long


def test_objects_pushed_twice_are_one_each_and_come_back_whole(
    hospital: Hospital, two_places: dict[str, Any], tmp_path: Path
) -> None:
    """The images are in the archive before. SEG and SR, with a finding each, are exported and sent, both twice."""
    earlier, later = hospital.scans("oblique")
    hospital.report(earlier, later, **two_places)
    for folder in ("sent", "sent again"):
        hospital.export(folder)
    hospital.report(earlier, later)
    first, second = (
        [hospital.objects(later, folder)[kind] for kind in ("seg", "sr")] for folder in ("sent", "sent again")
    )
    images = sorted(path for path in (hospital.source / "oblique").rglob("*") if path.is_file())
    with orthanc.running(tmp_path) as archive:
        assert set(archive.push(images)) == {"Success"}
        studies = archive.count("studies")
        assert archive.push(first) == ["Success", "Success"]
        assert archive.push(second) == ["AlreadyStored", "AlreadyStored"]
        assert archive.count("instances") == len(images) + 2
        assert archive.count("studies") == studies, "filed under the follow-up, not under a study of their own"
        for path in first:
            sent = pydicom.dcmread(path)
            content, study = archive.read_back(sent.SOPInstanceUID)
            assert content == path.read_bytes()
            assert study == sent.StudyInstanceUID
            back = pydicom.dcmread(io.BytesIO(content))
            if sent.Modality == "SEG":
                assert np.array_equal(back.pixel_array, sent.pixel_array)
                assert back.pixel_array.any()
                assert len(back.SegmentSequence) == 2
            else:
                assert back.ContentSequence == sent.ContentSequence
