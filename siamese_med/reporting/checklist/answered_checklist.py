"""A reporting checklist with what siamese-med knows in each item, and what is left for the authors to write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from siamese_med.runtime.terminal_text import make_printable
from siamese_med.study.vocabulary import Word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siamese_med.reporting.checklist.checklist_item import ChecklistItem, ReportingGuideline
    from siamese_med.reporting.checklist.model_facts import Facts

ALL_OF_IT = "all of it: nothing was recorded that answers this"
"""Remaining part of an item that siamese-med can answer, where the model folder or the study does not say it."""
MARKUP = re.compile(r"([`\[\]<>|])")
"""Signs that Markdown or HTML would obey; file contents reach the text."""


class ItemState(Word):
    """Extent to which an item is filled in."""

    FILLED = "filled"
    IN_PART = "in_part"
    TO_WRITE = "to_write"


@dataclass(frozen=True)
class AnsweredItem:
    """An item, the sentences that siamese-med has for it, and what is left to write; empty where nothing is."""

    item: ChecklistItem
    known: tuple[str, ...]
    to_write: str

    @property
    def state(self) -> ItemState:
        """Return how far the item is filled in."""
        if not self.known:
            return ItemState.TO_WRITE
        return ItemState.IN_PART if self.to_write else ItemState.FILLED


def answer_items(guideline: ReportingGuideline, facts: Facts) -> tuple[AnsweredItem, ...]:
    """Fill in a guideline.

    Parameters
    ----------
    guideline
        The items.
    facts
        Sentences by topic, of the model and the study together.
    """
    answers = []
    for item in guideline.items:
        known = tuple(_clean(text) for topic in item.topics for text in facts.get(topic, ()))
        answers.append(AnsweredItem(item, known, item.remains or ("" if known else ALL_OF_IT)))
    return tuple(answers)


def list_answers(guideline: ReportingGuideline, answers: Sequence[AnsweredItem]) -> Mapping[str, object]:
    """List a filled-in checklist for JSON: the guideline, its items, and how many are filled, in part or to write."""
    states = [answer.state for answer in answers]
    return {
        "guideline": guideline.name,
        "source": guideline.source,
        **{str(state): states.count(state) for state in ItemState},
        "items": [
            {
                "number": one.item.number,
                "section": one.item.section,
                "asks": one.item.asks,
                "state": str(one.state),
                "known": list(one.known),
                "to_write": one.to_write or None,
            }
            for one in answers
        ],
    }


def format_checklist(guideline: ReportingGuideline, answers: Sequence[AnsweredItem], model: str) -> str:
    """Format a filled-in checklist as Markdown, each item with what is known and what is left to write.

    Parameters
    ----------
    guideline, answers
        The guideline and its filled-in items.
    model
        Id of the model, which stands in the heading.
    """
    states = [answer.state for answer in answers]
    lines = [
        f"# {guideline.name}: model {_escape(model)}",
        "",
        f"{len(answers)} items: {states.count(ItemState.FILLED)} filled in, {states.count(ItemState.IN_PART)} in part, "
        f"{states.count(ItemState.TO_WRITE)} for you to write. Items are in short and in our words; the text that "
        "counts is the published one:",
        "",
        guideline.source,
    ]
    for section, group in groupby(answers, key=lambda one: one.item.section):
        lines += ["", f"## {section}"]
        for one in group:
            lines += ["", f"**{one.item.number}. {one.item.asks}**", ""]
            lines += [f"- {_escape(text)}" for text in one.known]
            lines += [f"- *For you to write:* {one.to_write}."] if one.to_write else []
    return "\n".join(lines) + "\n"


def _clean(text: str) -> str:
    return make_printable(" ".join(text.split()))


def _escape(text: str) -> str:
    return MARKUP.sub(r"\\\1", text)
