"""What is in the objects: the map's voxels at their places, the report's numbers, and whose all of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from siamese_med.dicom_export import export
from siamese_med.dicom_export.structured_report import IDENTITY_FIELDS, MEASURED_FIELDS, VERDICT_MEANINGS
from siamese_med.imaging import volume
from siamese_med.pipeline import stages
from siamese_med.reporting.data.report_content import NoVerdictReason
from siamese_med.study.vocabulary import PatientStatus, Verdict
from tests.dicom_export.conftest import (
    MARKER,
    MODEL,
    PLANES,
    RADIUS_MM,
    SCORE,
    TRANSFORM,
    Hospital,
    change_map,
    reported,
)

NOTICE = "Research use only, not for diagnosis"


def places(header: pydicom.Dataset) -> np.ndarray:
    """Where the voxels of an image lie, RAS+ mm (row, column, 3), straight from the attributes (PS3.3, C.7.6.2.1.1)."""
    along = np.array(header.ImageOrientationPatient, dtype=float)
    between_rows, between_columns = map(float, header.PixelSpacing)
    rows, columns = np.indices((header.Rows, header.Columns))
    position = np.array(header.ImagePositionPatient, dtype=float)
    lps = position + columns[..., None] * between_columns * along[:3] + rows[..., None] * between_rows * along[3:]
    return lps * (-1, -1, 1)


def images_of(hospital: Hospital, who: str, number: int = 2) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((hospital.source / who / str(number)).iterdir())]


def follow_up(hospital: Hospital, who: str) -> dict[str, Path]:
    return hospital.objects(hospital.scans(who)[1])


@pytest.mark.parametrize("who", PLANES)
def test_the_segment_is_the_maps_voxels_at_each_source_images_place(hospital: Hospital, who: str) -> None:
    seg = highdicom.seg.segread(follow_up(hospital, who)["seg"])
    images, known = images_of(hospital, who), change_map()
    uids = [one.SOPInstanceUID for one in images]
    found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)[..., 0]
    to_map = np.linalg.inv(TRANSFORM @ known.affine)
    compared = 0
    for image, pixels in zip(images, found, strict=True):
        indices = places(image) @ to_map[:3, :3].T + to_map[:3, 3]
        expected = ndimage.map_coordinates(known.voxels, np.moveaxis(indices, -1, 0), order=0)
        clear = (abs(indices - np.round(indices)) < 0.499).all(-1)  # not half-way between two voxels
        assert (pixels.astype(bool) == (expected >= 0.95))[clear].all()
        compared += int(pixels.sum())
    assert compared > 300


@pytest.mark.parametrize("who", PLANES)
def test_the_segment_lies_where_the_patient_changed(hospital: Hospital, who: str) -> None:
    """By the segmentation's own geometry alone, as a viewer takes it: on the patient's right."""
    seg = pydicom.dcmread(follow_up(hospital, who)["seg"])
    shared = seg.SharedFunctionalGroupsSequence[0]
    inside = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        header = pydicom.Dataset()
        header.Rows, header.Columns = seg.Rows, seg.Columns
        header.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        header.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        header.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        inside.append(places(header)[pixels.astype(bool)])
    ras = np.concatenate(inside)
    assert np.linalg.norm(ras.mean(axis=0) - MARKER) < 0.5
    assert ras[:, 0].min() > 0
    assert np.linalg.norm(ras - MARKER, axis=1).max() < RADIUS_MM + 1.5  # half the diagonal of the map's voxel more
    voxel_mm3 = np.prod([*map(float, shared.PixelMeasuresSequence[0].PixelSpacing), 3.0])
    assert len(ras) * voxel_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.1)
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == 3.0


def test_the_segmentation_says_what_it_is(hospital: Hospital) -> None:
    seg = pydicom.dcmread(follow_up(hospital, "axial")["seg"])
    image = images_of(hospital, "axial")[0]
    assert (seg.SegmentationType, len(seg.SegmentSequence)) == ("BINARY", 1)
    assert seg.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert NOTICE in seg.SeriesDescription
    assert NOTICE in seg.ContentDescription
    assert (seg.ContentDate, seg.ContentTime) == (image.StudyDate, image.StudyTime)


def items(content: pydicom.Dataset, kind: str) -> Iterator[pydicom.Dataset]:
    """All content items of a value type."""
    for item in content.get("ContentSequence", ()):
        if item.ValueType == kind:
            yield item
        yield from items(item, kind)


def measured(report: pydicom.Dataset) -> dict[tuple[str, str], tuple[float, str, str]]:
    """Values and units by the code and scheme of what was measured."""
    found = {}
    for item in items(report, "NUM"):
        name, value = item.ConceptNameCodeSequence[0], item.MeasuredValueSequence[0]
        unit = value.MeasurementUnitsCodeSequence[0]
        assert float(value.NumericValue) == pytest.approx(value.FloatingPointValue, rel=1e-12)
        exact = (value.FloatingPointValue, unit.CodeValue, unit.CodingSchemeDesignator)
        found[name.CodeValue, name.CodingSchemeDesignator] = exact
    return found


EXPECTED = {
    ("similarity", "99SIAMESEMED"): (SCORE.similarity, "1", "UCUM"),
    ("distance", "99SIAMESEMED"): (SCORE.distance, "1", "UCUM"),
    ("change_z", "99SIAMESEMED"): (SCORE.change_z, "1", "UCUM"),
    ("change_p", "99SIAMESEMED"): (SCORE.change_p, "1", "UCUM"),
    ("change_p_adj", "99SIAMESEMED"): (SCORE.change_p_adjusted, "1", "UCUM"),
    ("118565006", "SCT"): (SCORE.volume_ml, "ml", "UCUM"),
    ("detectable_ml", "99SIAMESEMED"): (SCORE.smallest_detectable_ml, "ml", "UCUM"),
    ("growth_ml", "99SIAMESEMED"): (SCORE.growth_ml, "ml", "UCUM"),
}


def test_the_structured_report_holds_the_reports_numbers_with_their_units(hospital: Hospital) -> None:
    path = follow_up(hospital, "oblique")["sr"]
    assert measured(pydicom.dcmread(path)) == EXPECTED
    report = highdicom.sr.srread(path)
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    seg = pydicom.dcmread(follow_up(hospital, "oblique")["seg"])
    (segment,) = [one for one in items(report, "IMAGE") if one.ConceptNameCodeSequence[0].CodeValue == "121191"]
    reference = segment.ReferencedSOPSequence[0]
    assert (reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber) == (seg.SOPInstanceUID, 1)
    assert group.tracking_uid == seg.SegmentSequence[0].TrackingUID
    (verdict,) = group.get_qualitative_evaluations()
    assert (verdict.name.value, verdict.value.value) == ("verdict", "changed")


def test_the_observer_is_the_device_and_the_notice_is_in_the_text(hospital: Hospital) -> None:
    report = pydicom.dcmread(follow_up(hospital, "axial")["sr"])
    texts = [one.TextValue for one in items(report, "TEXT")]
    assert MODEL in texts
    (comment,) = [text for text in texts if NOTICE in text]
    seg = pydicom.dcmread(follow_up(hospital, "axial")["seg"])
    assert f"holds {seg.pixel_array.sum() * 1.5 * 1.25 * 3.0 / 1000:.3f} ml" in comment
    assert NOTICE in report.SeriesDescription
    observer = next(item for item in items(report, "CODE") if item.ConceptNameCodeSequence[0].CodeValue == "121005")
    assert observer.ConceptCodeSequence[0].CodeMeaning == "Device"


def test_images_of_both_dates_are_evidence(hospital: Hospital) -> None:
    report = highdicom.sr.srread(follow_up(hospital, "sagittal")["sr"])
    named = {sop for _, _, sop, _ in report.get_evidence()}
    both = {one.SOPInstanceUID for number in (1, 2) for one in images_of(hospital, "sagittal", number)}
    seg = pydicom.dcmread(follow_up(hospital, "sagittal")["seg"])
    assert named == both | {seg.SOPInstanceUID}
    for number, sequence in ((2, "CurrentRequestedProcedureEvidenceSequence"), (1, "PertinentOtherEvidenceSequence")):
        studies = [one.StudyInstanceUID for one in report[sequence]]
        assert studies == [images_of(hospital, "sagittal", number)[0].StudyInstanceUID]


@pytest.mark.parametrize("who", PLANES)
@pytest.mark.parametrize("kind", ["seg", "sr", "report"])
def test_every_object_is_filed_under_the_follow_up(hospital: Hospital, who: str, kind: str) -> None:
    made, (image, *_) = pydicom.dcmread(follow_up(hospital, who)[kind]), images_of(hospital, who)
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "SpecificCharacterSet"),
    ):
        assert made[keyword] == image[keyword], keyword
    assert made.StudyInstanceUID != images_of(hospital, who, 1)[0].StudyInstanceUID
    assert made.SeriesInstanceUID != image.SeriesInstanceUID
    assert made.SOPInstanceUID.startswith("2.25.")
    assert made.SeriesNumber > 1_000_000


def test_the_pdf_comes_back(hospital: Hospital) -> None:
    made = pydicom.dcmread(follow_up(hospital, "axial")["report"])
    pdf = made.EncapsulatedDocument[: made.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert NOTICE in made.DocumentTitle
    assert NOTICE in made.SeriesDescription


def test_no_two_objects_share_an_identifier(hospital: Hospital) -> None:
    made = [pydicom.dcmread(path) for path in (hospital.root / "back").rglob("*.dcm")]
    assert len({one.SOPInstanceUID for one in made}) == len({one.SeriesInstanceUID for one in made}) == len(made) == 9


def test_a_second_export_gives_the_same_bytes(hospital: Hospital) -> None:
    first, _ = hospital.export()
    second, _ = hospital.export("again")
    names = sorted(path.relative_to(first) for path in first.rglob("*.dcm"))
    assert len(names) == 9
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_other_numbers_are_another_object_of_the_same_series(hospital: Hospital) -> None:
    earlier, later = hospital.scans("axial")
    before = pydicom.dcmread(hospital.objects(later)["sr"])
    hospital.report(earlier, later, change_p=0.5)
    hospital.export("other")
    hospital.report(earlier, later)
    after = pydicom.dcmread(hospital.objects(later, "other")["sr"])
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID


REASON = NoVerdictReason("little_overlap", "the two scans share too little of the body")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": "not_comparable", "status": "not_comparable", "reasons": (REASON,)}, {"not_comparable"}),
        ({"status": "wrong_patient"}, {"wrong_patient"}),
        ({"verdict": "no_change", "status": "no_change", "map": "maps/empty.nii.gz"}, {"no_change"}),
        ({"map": None, "growth_ml": None}, {"changed"}),
        ({"transform": ()}, {"changed"}),
    ],
    ids=["not comparable", "whose scan", "nothing over the threshold", "no map", "no transform"],
)
def test_without_a_segment_the_structured_report_speaks_alone(
    hospital: Hospital, fields: dict[str, object], words: set[str]
) -> None:
    earlier, later = hospital.scans("axial")
    known = change_map()
    volume.write_volume(hospital.study.data / "maps" / "empty.nii.gz", volume.Volume(known.voxels * 0.9, known.affine))
    hospital.report(earlier, later, **fields)
    hospital.export()
    objects = hospital.objects(later)
    report = highdicom.sr.srread(objects["sr"])
    hospital.report(earlier, later)
    hospital.export()
    assert set(objects) == {"sr", "report"}  # that of the export before is gone too
    (group,) = report.content.get_image_measurement_groups()
    said = {one.value.value for one in group.get_qualitative_evaluations()}
    reasons = {reason.word for reason in fields.get("reasons", ())}  # type: ignore[attr-defined]
    assert said == words | reasons
    (comment,) = [one.TextValue for one in items(report, "TEXT") if NOTICE in one.TextValue]
    assert all(reason.meaning in comment for reason in fields.get("reasons", ()))  # type: ignore[attr-defined]
    left = {"growth_ml"} if fields.get("growth_ml", 0) is None else set()
    if fields.get("status") == "wrong_patient":  # its change would be no change of this patient
        left = MEASURED_FIELDS.keys() - IDENTITY_FIELDS
    assert len(measured(report)) == len(MEASURED_FIELDS) - len(left)
    assert set(hospital.objects(later)) == {"seg", "sr", "report"}


def test_an_uncertain_pair_is_not_called_unchanged_and_its_map_is_there_to_look_at(hospital: Hospital) -> None:
    earlier, later = hospital.scans("axial")
    hospital.report(earlier, later, verdict="uncertain", status="uncertain", smallest_detectable_ml=None)
    hospital.export()
    objects = hospital.objects(later)
    report = highdicom.sr.srread(objects["sr"])
    hospital.report(earlier, later)
    hospital.export()
    assert set(objects) == {"seg", "sr", "report"}
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    (verdict,) = group.get_qualitative_evaluations()
    assert (verdict.value.value, verdict.value.meaning) == ("uncertain", VERDICT_MEANINGS[Verdict.UNCERTAIN])
    (comment,) = [one.TextValue for one in items(report, "TEXT") if NOTICE in one.TextValue]
    assert "Too uncertain to tell" in comment
    assert "Even a change of 8 ml might have been missed: look at the images." in comment
    assert "No change" not in comment
    assert "detectable_ml" not in {name for name, _ in measured(report)}


def test_a_finding_is_a_segment_with_measurements_of_its_own(hospital: Hospital, two_places: dict[str, Any]) -> None:
    earlier, later = hospital.scans("axial")
    hospital.report(earlier, later, **two_places)
    hospital.export("findings")
    hospital.report(earlier, later)
    objects = hospital.objects(later, "findings")
    seg, report = highdicom.seg.segread(objects["seg"]), highdicom.sr.srread(objects["sr"])
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["Finding 5", "Change"]
    volumes = [4 / 3 * np.pi * radius**3 for radius in (RADIUS_MM, 5)]
    for number, expected in enumerate(volumes, start=1):
        (drawn,) = seg.get_volume(segment_numbers=[number], combine_segments=False).array.sum((0, 1, 2)).tolist()
        assert drawn * 1.5 * 1.25 * 3.0 == pytest.approx(expected, rel=0.2)
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.tracking_uid == seg.SegmentSequence[0].TrackingUID
    assert [one.value for one in group.get_measurements()] == [2.5]
    assert [one.value.value for one in group.get_qualitative_evaluations()] == ["enlarging"]
    (whole,) = report.content.get_image_measurement_groups()
    assert {one.value.value for one in whole.get_qualitative_evaluations()} == {"changed"}
    assert whole.tracking_uid == seg.SegmentSequence[1].TrackingUID


def test_the_tracking_uid_of_a_finding_is_that_of_the_patient_not_of_the_pair_or_the_model(
    hospital: Hospital, two_places: dict[str, Any]
) -> None:
    earlier, later = hospital.scans("axial")
    hospital.report(earlier, later, **two_places)
    tracked = []
    for folder, model in (("one", MODEL), ("other", "flair-model-0000000000000000")):
        export.write_dicom_export(
            hospital.root / folder, hospital.source, hospital.study, model, stages.scans(hospital.study)
        )
        seg = pydicom.dcmread(hospital.objects(later, folder)["seg"])
        tracked.append([one.TrackingUID for one in seg.SegmentSequence])
    hospital.report(later, later, **two_places)  # another pair, as far as names go
    hospital.export("pair")
    seg = pydicom.dcmread(hospital.objects(later, "pair")["seg"])
    tracked.append([one.TrackingUID for one in seg.SegmentSequence])
    hospital.report(earlier, later)
    assert len({finding for finding, _ in tracked}) == 1
    assert len({rest for _, rest in tracked}) == 3


def test_every_verdict_fits_into_a_code() -> None:
    assert {*Verdict, PatientStatus.WRONG_PATIENT} == VERDICT_MEANINGS.keys()
    assert all(len(word) <= 16 for word in VERDICT_MEANINGS)
    assert all(len(meaning) <= 64 for meaning in VERDICT_MEANINGS.values())
    assert len(set(VERDICT_MEANINGS.values())) == len(VERDICT_MEANINGS)


def test_the_report_names_the_contrast_and_says_that_identity_was_not_measured(hospital: Hospital) -> None:
    earlier, later = hospital.scans("axial")
    words = {"earlier_contrast": "T1wCE", "later_contrast": "T1wCE"}
    hospital.report(earlier, later, similarity=None, distance=None, **words)
    hospital.export("contrast")
    report = highdicom.sr.srread(hospital.objects(later, "contrast")["sr"])
    hospital.report(earlier, later)
    (comment,) = [one.TextValue for one in items(report, "TEXT") if NOTICE in one.TextValue]
    assert "Contrast of the scans: contrast-enhanced T1." in comment
    assert "one person was not measured: a scan could not be placed on the template" in comment
    assert len(measured(report)) == len(MEASURED_FIELDS) - 2


@pytest.mark.parametrize("fields", [{"identity_judged": False}, {"withheld": True}], ids=["not judged", "not valid"])
def test_no_probability_of_identity_is_exported_that_the_page_does_not_state(
    hospital: Hospital, fields: dict[str, bool]
) -> None:
    earlier, later = hospital.scans("axial")
    hospital.report(earlier, later, **fields)
    hospital.export("identity")
    report = highdicom.sr.srread(hospital.objects(later, "identity")["sr"])
    hospital.report(earlier, later)
    (comment,) = [one.TextValue for one in items(report, "TEXT") if NOTICE in one.TextValue]
    assert "Whether both are of one person was not judged by this model." in comment
    assert len(measured(report)) == len(MEASURED_FIELDS) - len(IDENTITY_FIELDS)


def test_pairs_of_the_newest_visit_have_objects_and_steps_between_have_none(
    new_hospital: Callable[[], Hospital],
) -> None:
    hospital = new_hospital()
    for number in (1, 2, 3):
        hospital.visit("axial", number, "axial")
    hospital.ingest()
    first, second, third = hospital.scans("axial")
    same = {"map": "maps/change.nii.gz", "transform": tuple(map(tuple, TRANSFORM.tolist()))}
    rest = reported(number=2, role="since_first", scan_a=first, scan_b=third, later_session="ses-03", **same)
    step = reported(number=3, role="step", scan_a=first, scan_b=second, later_session="ses-02", **same)
    hospital.report(second, third, rest, step)
    folder, facts = hospital.export()
    assert facts == {"objects": 5, "patients": 1, "left_out": {}}
    (names,) = [sorted(path.name for path in one.iterdir()) for one in folder.glob("sub-*/ses-*")]
    assert names == ["report-pdf.dcm", "seg-pair01.dcm", "seg-pair02.dcm", "sr-pair01.dcm", "sr-pair02.dcm"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.rglob("*.dcm"))
    assert stages.scans(hospital.study).shape[0] == 3
