"""A rescan repeats the protocol: what it does not repeat is a difference of the images, not of the patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from siamese_med.ingestion.inputs.bids_metadata import read_sidecar
from siamese_med.pairing.pair_table import build_same_patient_pairs
from siamese_med.study.vocabulary import PairKind
from tests.ingestion import exports
from tests.ingestion.conftest import Place


def _series(folder: Path, number: int, **tags: Any) -> None:
    both = {"StudyInstanceUID": "1.2.3", "SeriesNumber": number, "AcquisitionTime": f"10{number}500"}
    exports.write(folder / str(number), exports.series("P", number, **{**both, **tags}))


@pytest.mark.parametrize(
    "tags",
    [
        [{"SeriesDescription": "t1_vibe", "FlipAngle": flip, "RepetitionTime": 5, "EchoTime": 2} for flip in (2, 15)],
        [{"SeriesDescription": f"DWI b{b}", "RepetitionTime": 4000, "EchoTime": 90} for b in (0, 1000)],
        [{"SeriesDescription": "DWI", "DiffusionBValue": b, "RepetitionTime": 4000} for b in (0.0, 1000.0)],
    ],
)
def test_flip_angle_and_b_value_belong_to_the_protocol(
    place: Place, tmp_path: Path, tags: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(tags):
        _series(tmp_path / "in", number, **one)
    scans = place.ingest(tmp_path / "in").scans
    assert scans["protocol"].nunique() == 2
    assert not list(build_same_patient_pairs(scans, 1))


def test_the_flip_angle_of_a_long_repetition_keeps_the_protocol(place: Place, tmp_path: Path) -> None:
    for number, flip in enumerate((8, 9)):
        _series(tmp_path / "in", number, SeriesDescription="MPRAGE", FlipAngle=flip, RepetitionTime=2300, EchoTime=3)
    assert place.ingest(tmp_path / "in").scans["protocol"].nunique() == 1


def test_side_cars_tell_the_flip_angle_too(tmp_path: Path) -> None:
    told = {"RepetitionTime": 0.005, "EchoTime": 0.002, "FlipAngle": 15}
    (tmp_path / "x.json").write_text(json.dumps(told))
    assert read_sidecar(tmp_path / "x.nii.gz", "x").protocol == ("5", "2", "", "flip 15")


def _pet(folder: Path, number: int, tracer: str, description: str) -> None:
    tags = {"StudyDate": f"2021030{4 + number}", "Modality": "PT", "SeriesDescription": description}
    slices = exports.series("P", number, AcquisitionTime="101500", ImageType=["ORIGINAL", "PRIMARY"], **tags)
    item = Dataset()
    item.Radiopharmaceutical = tracer
    for one in slices:
        exports.of_class("1.2.840.10008.5.1.4.1.1.128", one)
        one.RadiopharmaceuticalInformationSequence = [item]
    exports.write(folder / str(number), slices)


@pytest.mark.parametrize(
    ("tracers", "descriptions", "expected"),
    [
        (("Fluorodeoxyglucose", "Florbetapir F-18"), ("Brain", "Brain"), {"FDG", "florbetapir"}),
        (("", ""), ("ADNI Brain PET: FDG", "ADNI Brain PET: AV45"), {"FDG", "florbetapir"}),
        (("", ""), ("Brain AC", "Brain AC"), {"PET"}),
    ],
)
def test_two_tracers_are_two_contrasts(
    place: Place, tmp_path: Path, tracers: tuple[str, str], descriptions: tuple[str, str], expected: set[str]
) -> None:
    for number in range(2):
        _pet(tmp_path / "in", number, tracers[number], descriptions[number])
    scans = place.ingest(tmp_path / "in").scans
    assert (set(scans["contrast"]), set(scans["modality"])) == (expected, {"PT"})
    assert {row["kind"] for row in build_same_patient_pairs(scans, 1)} <= {PairKind.FOLLOW_UP}


def test_bids_names_and_side_cars_tell_the_tracer(place: Place, tmp_path: Path) -> None:
    names = {"sub-1_ses-1_trc-18FFDG_pet": {}, "sub-1_ses-2_pet": {"TracerName": "FDG"}, "sub-1_ses-3_trc-AV45_pet": {}}
    for number, (name, told) in enumerate(names.items()):
        path = tmp_path / "in" / "sub-1" / f"{name}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = np.random.default_rng(number).integers(0, 900, (12, 12, 12)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
        path.with_suffix(".json").write_text(json.dumps(told))
    scans = place.ingest(tmp_path / "in").scans
    assert sorted(scans["contrast"]) == ["FDG", "FDG", "florbetapir"]
    assert set(scans["modality"]) == {"PT"}
