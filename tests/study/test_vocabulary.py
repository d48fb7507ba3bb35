"""Words of closed vocabularies are text: they are written, compared and looked up as such."""

from __future__ import annotations

import json
import pickle

import pandas as pd
import pytest

from siamese_med.ingestion import reasons
from siamese_med.reporting.data import verdicts
from siamese_med.study import vocabulary
from siamese_med.study.vocabulary import ComponentKind, NotComparable, PairKind, ScanFlag, Verdict, Word

VOCABULARIES = [
    found
    for found in vars(vocabulary).values()
    if isinstance(found, type) and issubclass(found, Word) and len(list(found))
]
WORDS = [word for found in VOCABULARIES for word in found]


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_a_word_is_written_as_its_value(word: Word) -> None:
    assert (str(word), f"{word}", json.loads(json.dumps(word))) == (word.value,) * 3
    assert type(str(word)) is str
    assert pickle.loads(pickle.dumps(word)) is word
    assert type(word).find_member(word.value) is word


def test_a_frame_is_filtered_by_words() -> None:
    kinds = pd.Series(["rescan", "different", None])
    assert (kinds == PairKind.RESCAN).tolist() == [True, False, False]
    assert kinds.isin(vocabulary.SAME_PATIENT).tolist() == [True, False, False]


def test_every_reason_is_explained_and_an_unknown_one_is_told_as_it_is() -> None:
    assert all(vocabulary.explain_reason(word) == word.explanation != "" for word in NotComparable)
    assert vocabulary.explain_reason("no_such_reason") == "no such reason"


def test_time_backwards_twice_is_time_forwards() -> None:
    assert [kind.reversed.reversed for kind in ComponentKind] == list(ComponentKind)
    assert ComponentKind.NEW.reversed is ComponentKind.VANISHED


def test_every_verdict_has_a_status_and_every_flag_a_meaning() -> None:
    assert {str(verdict) for verdict in Verdict} <= verdicts.STATUSES.keys()
    assert {str(flag): flag.explanation for flag in ScanFlag} == reasons.SCAN_FLAGS
