"""docs/reasons.md is made from the words that ingest gives to files and scans, and has every one of them."""

from __future__ import annotations

from siamese_med.ingestion import reasons_page
from siamese_med.ingestion.reasons import REASON_HINTS, SCAN_FLAGS
from tests.commands import ROOT

PAGE = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    made = reasons_page.document_reasons()
    assert made == PAGE, "run `python -m siamese_med.ingestion.reasons_page > docs/reasons.md`"


def test_every_word_is_on_the_page_once() -> None:
    assert [word for word in (*REASON_HINTS, *SCAN_FLAGS) if PAGE.count(f"\n| `{word}` | ") != 1] == []
