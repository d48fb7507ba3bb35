"""Contrasts that look alike by one word and are not: the name of a series weighed against how it was acquired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from siamese_med.ingestion.agent_words import names_agent
from siamese_med.ingestion.series_contrast import Times, classify_series_contrast
from siamese_med.pairing.pair_table import build_same_patient_pairs
from siamese_med.study.vocabulary import PairKind
from tests.ingestion import exports
from tests.ingestion.conftest import Place

NO_TIMES = (None, None, None)


@pytest.mark.parametrize(
    ("description", "times", "sequence", "expected"),
    [
        ("T2 STIR", NO_TIMES, "", "STIR"),
        ("T1 STIR", NO_TIMES, "", "STIR"),
        ("t2_tirm_cor", (4000.0, 60.0, 150.0), "IR", "STIR"),
        ("SAG IR", (4000.0, 30.0, 160.0), "SE IR", "STIR"),
        ("T2 fast", (5000.0, 60.0, 220.0), "SE IR", "STIR"),
        ("", (4000.0, 20.0, 160.0), "IR", "STIR"),
        ("3D T1", (8.0, 3.0, 200.0), "GR", "T1w"),  # a gradient echo nulls no fat so
        ("tirm tra", (9000.0, 90.0, 2500.0), "IR", "FLAIR"),
        ("t1_tirm_tra_dark-fluid", (2000.0, 9.0, 860.0), "IR", "T1w"),
        ("t1_tse_dark-fluid", NO_TIMES, "", "T1w"),
        ("Sag FLAIR", (2200.0, 9.0, 860.0), "IR", "T1w"),
        ("AX T1", (5000.0, 95.0, None), "SE", "unknown"),  # the image is asked
        ("T2 GRE", NO_TIMES, "", "T2starw"),
        ("AX T2", (600.0, 20.0, None), "GR", "T2starw"),
        ("3DT1 MPR", NO_TIMES, "", "T1w"),
        ("3D DIR", (7500.0, 300.0, 3000.0), "IR", "DIR"),
        ("T1 PSIR", NO_TIMES, "", "PSIR"),
        ("T1 SE MTC", NO_TIMES, "", "MTw"),
        ("T1 SE", (600.0, 12.0, None), "SE MTC", "MTw"),
        ("3D TOF", (25.0, 4.0, None), "GR MTC", "MRA"),
        ("ep2d_diff_ADC", NO_TIMES, "EP", "ADC"),
        ("ep2d_diff_TRACEW", NO_TIMES, "EP", "dwi"),
        ("dti_FA", NO_TIMES, "EP", "FA"),
        ("mp2rage_T1_Images", NO_TIMES, "GR IR", "T1map"),
        ("QSM", NO_TIMES, "", "Chimap"),
        ("relCBF", NO_TIMES, "", "CBF"),
        ("t1_vibe_dixon_tra_F", NO_TIMES, "GR", "fat"),
        ("t1_vibe_dixon_opp", NO_TIMES, "GR", "opposed"),
        ("FAT: Ax T1 Flex", NO_TIMES, "GR", "fat"),
        ("t1_vibe_dixon_tra_W", NO_TIMES, "GR", "T1w"),
        ("T1 zonder contrast", NO_TIMES, "", "T1w"),
        ("T1 bez KM", NO_TIMES, "", "T1w"),
        ("T1 non-enhanced", NO_TIMES, "", "T1w"),
        ("T1 Clariscan", NO_TIMES, "", "T1wCE"),
    ],
)
def test_what_is_said_is_weighed_against_the_timing(
    description: str, times: Times, sequence: str, expected: str
) -> None:
    assert classify_series_contrast("MR", description, times, sequence) == expected


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"), "ADC"),
        (("DERIVED", "PRIMARY", "F", "F", "DERIVED"), "fat"),
        (("DERIVED", "PRIMARY", "DIXON", "WATER"), "T1w"),
        (("ORIGINAL", "PRIMARY", "OPP_PHASE"), "opposed"),
        (("ORIGINAL", "PRIMARY", "IN_PHASE"), "T1w"),
        (("DERIVED", "PRIMARY", "T1 MAP"), "T1map"),
    ],
)
def test_image_type_counts_before_the_description(image_type: tuple[str, ...], expected: str) -> None:
    assert classify_series_contrast("MR", "t1 axial", NO_TIMES, image_type=image_type) == expected


@pytest.mark.parametrize(
    ("description", "protocol", "agent", "expected"),
    [
        ("AX T1", "BRAIN T2 FLAIR DWI", "", "T1w"),  # the protocol may be that of the whole examination
        ("AX T1", "BRAIN WITH CONTRAST", "", "T1w"),
        ("AX T1", "BRAIN W/WO CONTRAST", "Gadavist", "T1wCE"),
        ("T1 pre and post", "", "Gadavist", "T1wCE"),
        ("T1 PRE", "", "Gadavist", "T1w"),
        ("", "AX T1 GAD", "", "T1wCE"),
        ("AX T1", "", "no contrast", "T1w"),
    ],
)
def test_a_protocol_counts_where_the_description_says_nothing(
    description: str, protocol: str, agent: str, expected: str
) -> None:
    assert classify_series_contrast("MR", description, NO_TIMES, agent=agent, protocol=protocol) == expected


@pytest.mark.parametrize(
    "agent", ["", "-", "N/A", "keine", "OHNE KM", "0 ml", "Contrast: no", "GAD (NO)", "UNENHANCED", "not administered"]
)
def test_words_for_no_agent(agent: str) -> None:
    assert not names_agent(agent)


@pytest.mark.parametrize("agent", ["Y", "Gadolinium", "10 ml Dotarem", "0.1 mmol/kg", "IV"])
def test_words_for_an_agent(agent: str) -> None:
    assert names_agent(agent)


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def _enhanced(description: str, seconds: Sequence[float], **tags: object) -> Dataset:
    """An enhanced file with its timing (repetition, echo, inversion in ms) in functional groups."""
    dataset = exports.enhanced()
    dataset.SeriesDescription, dataset.EchoPulseSequence = description, "SPIN"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=seconds[0])]
    shared.MREchoSequence = [_item(EffectiveEchoTime=seconds[1])]
    if len(seconds) > 2:
        shared.MRModifierSequence = [_item(InversionRecovery="YES", InversionTimes=[seconds[2]])]
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("description", "times", "administered", "expected"),
    [
        ("WIP SAG", (500.0, 12.0), "", "T1w"),
        ("WIP SAG", (500.0, 12.0), "YES", "T1wCE"),
        ("AX T1", (500.0, 12.0), "YES", "T1wCE"),
        ("AX T1", (500.0, 12.0), "NO", "T1w"),
        ("T2 cor", (4000.0, 60.0, 160.0), "", "STIR"),
        ("FLAIR", (2000.0, 9.0, 860.0), "", "T1w"),
    ],
)
def test_enhanced_files_tell_timing_and_agent(
    place: Place, tmp_path: Path, description: str, times: Sequence[float], administered: str, expected: str
) -> None:
    dataset = _enhanced(description, times)
    if administered:
        dataset.ContrastBolusAgentSequence = [_item(CodeMeaning="Gadobutrol")]
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.ContrastBolusUsageSequence = [_item(ContrastBolusAgentAdministered=administered)]
    exports.write(tmp_path / "in", [dataset])
    (scan,) = place.ingest(tmp_path / "in").scans.itertuples()
    assert (scan.contrast, scan.contrast_source) == (expected, "header")


def test_fat_suppressed_scans_are_paired_with_each_other(place: Place, tmp_path: Path) -> None:
    for visit, day in enumerate(("20200101", "20210101")):
        for number, options in enumerate((["FS"], ["PFP"])):
            tags = {"StudyDate": day, "ScanOptions": options, "StudyInstanceUID": f"1.2.{visit}"}
            tags |= {"AcquisitionTime": f"10{number}000"}
            series = exports.series("P", 10 * visit + number, **tags)
            exports.write(tmp_path / "in" / f"{visit}{number}", series)
    scans = place.ingest(tmp_path / "in").scans
    fat = dict(zip(scans["id"], ["fat_suppressed" in flags for flags in scans["flags"]], strict=True))
    pairs = list(build_same_patient_pairs(scans, 1))
    assert sorted(fat[row["scan_a"]] for row in pairs) == [False, True]
    assert all(fat[row["scan_a"]] == fat[row["scan_b"]] for row in pairs)


def test_fat_suppressed_with_plain_is_no_rescan(place: Place, tmp_path: Path) -> None:
    for number, options in enumerate((["FS"], ["PFP"])):
        tags = {"ScanOptions": options, "StudyInstanceUID": "1.2.3", "AcquisitionTime": f"10{number}000"}
        exports.write(tmp_path / "in" / str(number), exports.series("P", number, **tags))
    (pair,) = build_same_patient_pairs(place.ingest(tmp_path / "in").scans, 1)
    assert pair["kind"] == PairKind.FOLLOW_UP


def _write_nifti(folder: Path, name: str, seed: int, **sidecar: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, (12, 12, 12)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")
    (folder / f"{name}.json").write_text(json.dumps(sidecar))


@pytest.mark.parametrize(
    ("name", "sidecar", "expected", "flags"),
    [
        ("sub-1_FLAIR", {"RepetitionTime": 2.0, "EchoTime": 0.009, "InversionTime": 0.86}, "T1w", []),
        ("sub-1_T2w", {"RepetitionTime": 4.0, "EchoTime": 0.06, "InversionTime": 0.15}, "STIR", []),
        ("sub-1_T1w", {"ScanOptions": "PFP_FS"}, "T1w", ["fat_suppressed"]),
        ("sub-1_acq-fs_T1w", {}, "T1w", ["fat_suppressed"]),
        ("sub-1_T2w", {"RepetitionTime": 4.0, "EchoTime": 0.1}, "T2w", []),
        ("sub-1_acq-x_STIR", {}, "STIR", []),
        ("sub-1_T1map", {}, "T1map", []),
    ],
)
def test_side_cars_are_weighed_against_names(
    place: Place, tmp_path: Path, name: str, sidecar: dict[str, object], expected: str, flags: list[str]
) -> None:
    _write_nifti(tmp_path / "sub-1", name, 1, **sidecar)
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert (scan.contrast, [flag for flag in scan.flags if flag != "date_unknown"]) == (expected, flags)


def test_an_echo_is_paired_with_the_same_echo_of_the_other_visit(place: Place, tmp_path: Path) -> None:
    for visit in range(2):
        for echo in range(3):
            name = f"sub-1_ses-{visit + 1}_echo-{echo + 1}_T2starw"
            _write_nifti(tmp_path / "sub-1" / f"ses-{visit + 1}", name, 10 * visit + echo, EchoTime=0.01 * (echo + 1))
    scans = place.ingest(tmp_path).scans
    known = {row.id: (row.session, row.protocol) for row in scans.itertuples()}
    across = [
        (known[row["scan_a"]], known[row["scan_b"]])
        for row in build_same_patient_pairs(scans, 1)
        if known[row["scan_a"]][0] != known[row["scan_b"]][0]
    ]
    assert len(across) == 3
    assert all(one[1] == other[1] for one, other in across)
