"""The lesions of a patient's report as data, see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.reporting.data.volume_response import VolumeResponse, VolumeRule
from siamese_med.study.vocabulary import LesionFate


@dataclass(frozen=True)
class ReportLesionMark:
    """What one scan shows of a lesion: `fate` since the date before, and its volume.

    A fate is a word of vocabulary.LesionFate; `not_shown` where the scan does not reach the place of the lesion.
    `error_ml` is one standard deviation. `volume_ml` is null where the lesion is not marked any more. `other` is the
    number of the lesion that it merged with or split from. `region` is null outside the brain, and where no brain was
    found.
    """

    scan: str
    fate: str
    volume_ml: float | None
    error_ml: float | None
    centre_mm: tuple[float | None, ...]  # RAS+ mm of the scan
    other: int | None
    region: str | None  # of the brain, in words


@dataclass(frozen=True)
class ReportLesion:
    """A lesion over all dates; its `number` is the same in every run. `fate` is that since the first date.

    `percent_a_year`: change of volume from the first to the last mark, at a constant rate; null where the lesion is
    stable, over less than 90 days, and for a lesion with one mark.
    """

    number: int
    fate: str
    marks: tuple[ReportLesionMark, ...]
    percent_a_year: float | None

    def of(self, scan: str) -> ReportLesionMark | None:
        """Return what a scan shows of the lesion; None where nothing is known."""
        return next((mark for mark in self.marks if mark.scan == scan), None)

    @property
    def newest(self) -> ReportLesionMark | None:
        """The newest mark with a volume; None where there is none."""
        return next((mark for mark in reversed(self.marks) if mark.volume_ml is not None), None)


@dataclass(frozen=True)
class LesionLoad:
    """All that is marked on one scan: how many lesions are followed, and the volume with its standard deviation.

    The volume includes marks that are too small to be followed. `response` is null on the first date, and where none
    was asked for. `not_shown` is the number of lesions that are marked on other dates and lie outside this scan.
    """

    scan: str
    session: str
    day: int | None
    count: int
    volume_ml: float
    error_ml: float
    response: VolumeResponse | None = None
    not_shown: int = 0


@dataclass(frozen=True)
class UnfollowedMask:
    """All that is marked on a scan of a visit of which another scan is followed, with its standard deviation."""

    scan: str
    session: str
    volume_ml: float
    error_ml: float


@dataclass(frozen=True)
class LesionLine:
    """The lesions that were marked in scans of one contrast.

    `unplaced`: sessions whose scan could not be registered to the others. `change_percent`: of all that is marked, from
    the first to the newest scan; null also where one of both does not show what is marked on the other.
    """

    contrast: str  # in words
    loads: tuple[LesionLoad, ...]  # one a scan, in the order of time
    lesions: tuple[ReportLesion, ...]  # the largest change of volume comes first
    unplaced: tuple[str, ...]
    change_percent: float | None = None
    beyond_error: bool | None = None  # whether the errors of both volumes explain that (95 %)
    rule: VolumeRule | None = None  # of the responses, if any were asked for
    repeats: tuple[UnfollowedMask, ...] = ()  # one scan of a visit is followed, since two are not two dates

    def find_uncovered(self, one: LesionLoad, other: LesionLoad) -> list[LesionLoad]:
        """Find which of two loads lack lesions that are marked on the other, since their scan does not show them.

        Such loads cannot be compared: the scan may show less, and the lesions be the same.
        """
        return [
            here
            for here, there in ((one, other), (other, one))
            if any(_is_hidden(lesion.of(here.scan)) and _is_marked(lesion.of(there.scan)) for lesion in self.lesions)
        ]

    @property
    def uncovered(self) -> str:
        """Why the first and the newest load cannot be compared, in words; empty where they can."""
        if len(self.loads) < 2:
            return ""
        return " and ".join(
            f"{load.not_shown} of {len(self.lesions)} lesions {'lies' if load.not_shown == 1 else 'lie'} outside the "
            f"scan of {load.session}"
            for load in self.find_uncovered(self.loads[0], self.loads[-1])
        )


def _is_hidden(mark: ReportLesionMark | None) -> bool:
    return mark is not None and mark.fate == LesionFate.NOT_SHOWN


def _is_marked(mark: ReportLesionMark | None) -> bool:
    return mark is not None and mark.volume_ml is not None
