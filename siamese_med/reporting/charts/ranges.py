"""The model page's ranges: what a shortcut sees of identity, and the similarity of groups of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from siamese_med import claims, wording
from siamese_med.reporting.charts.plot import Range
from siamese_med.reporting.charts.whiskers import Row, whiskers

if TYPE_CHECKING:
    from markupsafe import Markup

    from siamese_med.appraisal import Audit, Group

CHANCE = 0.5
KINDS = {True: ("s0", "circle", "same person"), False: ("s1", "diamond", "different persons")}
"""Style, shape and words of pairs of one person and of two."""


def audit(audit: Audit) -> Markup:
    """AUC of each shortcut with its interval, beside chance and the limit."""
    rows = [
        Row(
            shortcut.name.removeprefix("the "),
            shortcut.auc,
            "wrong_patient" if shortcut.failed else "no_change",
            "triangle" if shortcut.failed else "circle",
            f"{shortcut.name}: AUC {claims.ends(shortcut.auc)}",
        )
        for shortcut in audit.measured
    ]
    lowest = min([0.4, *(row.figure.low for row in rows if row.figure.low is not None)])
    limits = [(CHANCE, "chance"), (audit.limit, "limit")]
    return whiskers(f"AUC of {len(rows)} shortcuts", "AUC", rows, Range(max(0.0, lowest), 1.0), limits)


def stratum(name: str, groups: Sequence[Group], threshold: float | None) -> Markup:
    """Median similarity and its 5th to 95th percentile, group by group."""
    rows = []
    for place, group in enumerate(groups):
        style, shape, kind = KINDS[group.same]
        shown = "" if place and groups[place - 1].name == group.name else group.name
        hint = f"{group.name}, {kind}: {wording.count(group.pairs)} pairs, median {claims.ends(group.similarity)}"
        rows.append(Row(shown, group.similarity, style, shape, hint))
    limits = [] if threshold is None else [(threshold, "threshold")]
    return whiskers(f"Similarity by {name.lower()}", "similarity", rows, Range(0.0, 1.0), limits)
