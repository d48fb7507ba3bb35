"""docs/settings.md is made from the configuration, and every setting says what it does."""

from __future__ import annotations

from siamese_med.study import settings_page
from siamese_med.study.config import SECTIONS
from tests.commands import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    made = settings_page.document_settings()
    assert made == PAGE, "run `python -m siamese_med.study.settings_page > docs/settings.md`"


def test_every_setting_is_on_the_page_and_says_what_it_does() -> None:
    fields = {f"{name}.{key}": field for name, one in SECTIONS.items() for key, field in one.model_fields.items()}
    assert [key for key in fields if f"\n| `{key}` | " not in PAGE] == []
    assert [key for key, field in fields.items() if not field.description] == []
