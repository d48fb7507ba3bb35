"""More exports of the kinds of ../shared/cases: other vendors, other anonymisers, other folders. Each went wrong."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from siamese_med.brain.segmentation import segment_brain
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.contrast import LOCALIZER_PATTERN, is_projection_name
from siamese_med.ingestion.dicom.sop_classes import SUBTRACTION_PATTERN
from siamese_med.ingestion.inputs.bids_labels import read_bids_labels
from siamese_med.pairing.pair_table import build_different_patient_pairs, build_same_patient_pairs
from siamese_med.study.config import PairConfig
from tests.ingestion import exports
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid

DAY = "20200405"


def _series(folder: Path, patient: str, seed: int, **tags: Any) -> list[Path]:
    return exports.write(folder, exports.series(patient, seed, **{"StudyDate": DAY, **tags}))


def _nifti(path: Path, seed: int, most: int = 900) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, most, (12, 12, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)


def _kinds(place: Place) -> Counter[str]:
    return Counter(str(row["kind"]) for row in build_same_patient_pairs(place.scans(), 7))


def test_letters_that_the_named_charset_lacks_keep_two_people_apart(place: Place, tmp_path: Path) -> None:
    for seed, name in enumerate(("M\u00fcller-7", "M\u00f6ller-7")):
        for path in _series(tmp_path / str(seed), name, seed, SpecificCharacterSet="ISO_IR 100"):
            path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192"))
    assert place.ingest(tmp_path).scans["subject"].nunique() == 2


@pytest.mark.parametrize(("first", "second", "conflict"), [("003M", "045Y", True), ("010M", "001Y", False)])
def test_a_child_and_a_grown_up_under_one_identifier(
    place: Place, tmp_path: Path, first: str, second: str, conflict: bool
) -> None:
    for seed, age in enumerate((first, second)):
        _series(tmp_path / str(seed), "4711", seed, PatientAge=age, StudyDate=f"20200{4 + seed}05")
    flags = place.ingest(tmp_path).scans["flags"]
    assert [("identity_conflict" in some) for some in flags] == [conflict] * 2


@pytest.mark.parametrize(("days", "kinds"), [("same", {"follow_up": 3}), ("own", {"rescan": 3})])
@pytest.mark.parametrize("together", [True, False])
def test_an_ordinary_day_that_an_anonymiser_wrote_makes_no_rescans(
    place: Place, tmp_path: Path, days: str, kinds: dict[str, int], together: bool
) -> None:
    for patient in range(3):
        day = f"201506{17 + (patient if days == 'own' else 0)}"
        for visit in range(2):
            folder = tmp_path / f"in{0 if together else patient}" / f"{patient}{visit}"
            clock = f"{9 + patient:02d}{17 * visit:02d}05"
            _series(folder, f"P{patient}", 10 * patient + visit, StudyDate=day, AcquisitionTime=clock)
    for source in sorted(tmp_path.glob("in*")):
        place.ingest(source)
    assert _kinds(place) == kinds
    place.ingest(tmp_path / "in0")  # what was flagged stays flagged, and is not written again
    assert {flag for flags in place.scans()["flags"] for flag in flags} == ({"shared_day"} if days == "same" else set())


def _other_ids(*identifiers: str) -> list[Dataset]:
    items = []
    for identifier in identifiers:
        items.append(Dataset())
        items[-1].PatientID, items[-1].TypeOfPatientID = identifier, "TEXT"
    return items


PERSON = {"PatientName": "Meier^Anna", "PatientBirthDate": "19500607", "PatientSex": "F"}


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"OtherPatientIDs": "000111"}, True),
        ({"OtherPatientIDs": ["9", "111"]}, True),
        ({"OtherPatientIDs": "333"}, False),
        ({"OtherPatientIDsSequence": _other_ids("9", "0111")}, True),
        ({"OtherPatientIDsSequence": _other_ids("333")}, False),
        (PERSON, True),
        ({**PERSON, "PatientSex": "M"}, False),
        ({**PERSON, "PatientName": "ANON^1"}, False),
    ],
)
def test_one_person_may_have_two_identifiers(place: Place, tmp_path: Path, tags: dict[str, Any], said: bool) -> None:
    _series(tmp_path / "a", "111", 1, **PERSON)
    _series(tmp_path / "b", "222", 2, **tags)
    scans = place.ingest(tmp_path).scans
    assert [("similar_id" in some) for some in scans["flags"]] == [said] * 2
    assert b"Meier" not in (place.data / "catalogue.sqlite").read_bytes()


def test_words_for_nobody_link_no_two_people(place: Place, tmp_path: Path) -> None:
    for seed in range(2):
        _series(tmp_path / str(seed), f"{seed + 1}11", seed, OtherPatientIDs="NONE")
    assert list(place.ingest(tmp_path).scans["flags"]) == [[], []]


@pytest.mark.parametrize(("label", "said"), [("PAT1", True), ("PAT2", False)])
def test_a_bids_label_may_be_the_identifier_of_dicom_beside_it(
    place: Place, tmp_path: Path, label: str, said: bool
) -> None:
    """Converters keep the DICOM files in `sourcedata`; another visit of the person is no example of another person."""
    _series(tmp_path / "sourcedata" / "one", "PAT-01", 1)
    _nifti(tmp_path / f"sub-{label}" / "ses-2" / "anat" / f"sub-{label}_ses-2_T1w.nii.gz", 2)
    scans = place.ingest(tmp_path).scans
    assert [("similar_id" in some) for some in scans["flags"]] == [said] * 2


def test_dates_of_study_and_acquisition_that_exclude_one_another(place: Place, tmp_path: Path) -> None:
    for seed in range(2):
        times = {"AcquisitionDate": f"201{3 + seed}0405", "AcquisitionTime": f"1{seed}1500"}
        _series(tmp_path / str(seed), "4711", seed, StudyDate="20100505", **times)
    assert [("date_unknown" in some) for some in place.ingest(tmp_path).scans["flags"]] == [True, True]
    assert _kinds(place) == {"follow_up": 1}


MPR = {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}
GADOLINIUM = {"ContrastBolusAgent": "Gadovist"}


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        (({}, {}), "rescan"),
        (({}, MPR), "follow_up"),
        ((GADOLINIUM, GADOLINIUM), "follow_up"),  # early and late
        (({"SeriesDescription": "t1_vibe_dyn 1"}, {"SeriesDescription": "t1_vibe_dyn 2"}), "follow_up"),
        (({"SeriesDescription": "FLAIR"}, {"SeriesDescription": "FLAIR", **GADOLINIUM}), "follow_up"),
    ],
)
def test_what_is_no_repeat_of_a_scan(
    place: Place, tmp_path: Path, tags: tuple[dict[str, Any], dict[str, Any]], kind: str
) -> None:
    study = new_uid()
    for seed, some in enumerate(tags):
        _series(tmp_path / str(seed), "4711", seed, StudyInstanceUID=study, AcquisitionTime=f"1{seed}1500", **some)
    place.ingest(tmp_path)
    assert _kinds(place) == {kind: 1}


def test_people_who_may_be_one_are_no_example_of_two(place: Place, tmp_path: Path) -> None:
    for seed, name in enumerate(("00123", "123")):
        _series(tmp_path / "like" / str(seed), name, seed)
    for seed in (3, 4):
        _nifti(tmp_path / f"unnamed{seed}" / "T1.nii.gz", seed)
    for name in ("P-77", "Q-12"):
        _series(tmp_path / "copies" / name, name, 7)
    scans = place.ingest(tmp_path).scans
    flags = dict(zip(place.scans()["id"], place.scans()["flags"], strict=True))
    pairs = build_different_patient_pairs(place.scans(), {}, PairConfig(negatives_per_positive=20))
    assert (len(scans), len(pairs) > 0) == (6, True)
    for pair in pairs:
        both = set(flags[pair["scan_a"]]) & set(flags[pair["scan_b"]])
        either = set(flags[pair["scan_a"]]) | set(flags[pair["scan_b"]])
        assert not both & {"similar_id", "copied_scan"}
        assert "patient_unnamed" not in either


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("imagesTr/BRATS_001_0000.nii.gz", "labelsTr/BRATS_001.nii.gz"),
        ("images/P1_T1.nii.gz", "ground_truth/P1_T1.nii.gz"),
        ("BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz", "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz"),
    ],
)
def test_maps_of_labels_by_place_or_name_are_no_scans(place: Place, tmp_path: Path, image: str, labels: str) -> None:
    _nifti(tmp_path / image, 1)
    _nifti(tmp_path / labels, 2)
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (1, {"non_image": 1})


def test_few_whole_numbers_are_labels_whatever_the_name(place: Place, tmp_path: Path) -> None:
    _nifti(tmp_path / "P1" / "T1.nii.gz", 1)
    _nifti(tmp_path / "P1" / "expert2.nii.gz", 2, most=5)
    assert place.ingest(tmp_path).account.reasons == {"non_image": 1}


def test_a_folder_of_lesions_with_scans_of_their_own_is_read(place: Place, tmp_path: Path) -> None:
    _nifti(tmp_path / "lesions" / "P1_T1.nii.gz", 1)
    _nifti(tmp_path / "controls" / "P2_T1.nii.gz", 2)
    assert len(place.ingest(tmp_path).scans) == 2


def test_no_brain_is_looked_for_in_what_is_larger_than_a_body() -> None:
    voxels = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    found = segment_brain(Volume(voxels, np.diag([1000.0, 1000.0, 1000.0, 1.0])))
    assert not found.found()


@pytest.mark.parametrize("there", [[0], [1], [0, 1]])
def test_a_part_of_a_divided_enhanced_file_is_no_scan(place: Place, tmp_path: Path, there: list[int]) -> None:
    parts = []
    whole = exports.enhanced(slices=12)
    for part in range(2):
        one = exports.enhanced(slices=12)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(one, keyword, getattr(whole, keyword))
        frames = slice(6 * part, 6 * part + 6)
        one.PerFrameFunctionalGroupsSequence = one.PerFrameFunctionalGroupsSequence[frames]
        exports.fill(one, exports.voxels(0, 12)[frames])
        one.NumberOfFrames, one.ConcatenationUID, one.InConcatenationNumber = 6, "1.2.3", part + 1
        one.InConcatenationTotalNumber = 2
        parts.append(one)
    exports.write(tmp_path, [parts[part] for part in there])
    ingested = place.ingest(tmp_path)
    assert ingested.account.reasons == ({} if len(there) == 2 else {"missing_slice": 1})
    assert [shape[0] for shape in ingested.scans["shape"]] == ([12] if len(there) == 2 else [])


def test_one_sop_instance_uid_for_all_slices_says_nothing(place: Place, tmp_path: Path) -> None:
    _series(tmp_path, "P", 1, SOPInstanceUID="1.2.3.4")
    assert list(place.ingest(tmp_path).scans["shape"]) == [[exports.SLICES, exports.COLUMNS, exports.ROWS]]


PLANES = ((0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(("slices", "gap_mm", "planning"), [(1, 10.0, True), (5, 10.0, True), (5, 5.0, False)])
def test_a_few_wide_slices_in_three_directions_are_for_planning(
    place: Place, tmp_path: Path, slices: int, gap_mm: float, planning: bool
) -> None:
    made = exports.series("P", 1, slices=3 * slices)
    for number, dataset in enumerate(made):
        plane = PLANES[number // slices]
        dataset.ImageOrientationPatient = list(plane)
        normal = np.cross(plane[:3], plane[3:])
        dataset.ImagePositionPatient = [float(one) for one in number % slices * gap_mm * normal]
    exports.write(tmp_path, made)
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == ((0, {"localizer": 3 * slices}) if planning else (3, {}))


@pytest.mark.parametrize(
    ("description", "planning"),
    [
        ("Loc", True),
        ("plan scan", True),
        ("Lokalisator", True),
        ("localizador 3P", True),
        ("rep\u00e9rage", True),
        ("AAHScout", True),
        ("PILOT study T1", False),
        ("T1 local coil", False),
        ("Survey_32ch_HeadCoil", True),
        ("T1 BRAIN SURVEY", False),
    ],
)
def test_localizers_in_other_words(description: str, planning: bool) -> None:
    assert bool(LOCALIZER_PATTERN.search(description)) == planning


@pytest.mark.parametrize(
    ("description", "made"),
    [
        ("SUB ACUTE INFARCT T1", False), ("Sub-acute stroke T1", False), ("sub dural T2", False), ("T1 SUB", True),
        ("SUB T1 POST", True), ("T1 subtraction", True), ("sub_01 T1", False),
    ],
)  # fmt: skip
def test_sub_may_belong_to_another_word(description: str, made: bool) -> None:
    assert bool(SUBTRACTION_PATTERN.search(description)) == made


@pytest.mark.parametrize(("high_bit", "shifted"), [(15, 4), (15, 0), (13, 2), (11, 0)])
def test_values_may_lie_in_the_upper_bits(place: Place, tmp_path: Path, high_bit: int, shifted: int) -> None:
    """Some writers move the values up, others only say so."""
    slices = exports.series("P", 1)
    values = [np.frombuffer(one.PixelData, np.uint16) % 4096 for one in slices]
    for one, stored in zip(slices, values, strict=True):
        one.BitsStored, one.HighBit = 12, high_bit
        one.PixelData = (stored << shifted).astype(np.uint16).tobytes()
    exports.write(tmp_path / "in", slices)
    (scan,) = place.ingest(tmp_path / "in").scans.itertuples()
    largest = int(np.asarray(nib.load(place.data / scan.path).dataobj).max())
    assert largest == int(np.max(values))


@pytest.mark.parametrize(("name", "made"), [("PJN:3D TOF", True), ("COL:TOF", True), ("sub-01_acq-col_T1w", False)])
def test_projections_of_other_vendors(name: str, made: bool) -> None:
    assert is_projection_name(name) == made


@pytest.mark.parametrize("kind", ["SCREEN SAVE", "CT_SOM5 PROT"])
def test_pictures_of_a_screen_are_said_to_be_that(place: Place, tmp_path: Path, kind: str) -> None:
    _series(tmp_path, "P", 1, ImageType=["DERIVED", "SECONDARY", kind])
    assert place.ingest(tmp_path).account.reasons == {"secondary_capture": exports.SLICES}


def test_archives_and_files_of_the_system_are_named(place: Place, tmp_path: Path) -> None:
    paths = _series(tmp_path, "P", 1)
    with zipfile.ZipFile(tmp_path / "patient.zip", "w") as archive:
        archive.write(paths[0])
    (tmp_path / "one.dcm.gz").write_bytes(gzip.compress(paths[1].read_bytes()))
    for path in paths:
        (tmp_path / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07" + path.name.encode())
    (tmp_path / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (tmp_path / "notes.txt").write_text("hello")
    ingested = place.ingest(tmp_path)
    assert ingested.account.reasons == {"packed_archive": 2, "system_file": len(paths) + 1, "not_an_image": 1}


@pytest.mark.parametrize(("left_out", "said"), [((6,), True), ((4, 5, 6, 7), False)])
def test_a_slice_may_be_lost_between_two_halves(
    place: Place, tmp_path: Path, left_out: tuple[int, ...], said: bool
) -> None:
    made = exports.series("P", 1, slices=14)
    for half, chosen in enumerate((slice(0, left_out[0]), slice(left_out[-1] + 1, 14))):
        uid = new_uid()
        for dataset in made[chosen]:
            dataset.SeriesInstanceUID = uid
        exports.write(tmp_path / str(half), made[chosen])
    flags = place.ingest(tmp_path).scans["flags"]
    assert [("split_volume" in some) for some in flags] == [said, said]


@pytest.mark.parametrize("behind", ["_e1", "_e2_ph", "_real", "_Eq_1", "_t1000"])
def test_what_dcm2niix_writes_behind_a_name_is_no_part_of_the_label(behind: str) -> None:
    assert read_bids_labels(["sub-01"], f"sub-01_T1w{behind}").subject == "01"
    assert read_bids_labels(["sub-01"], f"sub-01_S_0413{behind}").problem == "subject_conflict"


def test_visits_that_nothing_tells_apart_are_said(place: Place, tmp_path: Path) -> None:
    for seed, folder in enumerate(("first", "second")):
        _nifti(tmp_path / "sub-01" / folder / "sub-01_T1w.nii.gz", seed)
    _nifti(tmp_path / "sub-02" / "sub-02_T1w.nii.gz", 3)
    flags = sorted(map(tuple, place.ingest(tmp_path).scans["flags"]))
    assert flags == [("date_unknown",), ("date_unknown", "visit_unclear"), ("date_unknown", "visit_unclear")]
