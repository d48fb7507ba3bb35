"""What a patient's page lists for a reader to answer, and the answers so far, as data; see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportFinding:
    """One finding of the page with the reader's answer.

    It is a part of a change map (`pair` and `part`: numbers on the page) or a marked `lesion`. `id` stays the same in
    later runs, see `study.reader_answers`. `kind`: what became of it. `answer`: confirmed, rejected or null.
    """

    id: str
    contrast: str  # in words
    kind: str
    pair: int | None
    part: int | None
    lesion: int | None
    answer: str | None
    remark: str


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
    """All findings and scans that a reader can answer to. The answers change no verdict and no figure."""

    findings: tuple[ReportFinding, ...]
    scans: tuple[ReportScanRating, ...]

    @property
    def answered(self) -> int:
        """Return how many findings have an answer or a remark."""
        return sum(bool(one.answer or one.remark) for one in self.findings)

    @property
    def rated(self) -> int:
        """Return how many scans have a rating or a remark."""
        return sum(bool(one.quality or one.remark) for one in self.scans)

    def of_part(self, pair: int, part: int) -> ReportFinding | None:
        """Return the finding that is a part of a pair; None where it is not listed."""
        return next((one for one in self.findings if (one.pair, one.part) == (pair, part)), None)
