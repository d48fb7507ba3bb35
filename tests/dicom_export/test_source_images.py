"""Source files are hostile, or gone: what becomes of their follow-ups, and that nobody else loses anything by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from siamese_med.dicom_export import export
from siamese_med.errors import SecretError, UsageError
from siamese_med.ingestion.privacy.originals import find_original_files
from siamese_med.pipeline import stages
from siamese_med.study.input_source import Pull
from siamese_med.study.tables import Study
from tests.commands import siamese_med, write_nifti
from tests.dicom_export.conftest import MODEL, Hospital
from tests.ingestion import exports

HOSTILE = {
    "huge_name": {"PatientName": "X" * 40_000},
    "huge_date": {"StudyTime": "1" * 5_000},
    "no_uid": {"SOPInstanceUID": None},
    "path_uid": {"StudyInstanceUID": "../../etc/passwd"},
}
"""What no object can be made of, by the patient that it is put into."""

UNPLACED = {"path_frame": {"FrameOfReferenceUID": "../../etc/passwd"}, "no_frame": {"FrameOfReferenceUID": None}}
"""What no segmentation can be made of, but all else."""

HARMLESS = {
    "script": {"PatientName": "</script><script>alert(1)", "StudyDescription": "\x1b[2J\x07"},
    "nobody": {"PatientBirthDate": "yesterday", "PatientSex": "<b>", "AccessionNumber": "A" * 200},
    "charset": {"SpecificCharacterSet": "ISO_IR 999"},
}
"""What goes over as it is."""


def rewrite(paths: list[Path], **tags: str | None) -> None:
    """Change attributes of all files of a series, or take them out."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            if value is None:
                del dataset[keyword]
            else:
                dataset.add(pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), value))
        dataset.save_as(path)


@pytest.fixture(scope="module")
def troubled(new_hospital: Callable[[], Hospital]) -> Hospital:
    """One good patient among those whose headers are none."""
    made = new_hospital()
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for who, tags in ({"good": {}} | HOSTILE | UNPLACED | HARMLESS).items():
        rewrite(made.visit(who, 2, "axial"), **tags)
    made.ingest()
    for who in ("good", *HOSTILE, *UNPLACED, *HARMLESS):
        (scan,) = made.scans(who)
        made.report(scan, scan)  # one visit is enough for what is asked here
    return made


@pytest.mark.long
def test_a_hostile_header_leaves_its_patient_out_and_nobody_else(
    troubled: Hospital, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, facts = troubled.export()
    whole = 1 + len(HARMLESS)
    assert facts == {
        "objects": 3 * whole + 2 * len(UNPLACED),
        "patients": whole + len(UNPLACED),
        "left_out": {"no_frame_of_reference": len(UNPLACED), "not_encodable": len(HOSTILE)},
    }
    for who in ("good", *HARMLESS):
        assert set(troubled.objects(*troubled.scans(who))) == {"seg", "sr", "report"}
    for who in UNPLACED:
        assert set(troubled.objects(*troubled.scans(who))) == {"sr", "report"}
    said = "".join(capfd.readouterr()) + caplog.text
    assert said == ""
    assert not [path for path in folder.rglob("*") if "tmp" in path.name]


@pytest.mark.parametrize("who", HARMLESS)
def test_an_odd_owner_goes_over_byte_for_byte(troubled: Hospital, who: str) -> None:
    troubled.export()
    image = pydicom.dcmread(min((troubled.source / who / "2").iterdir()))
    for path in troubled.objects(*troubled.scans(who)).values():
        made = pydicom.dcmread(path)
        for keyword in HARMLESS[who]:
            if keyword == "SpecificCharacterSet":
                assert made.SpecificCharacterSet == image.SpecificCharacterSet
            else:
                assert made.get_item(keyword).value == image.get_item(keyword).value


@pytest.fixture
def mixed(new_hospital: Callable[[], Hospital]) -> Hospital:
    """Two patients with DICOM files, ingested and reported on."""
    made = new_hospital()
    for who in ("one", "two"):
        for number in (1, 2):
            made.visit(who, number, "axial")
    made.ingest()
    for who in ("one", "two"):
        made.report(*made.scans(who))
    return made


def test_a_file_that_changed_or_is_gone_counts_as_not_there(mixed: Hospital) -> None:
    path = max((mixed.source / "one" / "2").iterdir())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert mixed.export()[1] == {"objects": 3, "patients": 1, "left_out": {"source_missing": 1}}
    path.unlink()
    assert mixed.export()[1]["left_out"] == {"source_missing": 1}
    assert mixed.objects(mixed.scans("one")[1]) == {}


def test_a_copy_at_another_place_stands_in_for_a_file_that_changed(mixed: Hospital) -> None:
    path = max((mixed.source / "one" / "2").iterdir())
    shutil.copy(path, mixed.source / "one" / "copy")
    mixed.ingest()
    path.write_bytes(b"something else")
    assert mixed.export()[1]["left_out"] == {}


def test_without_the_earlier_files_the_follow_up_still_has_its_objects(mixed: Hospital) -> None:
    shutil.rmtree(mixed.source / "one" / "1")
    _, facts = mixed.export()
    assert facts == {"objects": 6, "patients": 2, "left_out": {}}
    report = pydicom.dcmread(mixed.objects(mixed.scans("one")[1])["sr"])
    assert "PertinentOtherEvidenceSequence" not in report


def test_a_part_of_the_input_gives_the_patients_below_it(mixed: Hospital) -> None:
    facts = export.write_dicom_export(
        mixed.root / "back", mixed.source / "two", mixed.study, MODEL, stages.scans(mixed.study)
    )
    assert facts == {"objects": 3, "patients": 1, "left_out": {"source_missing": 1}}


def test_scans_that_no_plain_series_made_are_left_out_by_reason(new_hospital: Callable[[], Hospital]) -> None:
    hospital = new_hospital()
    hospital.visit("good", 1, "axial")
    hospital.visit("good", 2, "axial")
    for name, dataset in (("enhanced", exports.enhanced()), ("mosaic", exports.mosaic())):
        dataset.PatientID = name
        exports.write(hospital.source / name, [dataset])
    exports.write(hospital.source / "undated", exports.series("PAT-3", StudyDate="20211399"))
    (hospital.source / "nifti").mkdir()
    write_nifti(hospital.source / "nifti" / "someone.nii.gz")
    hospital.ingest()
    hospital.report(*hospital.scans("good"))
    for scan in set(stages.scans(hospital.study).id) - set(hospital.scans("good")):
        hospital.report(scan, scan)  # a patient of one visit is enough here
    folder, facts = hospital.export()
    assert facts == {"objects": 3, "patients": 1, "left_out": {"multi_frame": 2, "no_date": 1, "not_dicom": 1}}
    assert set(hospital.objects(hospital.scans("good")[1])) == {"seg", "sr", "report"}
    assert len(list(folder.rglob("*.dcm"))) == 3


def test_files_are_found_with_the_right_secret_alone(mixed: Hospital, tmp_path: Path) -> None:
    scan = mixed.scans("one")[1]
    url, secret = mixed.study.catalogue_url, mixed.study.config.ingest.secret_file
    found = find_original_files([scan, "sub-x_ses-01_T1w"], url, secret, mixed.source)
    assert {path for one in found[scan] for path in one.paths} == set((mixed.source / "one" / "2").iterdir())
    assert set(found) == {scan}
    assert str(mixed.source) not in repr(found)
    (tmp_path / "other").write_bytes(b"x" * 32)
    (tmp_path / "other").chmod(0o600)
    with pytest.raises(SecretError, match="another pseudonym secret"):
        find_original_files([scan], url, tmp_path / "other", mixed.source)


def test_what_an_earlier_export_left_of_a_patient_goes_and_strangers_stay(mixed: Hospital) -> None:
    folder, _ = mixed.export()
    scan = mixed.scans("one")[1]
    session = folder / scan.split("_")[0] / scan.split("_")[1]
    (session / "seg-pair07.dcm").write_bytes(b"of an export before")
    (session / "mine.dcm").write_bytes(b"a user's")
    mixed.export()
    assert sorted(path.name for path in session.iterdir()) == [
        "mine.dcm", "report-pdf.dcm", "seg-pair01.dcm", "sr-pair01.dcm",
    ]  # fmt: skip


@pytest.mark.parametrize("inside", ["data/back", "reports", "reports/a/../b"])
def test_a_folder_among_the_pages_or_the_data_is_refused(tmp_path: Path, inside: str) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports")
    with pytest.raises(UsageError, match="inside the data or reports folder") as error:
        export.check_export_folder(tmp_path / inside, tmp_path, study)
    assert "\n" not in str(error.value)


def test_a_link_into_the_pages_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "reports")
    with pytest.raises(UsageError, match="inside"):
        export.check_export_folder(tmp_path / "link" / "back", tmp_path, Study(tmp_path / "data", tmp_path / "reports"))


@pytest.mark.parametrize("source", [None, Pull("dicomweb://pacs/dicom-web?PatientID=DOE")])
def test_an_address_is_refused(tmp_path: Path, source: Pull | None) -> None:
    with pytest.raises(UsageError, match="files on disk") as error:
        export.check_export_folder(tmp_path / "back", source, Study(tmp_path / "data", tmp_path / "reports"))
    assert "DOE" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom", "back"], "go together"),
        (["--input", "in"], "go together"),
        (["--dicom", "back", "--input", "dicomweb://pacs/x?PatientID=DOE"], "files on disk"),
        (["--dicom", "data/back", "--input", "in"], "inside the data or reports folder"),
        (["--dicom", "a.csv", "--input", "in"], "is a file"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "a.csv").write_text("")
    result = siamese_med("report", "--model", "model", "--no-prefect", "--json", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert message in json.loads(result.stdout)["error"]
    assert "DOE" not in result.stdout + result.stderr
    assert not (tmp_path / "back").exists()
