"""Brain tissue and lateral ventricles of a patient over all dates, in ml with their errors: one line a contrast.

The volumes are counted in the segmentation that `prepare` makes of each scan. Contrasts differ by several percent in
one head, so each is compared with its own first date alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from siamese_med.reporting.data.structure_content import ScanStructures, StructureVolume, StructureVolumeLine
from siamese_med.study.contrasts import describe_contrast
from siamese_med.study.thresholds import STRUCTURE_VOLUME_ERROR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siamese_med.reporting.data.report_content import ReportScan, ReportVisit

Z_95 = 1.96


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


def measure_change(
    first: tuple[float, str | None], volume: tuple[float, str | None], structure: str
) -> tuple[float, float]:
    """Return the change of a volume in percent of the first one, and its standard deviation.

    Parameters
    ----------
    first, volume
        Each a volume in ml, and the scanner; None for an unknown one, which counts as another one.
    structure
        A key of STRUCTURE_VOLUME_ERROR.

    Examples
    --------
    >>> same, other = (measure_change((20.0, "a"), (22.0, scanner), "ventricles") for scanner in ("a", "b"))
    >>> same[0], same[1] < other[1]
    (10.0, True)
    """
    error = STRUCTURE_VOLUME_ERROR[structure][volume[1] is None or volume[1] != first[1]]
    return 100 * (volume[0] / first[0] - 1), 100 * math.sqrt(2) * error * volume[0] / first[0]


def _line(contrast: str, scans: Sequence[tuple[ReportVisit, ReportScan]]) -> StructureVolumeLine:
    first = scans[0][1]
    return StructureVolumeLine(
        contrast=describe_contrast(contrast),
        scans=tuple(
            ScanStructures(
                scan.id,
                visit.session,
                visit.day,
                _volume("brain", (first.brain_ml, first.scanner), (scan.brain_ml, scan.scanner), scan is first),
                _volume(
                    "ventricles",
                    (first.ventricles_ml, first.scanner),
                    (scan.ventricles_ml, scan.scanner),
                    scan is first,
                ),
            )
            for visit, scan in scans
        ),
    )


def _volume(
    structure: str, first: tuple[float | None, str | None], measured: tuple[float | None, str | None], is_first: bool
) -> StructureVolume | None:
    ml, scanner = measured
    if not ml:
        return None
    error_ml = round(ml * STRUCTURE_VOLUME_ERROR[structure][0], 2)
    if is_first or not first[0]:
        return StructureVolume(ml, error_ml, None, None, None)
    percent, error = measure_change((first[0], first[1]), (ml, scanner), structure)
    return StructureVolume(ml, error_ml, round(percent, 2), round(error, 2), abs(percent) > Z_95 * error)
