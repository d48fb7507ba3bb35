"""Which scans meet in a batch."""

from __future__ import annotations

import numpy as np

from siamese_med.training import batch_sampling

LABELS = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
"""Patient 0 has three scans, 1 two, the others one."""


def test_a_batch_holds_each_scan_once_and_always_two_scans_of_somebody() -> None:
    for batch in batch_sampling.sample_by_patient(LABELS, 4, 2, 50, np.random.default_rng(0)):
        patients = np.asarray(LABELS)[batch.scans]
        assert len(set(batch.scans.tolist())) == len(batch.scans)
        assert len(set(patients.tolist())) == 4
        assert np.bincount(patients).max() == 2


def test_every_patient_weighs_the_same_whether_he_has_two_scans_or_forty() -> None:
    labels = [0] * 40 + [n for n in range(1, 10) for _ in range(2)]
    drawn = [
        labels[s]
        for b in batch_sampling.sample_by_patient(labels, 4, 2, 300, np.random.default_rng(0))
        for s in b.scans
    ]
    share = np.bincount(drawn) / len(drawn)
    assert 0.07 < share[0] < 0.13


def test_explicit_pairs_point_at_the_pairs_that_were_given() -> None:
    same, different = [(0, 1), (3, 4)], [(0, 3), (1, 5), (2, 6)]
    for batch in batch_sampling.sample_by_pairs(same, different, 8, 20, np.random.default_rng(0)):
        assert batch.pairs is not None
        a, p, b, n = (batch.scans[places] for places in batch.pairs)
        assert set(zip(a.tolist(), p.tolist(), strict=True)) <= set(same)
        assert set(zip(b.tolist(), n.tolist(), strict=True)) <= set(different)
        assert len(a) == len(b) == 2
