"""The findings of a patient's report over all dates as data, see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FindingMark:
    """What one pair shows of a finding.

    `pair` is the number of the pair. `kind` is a word of vocabulary.ComponentKind, that of the strongest of its parts;
    `parts` are their numbers in the table of the pair, from 1; `volume_ml` is the volume of all of them that changed.
    """

    pair: int
    kind: str
    volume_ml: float
    parts: tuple[int, ...]


@dataclass(frozen=True)
class TrackedFinding:
    """A place that has changed, over all pairs that are shown; its `number` is the same in every run."""

    number: int
    marks: tuple[FindingMark, ...]

    def of(self, pair: int) -> FindingMark | None:
        """Return what a pair shows of the finding; None where nothing."""
        return next((mark for mark in self.marks if mark.pair == pair), None)


@dataclass(frozen=True)
class FindingLine:
    """The findings in one contrast. `steps` are the pairs of one visit and the next, in the order of time.

    `since_first` is the pair of the newest visit and the first; null where there is none. `others` are further pairs
    that show a finding, such as those over several visits.
    """

    contrast: str  # in words
    steps: tuple[int, ...]
    since_first: int | None
    others: tuple[int, ...]
    findings: tuple[TrackedFinding, ...]  # what changed last comes first
