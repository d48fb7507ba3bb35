"""Range charts of the model page: the AUC of each shortcut, and the similarity of groups of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.charts.plot import AxisRange
from siamese_med.reporting.charts.whiskers import WhiskerRow, draw_whiskers
from siamese_med.reporting.model import statements
from siamese_med.study.vocabulary import PatientStatus, Verdict

if TYPE_CHECKING:
    from markupsafe import Markup

    from siamese_med.reporting.model.metrics_file import AuditResult, SimilarityGroup

CHANCE_AUC = 0.5
PAIR_STYLES = {True: ("s0", "circle", "same person"), False: ("s1", "diamond", "different persons")}
"""Style, shape and name of pairs of one person (True) and of two (False)."""


def draw_audit_ranges(audit: AuditResult) -> Markup:
    """Draw the AUC of each shortcut with its confidence interval, beside chance and the limit of the audit.

    Parameters
    ----------
    audit
        Results of the shortcut audit; a shortcut above the limit gets the style of an alarm.
    """
    rows = [
        WhiskerRow(
            shortcut.name.removeprefix("the "),
            shortcut.auc,
            str(PatientStatus.WRONG_PATIENT if shortcut.failed else Verdict.NO_CHANGE),
            "triangle" if shortcut.failed else "circle",
            f"{shortcut.name}: AUC {statements.ends(shortcut.auc)}",
        )
        for shortcut in audit.measured
    ]
    lowest = min([0.4, *(row.figure.low for row in rows if row.figure.low is not None)])
    limits = [(CHANCE_AUC, "chance"), (audit.limit, "limit")]
    return draw_whiskers(f"AUC of {len(rows)} shortcuts", "AUC", rows, AxisRange(max(0.0, lowest), 1.0), limits)


def draw_similarity_ranges(name: str, groups: Sequence[SimilarityGroup], threshold: float | None) -> Markup:
    """Draw the median similarity of each group of pairs with its 5th and 95th percentile.

    Parameters
    ----------
    name
        What the groups differ in, such as the interval between the scans.
    groups
        Groups in the order of the rows; consecutive ones of one name share a label.
    threshold
        Similarity from which on a pair counts as one person, or None.
    """
    rows = []
    for place, group in enumerate(groups):
        style, shape, kind = PAIR_STYLES[group.same]
        shown = "" if place and groups[place - 1].name == group.name else group.name
        hint = (
            f"{group.name}, {kind}: {formatting.count(group.pairs)} pairs, median {statements.ends(group.similarity)}"
        )
        rows.append(WhiskerRow(shown, group.similarity, style, shape, hint))
    limits = [] if threshold is None else [(threshold, "threshold")]
    return draw_whiskers(f"Similarity by {name.lower()}", "similarity", rows, AxisRange(0.0, 1.0), limits)
