"""Words on the lesions that were marked, for the text to paste: how much is marked, and what became of the lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.study.contrasts import join_contrasts, join_words
from siamese_med.study.thresholds import MIN_ML_FOR_YEARLY_RATE
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siamese_med.reporting.data.lesion_content import LesionLine, ReportLesion

TOLD_FATES = (LesionFate.NEW, LesionFate.RETURNED, LesionFate.ENLARGING, LesionFate.SHRINKING, LesionFate.VANISHED)
"""Fates of a marked lesion since the first date, as far as the sentence counts them."""


def describe_lesions(lines: Iterable[LesionLine]) -> list[str]:
    """Describe the marked lesions of each contrast: all that is marked, and what became of the lesions, in clauses."""
    told = []
    for line in lines:
        where = f"in {join_contrasts([line.contrast])}"
        if len(line.loads) > 1:
            volumes = [f"{_with_error(one.volume_ml, one.error_ml)} at {one.session}" for one in line.loads]
            told.append(f"{where} the masks mark {volumes[0]} and {volumes[-1]}{_change_of_load(line)}")
        if line.repeats:
            told.append(f"{where} another mask of {join_words(_list_repeats(line))} is not followed")
        if line.lesions:  # a mask may hold nothing but specks
            told.append(_fates(line, where))
    return told


def _list_repeats(line: LesionLine) -> list[str]:
    return list(dict.fromkeys(one.session for one in line.repeats))


def _fates(line: LesionLine, where: str) -> str:
    """Describe what became of the lesions of a contrast since the first date."""
    counted = [_counted(fate, line.lesions) for fate in TOLD_FATES if any(one.fate == fate for one in line.lesions)]
    joined = sum(
        one.fate == LesionFate.MERGED and any(mark.fate == LesionFate.NEW for mark in one.marks) for one in line.lesions
    )
    if joined:
        counted.append(f"{joined} new, then merged with another")
    what = join_words(counted) if counted else "none is new or has changed beyond the error of its volumes"
    marked = f"{len(line.lesions)} marked lesion{'s' if len(line.lesions) > 1 else ''}"
    once = sum(one.fate == LesionFate.FIRST for one in line.lesions)
    unknown = f" ({once} shown on one date only)" if once and len(line.loads) > 1 else ""
    return f"of {marked}{unknown} {where} {what} since the first date"


def _change_of_load(line: LesionLine) -> str:
    if line.uncovered:
        return f", which cannot be compared: {line.uncovered}"
    if line.change_percent is None:
        return ""
    sign = "+" if line.change_percent > 0 else ""
    within = "beyond" if line.beyond_error else "within"
    return f" ({sign}{formatting.fixed(line.change_percent, 0)} %, {within} the error of both)"


def _with_error(volume_ml: float, error_ml: float) -> str:
    return f"{formatting.fixed(volume_ml)} ml (standard error {formatting.fixed(error_ml)})"


def _counted(fate: LesionFate, lesions: Sequence[ReportLesion]) -> str:
    """Describe how many lesions have one fate, and how large they are: a mark at the edge of another mask is small."""
    sizes = [one.newest.volume_ml for one in lesions if one.fate == fate and one.newest and one.newest.volume_ml]
    count = sum(one.fate == fate for one in lesions)
    if not sizes:
        return f"{count} {fate}"
    shown = list(dict.fromkeys(formatting.fixed(size) for size in (min(sizes), max(sizes))))
    doubt = ", which may be the edge of a mask" if max(sizes) < MIN_ML_FOR_YEARLY_RATE else ""
    return f"{count} {fate} (of {' to '.join(shown)} ml{doubt})"
