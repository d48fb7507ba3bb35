"""Contrast words from names, descriptions and timing."""

from __future__ import annotations

import pytest

from siamese_med.ingestion import contrast, series_contrast


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-1_ses-2_T1w", "T1w"),
        ("study1_FLAIR", "FLAIR"),
        ("IXI012-HH-1211-T1_ds", "T1w"),
        ("ax T2 FLAIR fs", "FLAIR"),
        ("t2_tse_tra", "T2w"),
        ("3D TOF", "MRA"),
        ("Sag MPRAGE 1mm", "T1w"),
        ("ep2d_diff_3scan", "dwi"),
        ("patient T12 spine", "unknown"),
        ("export of monday", "unknown"),
        ("inplaneT2", "T2w"),
        ("sub-01_inplaneT2", "T2w"),
        ("study1_T1W", "T1w"),
        ("OAS1_0001_MR1_mpr-1_anon", "T1w"),
        ("20200101_axial_T1WI", "T1w"),
        ("brain_T1-weighted", "T1w"),
        ("T1_map", "T1map"),
        ("sub-01_T1map", "T1map"),
        ("BraTS-GLI-00001-000-t2f", "FLAIR"),
        ("BraTS-GLI-00001-000-t1n", "T1w"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert contrast.guess_contrast_from_name(name) == expected
    assert expected in contrast.CONTRASTS


@pytest.mark.parametrize(
    "name",
    [
        "T1post", "T1_post", "T1ce", "BraTS20_001_t1ce", "BraTS-GLI-00001-000-t1c", "t1gd", "T1+C", "T1 C+", "T1_KM",
        "T1wPost", "T1_SE_AX_POST", "CE_T1", "t1_mprage_sag_p2_iso_Gd", "T1 with contrast", "ax T1 post gad",
        "T1_contrast", "sub-01_ce-GADOLINIUM_T1w", "sub-01_ses-pre_ce-gd_run-2_T1w", "T1 +",
        "3D T1 post contrast post op",
    ],
)  # fmt: skip
def test_names_of_enhanced_t1(name: str) -> None:
    assert contrast.guess_contrast_from_name(name) == "T1wCE"


@pytest.mark.parametrize(
    "name",
    [
        "T1_pre", "T1pre", "T1 w/o contrast", "T1_without_Gd", "T1 non-contrast", "noncontrast_T1", "T1_postop",
        "sub-01_ce-none_T1w", "sub-01_ses-post_T1w", "sub-post01_T1w", "post_T1", "T1_post_op", "post-surgery T1",
        "T1 posterior", "T1+T2", "T1 SENSE+", "T1 nativ", "T1_center", "T1_no_km",
    ],
)  # fmt: skip
def test_names_of_plain_t1(name: str) -> None:
    """Above all those that say `post` of something else, since a visit after an operation is no enhanced scan."""
    assert contrast.guess_contrast_from_name(name) == "T1w"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("FLAIR post Gd", "FLAIR"),
        ("T2 MPR cor", "T2w"),
        ("MPR cor", "unknown"),
        ("CE-MRA", "MRA"),
        ("POST T1", "T1wCE"),
    ],
)
def test_descriptions(description: str, expected: str) -> None:
    assert contrast.guess_contrast_from_text(description) == expected


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("study", "sub-1", "T1"), "T1w"),
        (("study", "T1post", "sub-1"), "T1wCE"),
        (("export", "5 - AX T2 FLAIR fs"), "FLAIR"),
        (("T1", "a", "b", "c"), "unknown"),  # too far from the file
        (("T1w", "FLAIR"), "FLAIR"),  # the nearest
        (("FLAIR study",), "unknown"),
        (("post",), "unknown"),
        (("",), "unknown"),
    ],
)
def test_folders(folders: tuple[str, ...], expected: str) -> None:
    assert contrast.guess_contrast_from_folders(folders) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((6000, 394, 2200), "FLAIR"),
        ((7.0, 2.8, 400), "T1w"),
        ((500, 12, None), "T1w"),
        ((4000, 100, None), "T2w"),
        ((3000, 15, None), "PDw"),
        ((None, 15, None), "unknown"),
        ((1500, 50, None), "unknown"),
    ],
)
def test_timing(times: tuple[float | None, float | None, float | None], expected: str) -> None:
    assert series_contrast.classify_series_contrast("MR", "", times) == expected


def test_computed_tomography_needs_no_timing() -> None:
    assert series_contrast.classify_series_contrast("CT", "brain T1", (None, None, None)) == "CT"
