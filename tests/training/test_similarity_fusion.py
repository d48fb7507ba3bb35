"""The share of the edges in the distance: never worse than the better part alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from siamese_med.scoring.identity import verification_metrics
from siamese_med.scoring.identity.verification_metrics import ScanPairs
from siamese_med.training.similarity_fusion import choose_edge_share, measure_scale

Values = NDArray[np.float64]


SUBJECTS = [f"sub-{scan // 3}" for scan in range(36)]


def distances(rng: np.random.Generator, pairs: ScanPairs, gap: float) -> Values:
    """Distances (n, n) of all scans: 1, and `gap` less for scans of one patient, with noise."""
    found = np.zeros((len(pairs.subjects), len(pairs.subjects)))
    found[pairs.places] = np.where(pairs.same, 1.0 - gap, 1.0) + 0.1 * rng.standard_normal(len(pairs.same)).clip(-3, 3)
    return found + found.T


def auc(apart: Values, pairs: ScanPairs) -> float:
    false, true = verification_metrics.compute_roc(-apart[pairs.places], pairs.same, np.ones(len(pairs.same)))[:2]
    return float(np.trapezoid(true, false))


@pytest.mark.parametrize("gaps", [(0.0, 0.3), (0.3, 0.0), (0.2, 0.2), (0.1, 0.25)])
def test_both_parts_together_are_as_good_as_the_better_one_on_other_patients(gaps: tuple[float, float]) -> None:
    rng, pairs = np.random.default_rng(1), ScanPairs(SUBJECTS)
    known, unseen = ([distances(rng, pairs, gap) for gap in gaps] for _ in range(2))
    share = choose_edge_share(known[0], known[1], pairs)
    fused = np.sqrt((1 - share) * unseen[0] ** 2 + share * unseen[1] ** 2)
    assert auc(fused, pairs) >= max(auc(part, pairs) for part in unseen) - 0.01


def test_a_part_that_tells_nothing_has_no_share() -> None:
    rng, pairs = np.random.default_rng(2), ScanPairs(SUBJECTS)
    noise, clear = distances(rng, pairs, 0.0), distances(rng, pairs, 0.5)
    assert choose_edge_share(noise, clear, pairs) == 1.0
    assert choose_edge_share(clear, noise, pairs) <= 0.1


def test_with_few_patients_the_edges_decide_alone() -> None:
    rng, pairs = np.random.default_rng(3), ScanPairs(SUBJECTS[:12])
    assert choose_edge_share(distances(rng, pairs, 0.5), distances(rng, pairs, 0.1), pairs) == 1.0


def test_the_learned_part_is_measured_in_the_unit_of_the_edges() -> None:
    same = np.array([True, False, False])
    assert measure_scale(np.array([0.1, 4.0, 6.0]), np.array([0.2, 1.0, 1.0]), same) == pytest.approx(5.0)
    assert measure_scale(np.zeros(3), np.ones(3), same) == 1.0
