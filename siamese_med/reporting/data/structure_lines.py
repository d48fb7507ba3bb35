"""Brain tissue and lateral ventricles of a patient over all dates, in ml with their errors: one line a contrast.

The volumes are counted in the segmentation that `prepare` makes of each scan. Contrasts differ by several percent in
one head, so each is compared with the first date on which it was measured alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting.data.structure_content import ScanStructures, StructureVolume, StructureVolumeLine
from siamese_med.study.contrasts import describe_contrast
from siamese_med.study.thresholds import STRUCTURE_VOLUME_ERROR, THICK_SLICE_FACTOR, THICK_SLICE_MM, VOLUME_CHANGE_Z
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.reporting.data.report_content import ReportScan, ReportVisit


def build_structure_volume_lines(visits: Sequence[ReportVisit]) -> tuple[StructureVolumeLine, ...]:
    """Build a line for each contrast in which a brain was measured, in the order of their names.

    Parameters
    ----------
    visits
        The patient's visits in the order of time.
    """
    scans = [(visit, scan) for visit in visits for scan in visit.scans]
    measured = {scan.contrast or "" for _, scan in scans if scan.brain_ml or scan.ventricles_ml}
    return tuple(
        _line(contrast, [(visit, scan) for visit, scan in scans if (scan.contrast or "") == contrast])
        for contrast in sorted(measured)
    )


@dataclass(frozen=True)
class MeasuredVolume:
    """A volume in ml, and what its error depends on: the scanner (None: unknown), and whether slices are thick."""

    ml: float
    scanner: str | None
    thick: bool


def measure_change(first: MeasuredVolume, volume: MeasuredVolume, structure: str) -> tuple[float, float]:
    """Return the change of a volume in percent of the first one, and its standard deviation.

    An unknown scanner counts as another one. `structure` is a key of STRUCTURE_VOLUME_ERROR.

    Examples
    --------
    >>> first = MeasuredVolume(20.0, "a", thick=False)
    >>> same, other = (measure_change(first, MeasuredVolume(22.0, one, False), "ventricles") for one in ("a", "b"))
    >>> round(same[0], 3), same[1] < other[1]
    (10.0, True)
    """
    other = volume.scanner in (None, UNKNOWN) or volume.scanner != first.scanner
    errors = [
        _find_error(one, structure, other) * ratio for one, ratio in ((first, 1.0), (volume, volume.ml / first.ml))
    ]
    return 100 * (volume.ml / first.ml - 1), 100 * math.hypot(*errors)


def _find_error(volume: MeasuredVolume, structure: str, other: bool = False) -> float:
    """The standard deviation of one volume as a share of it; `other`: as compared with another scanner."""
    return STRUCTURE_VOLUME_ERROR[structure][other] * (THICK_SLICE_FACTOR if volume.thick else 1.0)


def _line(contrast: str, scans: Sequence[tuple[ReportVisit, ReportScan]]) -> StructureVolumeLine:
    first = {
        name: next((scan for _, scan in scans if _read_volume(name, scan)), scans[0][1])
        for name in STRUCTURE_VOLUME_ERROR
    }
    return StructureVolumeLine(
        contrast=describe_contrast(contrast),
        scans=tuple(
            ScanStructures(
                scan.id,
                visit.session,
                visit.day,
                *(_volume(name, first[name], scan) for name in STRUCTURE_VOLUME_ERROR),
            )
            for visit, scan in scans
        ),
    )


def _volume(structure: str, first_scan: ReportScan, scan: ReportScan) -> StructureVolume | None:
    first, here = (_read_volume(structure, one) for one in (first_scan, scan))
    if here is None:
        return None
    error_ml = round(here.ml * _find_error(here, structure), 2)
    if first is None or scan is first_scan:
        return StructureVolume(here.ml, error_ml, None, None, None)
    percent, error = measure_change(first, here, structure)
    return StructureVolume(
        here.ml, error_ml, round(percent, 2), round(error, 2), abs(percent) > VOLUME_CHANGE_Z * error
    )


def _read_volume(structure: str, scan: ReportScan) -> MeasuredVolume | None:
    ml = {"brain": scan.brain_ml, "ventricles": scan.ventricles_ml}[structure]
    thick = max((length or 0.0 for length in scan.spacing_mm), default=0.0) >= THICK_SLICE_MM
    return MeasuredVolume(ml, scan.scanner, thick) if ml else None
