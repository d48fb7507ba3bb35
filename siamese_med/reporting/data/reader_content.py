"""Items that a patient's page lists for a reader to answer, and the answers so far, as data; see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportFinding:
    """One finding of the page with the reader's answer.

    It is a part of a change map (`pair` and `part`: numbers on the page) or a marked `lesion`. `id` stays the same in
    later runs, see `study.reader_answers`. `kind`: what became of it. `answer`: confirmed, rejected or null.
    `set_aside`: whether it is listed as a place to look at, because it is of one of the page's `rejected_kinds`.
    """

    id: str
    contrast: str  # in words
    kind: str
    pair: int | None
    part: int | None
    lesion: int | None
    answer: str | None
    remark: str
    set_aside: bool = False


@dataclass(frozen=True)
class RejectedKind:
    """A kind of finding that readers of this study rejected, of which the page has some.

    `set_aside`: findings of this page. `rejected`: findings of the study that readers rejected, in so many `patients`;
    none was confirmed.
    """

    contrast: str  # in words
    tissue: str
    sign: int  # +1 brighter, -1 darker in the later scan
    set_aside: int
    rejected: int
    patients: int


@dataclass(frozen=True)
class ReportScanRating:
    """The quality of one scan as the reader rates it: good, usable, poor or null."""

    id: str
    session: str
    contrast: str  # in words
    quality: str | None
    remark: str


@dataclass(frozen=True)
class ReaderAnswers:
    """All findings and scans that a reader can answer to. The answers change no verdict and no figure.

    `rejected_kinds`: why findings of this page are set aside, see `rejected_kinds.set_aside_rejected_kinds`.
    """

    findings: tuple[ReportFinding, ...]
    scans: tuple[ReportScanRating, ...]
    rejected_kinds: tuple[RejectedKind, ...] = ()

    @property
    def answered(self) -> int:
        """Return how many findings have an answer or a remark."""
        return sum(bool(one.answer or one.remark) for one in self.findings)

    @property
    def rated(self) -> int:
        """Return how many scans have a rating or a remark."""
        return sum(bool(one.quality or one.remark) for one in self.scans)

    def find_set_aside(self, pair: int) -> tuple[int, ...]:
        """Return the numbers of the parts of a pair that are set aside."""
        return tuple(one.part for one in self.findings if one.pair == pair and one.part and one.set_aside)

    def of_part(self, pair: int, part: int) -> ReportFinding | None:
        """Return the finding that is a part of a pair; None where it is not listed."""
        return next((one for one in self.findings if (one.pair, one.part) == (pair, part)), None)
