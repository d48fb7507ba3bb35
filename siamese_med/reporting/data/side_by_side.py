"""Pictures of a scan under a wrong-patient alarm, beside scans of the patient on record and of the likelier owner.

All scans are aligned to the template's grid, so the same slice shows the same place, and a reader can compare them.
They are on the index only: the page of one patient holds no picture of another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.render import pictures
from siamese_med.reporting.render.crop import find_crop_windows
from siamese_med.study import table_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from siamese_med.reporting.data.report_content import WrongPatientAlarm

    Row = Mapping[str, object]

MAX_ALARMS_WITH_PICTURES = 24
"""Alarms that get pictures, those with the strongest evidence first: about 15 KB each."""

WHITE_INTENSITY = 1.6
"""Normalised intensity that is shown as white; 1 is the median of bright tissue."""


@dataclass(frozen=True)
class ComparisonPicture:
    """One scan of a comparison: `role` says which, `picture` is a PNG as a data URL."""

    role: str
    scan: str
    picture: str


@dataclass(frozen=True)
class WrongPatientComparison:
    """The pictures of one alarm: two or three, or the scan alone; scans that were not aligned are left out."""

    alarm: WrongPatientAlarm
    faces: tuple[ComparisonPicture, ...]


def build_wrong_patient_comparisons(
    alarms: Sequence[WrongPatientAlarm], scans: Iterable[Row], alignments: Iterable[Row], data: Path
) -> tuple[WrongPatientComparison, ...]:
    """Render the middle axial slice of each alarm's scan and of up to two scans to compare it with.

    These are a scan of the patient under whose name it is filed, and a scan of the likelier owner; both without an
    alarm of their own, and of the same contrast where there is one.

    Parameters
    ----------
    alarms
        In the order in which they are shown; only the first MAX_ALARMS_WITH_PICTURES get pictures.
    scans
        Rows of the scan table (tables.SCAN_COLUMNS).
    alignments
        Rows of the alignment table; `volume` is relative to `data`.
    data
        The data folder.
    """
    aligned = {str(row["scan"]): path for row in alignments if (path := _volume(row, data))}
    doubtful = {alarm.scan for alarm in alarms}
    of_subject: dict[str, list[Row]] = {}
    for row in scans:
        if str(row["id"]) in aligned:
            of_subject.setdefault(str(row["subject"]), []).append(row)
    return tuple(
        _lineup(alarm, of_subject, doubtful, aligned)
        for alarm in alarms[:MAX_ALARMS_WITH_PICTURES]
        if alarm.scan in aligned
    )


def _volume(row: Row, data: Path) -> Path | None:
    volume = table_cells.parse_text(row["volume"])
    return data / volume if volume and (data / volume).is_file() else None


def _lineup(
    alarm: WrongPatientAlarm, of_subject: Mapping[str, Sequence[Row]], doubtful: set[str], aligned: Mapping[str, Path]
) -> WrongPatientComparison:
    asked = next(row for row in of_subject[alarm.subject] if row["id"] == alarm.scan)
    others = {
        "filed under": _companion(asked, of_subject[alarm.subject], doubtful),
        "likelier owner": _companion(asked, of_subject.get(alarm.owner or "", ()), doubtful),
    }
    shown = {"this scan": alarm.scan, **{role: scan for role, scan in others.items() if scan}}
    slices = np.stack([_slice(aligned[scan]) for scan in shown.values()])
    cut = find_crop_windows(slices)
    faces = (
        ComparisonPicture(role, scan, pictures.render_lettered_slice(pixels[window], "axial"))
        for (role, scan), pixels, window in zip(shown.items(), slices, cut, strict=True)
    )
    return WrongPatientComparison(alarm, tuple(faces))


def _companion(asked: Row, rows: Sequence[Row], doubtful: set[str]) -> str | None:
    """Another scan without an alarm, of the same contrast where there is one."""
    fit = [row for row in rows if str(row["id"]) not in doubtful]
    chosen = min(fit, key=lambda row: (row["contrast"] != asked["contrast"], str(row["id"])), default=None)
    return str(chosen["id"]) if chosen else None


def _slice(volume: Path) -> NDArray[np.uint8]:
    """The middle axial slice in display orientation: the patient's right at the left edge, anterior at the top."""
    voxels = np.load(volume, mmap_mode="r", allow_pickle=False)
    middle = np.asarray(voxels[::-1, ::-1, voxels.shape[2] // 2], dtype=np.float32).T
    return (middle * 255 / WHITE_INTENSITY).clip(0, 255).astype(np.uint8)
