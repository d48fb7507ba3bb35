"""The text of a patient's report that a reader pastes into a report of their own, as data; see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportText:
    """Findings in three sentences, and the methods with their references; plain text without special spaces.

    `change`: what changed between which visits. `amount`: how much, whether that is beyond a rescan, and what could
    have been missed. `limits`: what was left out or is uncertain. `references` are numbered from 1, as `methods` cites
    them. `notice` belongs to every copy.
    """

    change: str
    amount: str
    limits: str
    methods: str
    references: tuple[str, ...]
    notice: str
