"""Write findings and methods as a plain text file beside a patient's page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.reporting.data.text_content import ReportText

LINE_WIDTH = 100
"""Longest line of the file, in characters."""


def format_report_text(text: ReportText) -> str:
    """Format findings, methods and references as plain text, with lines of at most LINE_WIDTH characters.

    Examples
    --------
    >>> from siamese_med.reporting.data.text_content import ReportText
    >>> text = ReportText("One changed.", "By 2 ml.", "None left out.", "Compared [1].", ("Hommel 1988.",), "Research.")
    >>> print(format_report_text(text), end="")
    Findings
    One changed. By 2 ml. None left out.
    Research.
    <BLANKLINE>
    Methods
    Compared [1].
    <BLANKLINE>
    References
    1. Hommel 1988.
    """
    blocks = [
        ["Findings", f"{text.change} {text.amount} {text.limits}", text.notice],
        ["Methods", text.methods],
        ["References", *(f"{number}. {one}" for number, one in enumerate(text.references, start=1))],
    ]
    return "\n\n".join("\n".join(_wrap(line) for line in block) for block in blocks) + "\n"


def _wrap(line: str) -> str:
    return textwrap.fill(line, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)
