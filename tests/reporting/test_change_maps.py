"""The change maps beside the pages are a BIDS derivative: a validator says so, and the side-cars lead to the scans."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.imaging import volume
from siamese_med.reporting.write import change_maps, json_tsv
from tests.reporting.conftest import Inputs, add_images, pseudonym

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


@pytest.fixture
def mapped(study: Inputs) -> Inputs:
    """Two patients, one of them with a map."""
    study = study.only("mixed", "single")
    add_images(study, "mixed")
    study.write()
    return study


def validated(folder: Path) -> list[str]:
    """Codes of the errors that the validator finds."""
    told = subprocess.run([VALIDATOR, "--json", folder], capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(told.stdout)["issues"]["issues"]
    return sorted(f"{one['code']} {one.get('location', '')}" for one in issues if one["severity"] == "error")


def test_the_validator_finds_no_error_and_would_find_one(mapped: Inputs, tmp_path: Path) -> None:
    assert validated(mapped.reports) == []
    copy = shutil.copytree(mapped.reports, tmp_path / "copy")
    (nifti,) = copy.rglob("*_probseg.nii.gz")
    nifti.rename(nifti.with_name(nifti.name.replace("_probseg", "_change")))
    assert any(error.startswith("NOT_INCLUDED") for error in validated(copy))


def test_a_map_lies_under_the_later_visit_and_names_both_scans(mapped: Inputs) -> None:
    subject = pseudonym("mixed")
    (nifti,) = mapped.reports.rglob("*.nii.gz")
    place = f"{subject}/ses-2/anat/{subject}_ses-2_space-ses1FLAIR_desc-changeFLAIR_probseg.nii.gz"
    assert nifti.relative_to(mapped.reports).as_posix() == place
    assert nifti.samefile(mapped.data / mapped.scores["map"].iloc[0])
    side_car = json.loads(nifti.with_name(nifti.name.replace(".nii.gz", ".json")).read_text())
    links = json.loads((mapped.reports / "dataset_description.json").read_text())["DatasetLinks"]
    sources = [one.removeprefix("bids:scans:") for one in side_car["Sources"]]
    scans = [(mapped.reports / links["scans"] / source).resolve() for source in sources]
    assert scans == [(mapped.data / path).resolve() for path in mapped.scans.path[mapped.scans.subject == subject]]
    assert all(scan.is_file() for scan in scans)
    assert side_car["SpatialReference"] == side_car["Sources"][0]
    assert (volume.read_volume(nifti).affine == volume.read_volume(scans[0]).affine).all()
    assert side_car["EarlierToLaterMillimetres"] == mapped.scores["transform"].iloc[0]


def test_names_of_maps_tell_runs_contrasts_and_spaces_apart(mapped: Inputs) -> None:
    from dataclasses import replace

    from siamese_med.reporting.data.patient_visits import build_report_pairs, build_visits
    from siamese_med.study.score_columns import read_scores

    rows = mapped.scans[mapped.scans.subject == pseudonym("mixed")].to_dict("records")
    (pair,) = build_report_pairs(read_scores(mapped.scores), build_visits(rows, {}), set(), set())
    subject = pair.later.split("_")[0]
    ends = [("ses-1_FLAIR", "ses-2_FLAIR"), ("ses-1_FLAIR", "ses-2_T1w"), ("ses-1_run-2_FLAIR", "ses-2_FLAIR")]
    ends += [("ses-1_FLAIR", "ses-2_run-2_FLAIR")]
    scores = [replace(pair.score, scan_a=f"{subject}_{a}", scan_b=f"{subject}_{b}") for a, b in ends]
    found = {change_maps.name_change_map(replace(pair, score=score)) for score in scores}
    assert len(found) == len(ends)
    assert f"ses-2/anat/{subject}_ses-2_run-2_space-ses1FLAIR_desc-changeFLAIR_probseg.nii.gz" in found


def test_parquet_holds_the_pairs_of_all_patients_with_their_types(written: Inputs) -> None:
    table = pd.read_parquet(written.reports / "pairs.parquet")
    assert list(table.columns) == ["subject", *json_tsv.pair_columns()]
    told = [json.loads(path.read_text()) for path in sorted(written.reports.glob("sub-*/report.json"))]
    assert list(table.subject) == [report["subject"] for report in told for _ in report["pairs"]]
    assert list(table.change_z.fillna(0)) == [pair["change_z"] or 0 for report in told for pair in report["pairs"]]
    assert table.volume_ml.dtype == float
    assert "other_contrast" in {word for words in table.reasons for word in words}
