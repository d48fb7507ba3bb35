"""Similarity by interval, scanner and contrast, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from siamese_med.scoring.identity import strata
from siamese_med.scoring.identity.verification_metrics import ScanPairs
from siamese_med.study.model_metrics import GroupSimilarity, SimilarityStrata

SCANS = pd.DataFrame(
    [
        ("a", "2020-01-01", "scanner-1", "T1w"),
        ("a", "2020-01-20", "scanner-1", "T1w"),
        ("a", "2021-06-01", "scanner-2", "FLAIR"),
        ("b", None, "unknown", "T1w"),
    ],
    columns=["subject", "date", "scanner", "contrast"],
)
SIMILARITY = np.array([0.9, 0.8, 0.1, 0.7, 0.2, 0.3])
"""Of the pairs 01, 02, 03, 12, 13, 23."""


@pytest.fixture
def found() -> SimilarityStrata:
    return strata.summarise_by_group(SCANS, ScanPairs(list(SCANS.subject)), SIMILARITY, threshold=0.75)


def groups(rows: tuple[GroupSimilarity, ...]) -> dict[tuple[object, object], object]:
    return {(row.group, row.kind): row.pairs for row in rows}


def test_only_pairs_of_one_patient_with_dates_have_an_interval(found: SimilarityStrata) -> None:
    assert groups(found.interval) == {("up to 1 month", "same"): 1, ("1 to 2 years", "same"): 2}
    assert [row.group for row in found.interval] == ["up to 1 month", "1 to 2 years"], "in the order of time"


def test_every_pair_is_in_one_group_of_scanners_and_one_of_contrasts(found: SimilarityStrata) -> None:
    assert groups(found.scanner) == {
        ("same scanner", "same"): 1,
        ("other scanner", "same"): 2,
        ("scanner unknown", "different"): 3,
    }
    assert groups(found.contrast) == {
        ("T1w", "same"): 1,
        ("T1w", "different"): 2,
        ("FLAIR and T1w", "same"): 2,
        ("FLAIR and T1w", "different"): 1,
    }


def test_a_group_has_its_median_its_spread_and_the_share_over_the_threshold(
    found: SimilarityStrata,
) -> None:
    row = next(row for row in found.scanner if row.group == "other scanner")
    assert row.median == pytest.approx(0.75)
    assert (row.low, row.high) == pytest.approx((0.705, 0.795))
    assert row.accepted == 0.5
