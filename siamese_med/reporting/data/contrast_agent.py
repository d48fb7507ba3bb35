"""Suspect contrast agent: it makes the choroid plexus and the venous sinuses bright, and often no header tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.study.vocabulary import ComponentKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siamese_med.reporting.data.report_content import ReportPair

PLAIN_CONTRASTS = ("T1", "CT")
"""Contrasts, in words, of which contrast agent makes another one."""
FLUID_REGIONS = ("lateral ventricle", "fluid spaces", "lateral ventricle on both sides", "fluid spaces on both sides")
"""Ends of the regions in which the choroid plexus and the venous sinuses lie."""
MIN_BRIGHTER_PLACES = 2
"""Places to look at in fluid that became brighter, beyond those that became darker, from which agent is suspected."""


def list_suspect_pairs(pairs: Iterable[ReportPair]) -> list[ReportPair]:
    """List the changed pairs of plain scans whose fluid spaces became brighter."""
    return [
        pair
        for pair in pairs
        if pair.status == Verdict.CHANGED and pair.contrast in PLAIN_CONTRASTS and _brightens_in_fluid(pair)
    ]


def suspect_contrast_agent(pairs: Iterable[ReportPair]) -> list[str]:
    """Return a warning for each pair of `list_suspect_pairs`."""
    return [
        f"{pair.title}: places that became brighter lie in the ventricles or other fluid spaces, as after contrast "
        "agent. Check whether one of the two scans is contrast-enhanced."
        for pair in list_suspect_pairs(pairs)
    ]


def _brightens_in_fluid(pair: ReportPair) -> bool:
    """Whether one part beyond a rescan became brighter in fluid, or places to look at did that are more by two."""
    fluid = [part for part in pair.score.components if part.region and part.region.endswith(FLUID_REGIONS)]
    sure = any(part.sign == 1 and part.kind != ComponentKind.MAY_BE_CHANCE for part in fluid)
    return sure or sum(part.sign or 0 for part in fluid) >= MIN_BRIGHTER_PLACES
