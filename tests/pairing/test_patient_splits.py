"""Patients are split, never scans, and nobody changes sides."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.errors import LeakageError
from siamese_med.pairing import patient_splits
from siamese_med.study.config import PairConfig
from tests.commands import ROOT

PEOPLE = [f"sub-{number:03d}" for number in range(80)]


def test_every_patient_gets_one_split_in_the_configured_shares() -> None:
    assigned = patient_splits.assign_splits(PEOPLE, {}, PairConfig(validation_share=0.25, test_share=0.25))
    assert sorted(assigned) == PEOPLE
    assert Counter(assigned.values()) == {"train": 40, "validation": 20, "test": 20}


def test_known_patients_never_change_sides_when_new_ones_arrive() -> None:
    before = patient_splits.assign_splits(PEOPLE[:11], {}, PairConfig())
    after = patient_splits.assign_splits(PEOPLE, before, PairConfig())
    assert {name: after[name] for name in before} == before


def test_known_patients_stay_although_the_shares_change() -> None:
    before = patient_splits.assign_splits(PEOPLE[:20], {}, PairConfig(validation_share=0.25, test_share=0.25))
    after = patient_splits.assign_splits(PEOPLE[:20], before, PairConfig(validation_share=0.05, test_share=0.05))
    assert after == before


def test_the_same_seed_gives_the_same_split_and_another_one_does_not() -> None:
    first = patient_splits.assign_splits(PEOPLE, {}, PairConfig(seed=1))
    assert patient_splits.assign_splits(reversed(PEOPLE), {}, PairConfig(seed=1)) == first
    assert patient_splits.assign_splits(PEOPLE, {}, PairConfig(seed=2)) != first


def test_a_patient_who_left_is_not_counted() -> None:
    assert patient_splits.assign_splits(["sub-b"], {"sub-a": "test"}, PairConfig()).keys() == {"sub-b"}


def test_without_the_files_that_the_documentation_names_everyone_is_split_anew(tmp_path: Path) -> None:
    table = tmp_path / "pairs.parquet"
    patient_splits.write_splits(table, dict.fromkeys(PEOPLE, "test"))
    (named,) = re.findall(r"To split everyone anew, delete (.*)\.\n", (ROOT / "docs" / "renewal.md").read_text())
    assert patient_splits.read_known_splits(table)
    for name in re.findall(r"`data/(.*?)`", named):
        (tmp_path / name).unlink(missing_ok=True)
    assert patient_splits.read_known_splits(table) == {}


@pytest.mark.parametrize(("a", "b"), [("sub-1", "sub-2"), ("sub-2", "sub-1")])
def test_a_patient_in_two_splits_is_a_leakage_error(a: str, b: str) -> None:
    pairs = pd.DataFrame({"subject_a": ["sub-1", a], "subject_b": ["sub-1", b], "split": ["train", "test"]})
    with pytest.raises(LeakageError) as caught:
        patient_splits.check_patient_leakage(pairs)
    assert "\n" not in str(caught.value)
    assert "sub-" not in str(caught.value)
