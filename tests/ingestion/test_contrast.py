"""Contrast words from names, descriptions and timing."""

from __future__ import annotations

import pytest

from siamese_med.ingestion import contrast


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
    ],
)
def test_names(name: str, expected: str) -> None:
    assert contrast.guess_contrast_from_name(name) == expected
    assert expected in contrast.CONTRASTS


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
    assert contrast.classify_series_contrast("MR", "", times) == expected


def test_computed_tomography_needs_no_timing() -> None:
    assert contrast.classify_series_contrast("CT", "brain T1", (None, None, None)) == "CT"
