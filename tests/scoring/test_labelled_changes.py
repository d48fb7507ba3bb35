"""The change score against what a study says itself."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.scoring.change import labelled_changes
from siamese_med.scoring.change.labelled_changes import LabelledPair


def test_scores_that_rank_as_the_labels_do_agree_fully_and_chance_by_half() -> None:
    rng = np.random.default_rng(0)
    changed = rng.random(200) < 0.4
    right = [LabelledPair(f"p{n % 50}", bool(one), float(one) + n * 1e-6) for n, one in enumerate(changed)]
    found = labelled_changes.measure_label_agreement(right, 0)
    assert found is not None
    assert (found.auc.value, found.auc.low, found.auc.high) == pytest.approx((1, 1, 1))
    assert (found.changed, found.unchanged, found.patients) == (changed.sum(), (~changed).sum(), 50)
    chance = labelled_changes.measure_label_agreement(
        [LabelledPair(one.subject, one.changed, rng.random()) for one in right], 0
    )
    assert chance is not None
    assert chance.auc.low < 0.5 < chance.auc.high


def test_patients_and_not_pairs_are_drawn() -> None:
    rng = np.random.default_rng(1)
    once = [LabelledPair(f"p{n}", n % 2 == 0, rng.normal(n % 2 == 0)) for n in range(30)]
    found, often = (
        labelled_changes.measure_label_agreement(once, 0),
        labelled_changes.measure_label_agreement(once * 10, 0),
    )
    assert found is not None
    assert often is not None
    assert often.auc.low == pytest.approx(found.auc.low)


def test_one_kind_of_pair_alone_has_no_figure() -> None:
    assert labelled_changes.measure_label_agreement([LabelledPair("p", True, 1.0)], 0) is None
    assert labelled_changes.measure_label_agreement([], 0) is None
