"""The lesions of a patient's report as data, see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.reporting.data.volume_response import VolumeResponse, VolumeRule


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
    was asked for.
    """

    scan: str
    session: str
    day: int | None
    count: int
    volume_ml: float
    error_ml: float
    response: VolumeResponse | None = None


@dataclass(frozen=True)
class LesionLine:
    """The lesions that were marked in scans of one contrast.

    `unplaced`: sessions whose scan could not be registered to the others.
    """

    contrast: str  # in words
    loads: tuple[LesionLoad, ...]  # one a scan, in the order of time
    lesions: tuple[ReportLesion, ...]  # the largest change of volume comes first
    unplaced: tuple[str, ...]
    change_percent: float | None = None  # of all that is marked, from the first to the newest scan
    beyond_error: bool | None = None  # whether the errors of both volumes explain that (95 %)
    rule: VolumeRule | None = None  # of the responses, if any were asked for
