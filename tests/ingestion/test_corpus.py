"""The open corpus, where it is there: every case as expected, and all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import corpus
from tests.ingestion import children
from tests.ingestion.conftest import Place

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus at ../shared/corpus")


@pytest.mark.long
def test_every_case_is_as_expected() -> None:
    with children.kept():
        results = corpus.run(CORPUS)
    assert not [one for one in results if one.problems], corpus.table(results)


def test_all_at_once_every_file_is_accounted_for(place: Place) -> None:
    ingested = place.ingest(CORPUS)
    assert ingested.account.files_seen == sum(path.is_file() for path in CORPUS.rglob("*"))
    assert place.account() == ingested.account


def test_nothing_of_the_private_case_comes_through(place: Place) -> None:
    place.ingest(CORPUS / "private_phi")
    for path in place.data.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in (b"Doe", b"Jane", b"MRN123456", b"19610203", b"private_phi"):
            assert word not in content + str(path.relative_to(place.data)).encode()
