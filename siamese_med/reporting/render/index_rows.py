"""The rows of the index: what stands in each cell, and the further rows of a large study as data for the page's script.

The page of ten thousand patients would take 7 MB and five seconds to open if all rows were HTML. The first LISTED_ROWS
are; the others are lists in a block of JSON, of which the script makes the same rows once they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siamese_med.reporting import formatting
from siamese_med.reporting.data import verdicts
from siamese_med.study.contrasts import join_contrasts
from siamese_med.study.vocabulary import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siamese_med.reporting.data.cohort_index import CohortRow
    from siamese_med.reporting.data.report_content import PatientHeadline

LISTED_ROWS = 200
"""Rows that are HTML. The script shows as many at once (`MOST` in page.js)."""

IndexCell = tuple[str, float | None, str]
"""Text, the number by which it is sorted where that is not the text, and the classes of its column."""
NotePart = tuple[str, bool]
"""Text of a note, and whether it is about something that is missing."""


def list_row_cells(row: CohortRow, largest_tested_ml: float) -> list[IndexCell]:
    """List the cells of a patient's row after name and verdict, in the order of the table's columns.

    `largest_tested_ml`: the largest change, in ml, whose detection was tested. p is that corrected for all pairs of the
    newest visit. Where it is uncertain whether anything changed, there is no volume.
    """
    limit = formatting.detectable(row.smallest_detectable_ml, largest_tested_ml, row.change_z)
    p = row.change_p if row.change_p_adjusted is None else row.change_p_adjusted
    volume_ml = None if row.status == Verdict.UNCERTAIN else row.change_ml
    return [
        (str(row.visits), None, "right"),
        (formatting.known(row.newest_visit), None, ""),
        (formatting.known(row.contrast), None, ""),
        (formatting.count(row.interval_days), None, "right"),
        (formatting.fixed(volume_ml, 2), None, "right"),
        (formatting.fixed(row.change_z, 1), None, "right"),
        (formatting.probability(p), p, "right nobreak"),
        (limit, largest_tested_ml if limit.startswith(">") else None, "right nobreak"),
        (formatting.probability(row.lowest_similarity), row.lowest_similarity, "right nobreak"),
    ]


def list_contrast_note(verdict: CohortRow | PatientHeadline) -> list[NotePart]:
    """List the parts of the sentence on which contrasts a verdict rests, and which it does not."""
    if not verdict.contrasts:
        return []
    parts = [(f"in {join_contrasts(verdict.contrasts)}", False)]
    if verdict.uncertain:
        parts.append((f"; too uncertain to tell in {join_contrasts(verdict.uncertain)}", True))
    if verdict.unchanged:
        parts.append((f"; no change in {join_contrasts(verdict.unchanged)}", False))
    if verdict.not_compared:
        parts.append((f"; not compared: {', '.join(verdict.not_compared)}", True))
    return parts


def list_row_notes(row: CohortRow) -> list[list[NotePart]]:
    """List the notes below the verdict of a patient's row."""
    return [*filter(None, [list_contrast_note(row)]), *([(formatting.spaced(word), False)] for word in row.reasons)]


def list_further_rows(rows: Iterable[CohortRow], largest_tested_ml: float) -> list[list[Any]]:
    """Make the lists of which the script makes rows: name, short name, statuses, rank, notes, cells (text, number)."""
    return [
        [
            row.subject,
            formatting.short(row.subject),
            row.words,
            verdicts.STATUSES[row.status].rank,
            list_row_notes(row),
            [text if value is None else (text, value) for text, value, _ in list_row_cells(row, largest_tested_ml)],
        ]
        for row in rows
    ]
