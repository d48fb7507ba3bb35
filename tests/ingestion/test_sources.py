"""Manifests, BIDS trees and bare folders: who is who, when, and what a wrong input is answered with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamese_med.errors import EmptyInputError, ManifestError, MissingFileError
from tests.ingestion import exports
from tests.ingestion.conftest import Place


def scan(path: Path, seed: int = 0) -> Path:
    """A NIfTI at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exports.nifti(seed).to_filename(path)
    return path


def manifest(folder: Path, *rows: str, columns: str = "subject,session,path,date,changed") -> Path:
    path = folder / "scans.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_manifest_names_subjects_sessions_dates_and_changes(place: Place, tmp_path: Path) -> None:
    for number in range(4):
        scan(tmp_path / f"{number}_T2w.nii.gz", number)
    rows = (
        "a,late,0_T2w.nii.gz,2020-05-11,1",
        "a,early,1_T2w.nii.gz,2020-05-01,",
        "b,2,2_T2w.nii.gz,,0",
        "b,10,3_T2w.nii.gz,,",
    )
    ingested = place.ingest(manifest(tmp_path, *rows))
    scans = ingested.scans.sort_values(["subject", "session"])
    assert ingested.account.ingested == 4
    assert scans["subject"].nunique() == 2
    dated = scans[scans["date"].notna()]
    assert dated["session"].tolist() == ["ses-01", "ses-02"]
    assert dated["changed"].fillna(-1).tolist() == [-1, 1]
    assert str(dated["date"].iloc[0]) != "2020-05-01"
    assert _days(dated["date"].iloc[1]) - _days(dated["date"].iloc[0]) == 10
    undated = scans[scans["date"].isna()]
    assert undated["session"].tolist() == ["ses-01", "ses-02"]
    assert undated["changed"].fillna(-1).tolist() == [0, -1]
    assert all("date_unknown" in flags for flags in undated["flags"])
    assert set(scans["contrast"]) == {"T2w"}


def test_a_manifest_may_name_a_dicom_folder_of_nobody(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "visit", exports.series(patient=""))
    ingested = place.ingest(manifest(tmp_path, "a,1,visit,,"))
    assert (ingested.account.ingested, len(ingested.scans)) == (6, 1)
    assert ingested.scans["source"].tolist() == ["dicom"]


def test_one_file_under_two_subjects_is_taken_for_neither(place: Place, tmp_path: Path) -> None:
    scan(tmp_path / "one.nii")
    for _ in range(2):
        ingested = place.ingest(manifest(tmp_path, "a,1,one.nii,,", "b,1,one.nii,,"))
        assert len(ingested.scans) == 0
        assert "patient_conflict" in ingested.account.reasons


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ("subject,path", ["a,x.nii"], "column session"),
        ("subject,session,path", ["a,1,gone.nii"], "row 2"),
        ("subject,session,path", ["a,1"], "row 2"),
        ("subject,session,path,changed", ["a,1,x.nii,perhaps"], "0, 1 or empty"),
        ("subject,session,path,note", ['a,1,x.nii,"5 mm lesion', "b,1,x.nii,"], "row 2 holds other rows"),
        ("subject,session,path", ["a,1,x.nii,0.5,7"], "row 2 has more cells"),
    ],
)
def test_a_bad_manifest_says_which_row_and_names_nobody(
    place: Place, tmp_path: Path, columns: str, rows: list[str], message: str
) -> None:
    scan(tmp_path / "x.nii")
    with pytest.raises(ManifestError, match=message) as error:
        place.ingest(manifest(tmp_path, *rows, columns=columns))
    assert "gone" not in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_empty_inputs_are_told_apart(place: Place, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        place.ingest(tmp_path / "nowhere")
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with pytest.raises(EmptyInputError):
        place.ingest(tmp_path / "empty")
    with pytest.raises(EmptyInputError):
        place.ingest(manifest(tmp_path))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError):
        place.ingest(tmp_path / "binary.csv")


def test_a_bids_tree_gives_subjects_dates_contrast_and_scanner(place: Place, tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    side_car = {"Manufacturer": "Acme", "DeviceSerialNumber": "12", "Modality": "MR", "RepetitionTime": 2.0}
    for session, seed in (("pre", 1), ("post", 2)):
        name = f"sub-x_ses-{session}_FLAIR"
        scan(tmp_path / "sub-x" / f"ses-{session}" / "anat" / f"{name}.nii.gz", seed)
        (tmp_path / "sub-x" / f"ses-{session}" / "anat" / f"{name}.json").write_text(json.dumps(side_car))
    (tmp_path / "sub-x" / "sub-x_sessions.tsv").write_text("session_id\tacq_time\nses-pre\t2019-01-01T08:00:00\n")
    row = "filename\tacq_time\nanat/sub-x_ses-post_FLAIR.nii.gz\t2019-03-01T09:00:00\n"
    (tmp_path / "sub-x" / "ses-post" / "sub-x_ses-post_scans.tsv").write_text(row)
    scan(tmp_path / "derivatives" / "tool" / "sub-x" / "sub-x_desc-smooth_FLAIR.nii.gz", 3)
    ingested = place.ingest(tmp_path)
    scans = ingested.scans
    assert ingested.account.reasons == {"derivative": 1, "duplicate": 1, "side_car": 4}
    assert scans["subject"].nunique() == scans["scanner"].nunique() == scans["protocol"].nunique() == 1
    assert scans["scanner"][0].startswith("scanner-")
    assert set(scans["contrast"]) == {"FLAIR"}
    assert _days(scans["date"][1]) - _days(scans["date"][0]) == 59
    assert scans["flags"].tolist() == [[], []]


def test_names_in_a_bare_folder_group_sessions_but_never_merge_folders(place: Place, tmp_path: Path) -> None:
    scan(tmp_path / "sub-7_ses-2_T1w.nii", 1)
    scan(tmp_path / "sub-7_ses-10_T1w.nii", 2)
    scan(tmp_path / "left" / "scan.nii", 3)
    scan(tmp_path / "right" / "scan.nii", 4)
    scans = place.ingest(tmp_path).scans
    assert sorted(scans.groupby("subject").size()) == [1, 1, 2]
    assert scans[scans["contrast"] == "T1w"]["session"].tolist() == ["ses-01", "ses-02"]


def test_a_single_file_is_an_input_too(place: Place, tmp_path: Path) -> None:
    assert len(place.ingest(scan(tmp_path / "one.nii")).scans) == 1


def _days(written: object) -> int:
    from datetime import date

    return date.fromisoformat(str(written)).toordinal()
