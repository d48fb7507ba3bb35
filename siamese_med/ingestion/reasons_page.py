"""The reference of the words that ingest gives to files and scans, made from these words themselves.

`python -m siamese_med.ingestion.reasons_page` prints docs/reasons.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from siamese_med.ingestion.reasons import (
    DUPLICATE_REASONS,
    MACHINE_REASONS,
    QUARANTINED_REASONS,
    SCAN_FLAGS,
    SKIPPED_REASONS,
)

CONTENT_REASONS = {word: hint for word, hint in QUARANTINED_REASONS.items() if word not in MACHINE_REASONS}
"""Reasons that lie in the file itself, or in where it lies."""

TABLES: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    (
        "Files that cannot be used (quarantined)",
        "A series with one of these becomes no scan. No lost slice is filled in, and no tilted gantry is corrected.",
        "What it means, and what to do",
        CONTENT_REASONS,
    ),
    (
        "Files that could not be read this time",
        "The machine is the cause, not the file. They are quarantined too, and the next run tries them again.",
        "What it means, and what to do",
        MACHINE_REASONS,
    ),
    (
        "Files that are no scan (skipped, duplicate)",
        "Every hospital export has some of these.",
        "What it means, and what to do",
        {**SKIPPED_REASONS, **DUPLICATE_REASONS},
    ),
    (
        "Flags on scans",
        "A scan with a flag was read. [What follows from it](ingest.md#when-the-answer-is-doubtful).",
        "What it means",
        SCAN_FLAGS,
    ),
)  # fmt: skip


def document_reasons() -> str:
    """Return docs/reasons.md: a table of each kind of word.

    Examples
    --------
    >>> "| `gantry_tilt` | the slices are sheared" in document_reasons()
    True
    """
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield "# Reasons and flags"
    yield ""
    yield "Why a file became no scan, and what is said of one that did. This page is made by"
    yield "`python -m siamese_med.ingestion.reasons_page`. Your own files, with the reason of each:"
    yield "`ingest.html` in the reports folder."
    for title, introduction, column, words in TABLES:
        yield from ("", f"## {title}", "", introduction, "", f"| Word | {column} |", "|---|---|")
        for word, hint in words.items():
            text = hint.replace("*", "\\*")
            yield f"| `{word}` | {text} |"


if __name__ == "__main__":
    sys.stdout.write(document_reasons())
