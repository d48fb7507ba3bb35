"""Pages, messages and docstrings keep to plain words: a patient is never 'he', and no private metaphor comes back.

It finds words, not style. `tests/test_documentation.py` measures how long sentences are.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.commands import ROOT

PRIVATE_WORDS = re.compile(
    r"\b(he(?! et al)|his|him|himself|whoever|strangers?|for want of|held against|lies? doubtfully|nobody's"
    r"|asks? for a look|laid on (each other|it|one another)|a matter of words|invents? secrets|does no harm"
    r"|costs by what|(model|detector|network|pair|edge|header)s? (speaks?|knows?))\b",
    re.IGNORECASE,
)
LIMITS = re.compile(
    r"\b(LEAST|MOST)_[A-Z]|^(UNTOLD|ELSEWHERE|NOISIER|BEYOND|UNLIKE|TALKATIVE|PASSING|STRANGER)\b", re.MULTILINE
)
"""Names of limits that are no standard: MIN_ and MAX_ are."""
TEXTS = ("*.md", "mkdocs.yml", "siamese_med/*.py", "siamese_med/*.j2", "flows/*.py")


def tracked(*patterns: str) -> dict[str, str]:
    """The text of each tracked file, by name; no vendored script, and no report that was written before."""
    command = ["git", "ls-files", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    kept = [name for name in names if "/vendor/" not in name and not name.startswith("reports/")]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in kept if (ROOT / name).is_file()}


def test_words_are_plain() -> None:
    texts = tracked(*TEXTS)
    assert len(texts) > 300
    found = {name: sorted({hit[0] for hit in PRIVATE_WORDS.finditer(text)}) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_limits_are_named_min_and_max() -> None:
    texts = tracked("*.py")
    found = [name for name, text in texts.items() if LIMITS.search(text)]
    assert found == ["tests/architecture/test_wording.py"]  # its own examples


@pytest.mark.parametrize("text", ["The model knows it.", "A patient and his scans", "It is held against rescans."])
def test_a_private_word_is_found(text: str) -> None:
    assert PRIVATE_WORDS.search(text)


@pytest.mark.parametrize("text", ["LEAST_UNIT = 1e-3", "NOISIER = 2"])
def test_a_private_name_is_found(text: str) -> None:
    assert LIMITS.search(text)


def test_plain_words_are_taken() -> None:
    assert not PRIVATE_WORDS.search(
        "The test of this chip: the history of her scans; a server does not speak DICOMweb."
    )
