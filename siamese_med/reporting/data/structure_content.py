"""The brain structures of a patient's report as data, see `report_content`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StructureVolume:
    """One volume in ml, with its standard deviation, and the change in percent since the first date, with that of it.

    `beyond_error`: whether the change is more than both errors explain (95 %). The last three are null on the first
    date, and where its volume is not known.
    """

    ml: float
    error_ml: float
    change_percent: float | None
    change_error_percent: float | None
    beyond_error: bool | None


@dataclass(frozen=True)
class ScanStructures:
    """The structures of one scan; null where the scan does not show one whole."""

    scan: str
    session: str
    day: int | None
    brain: StructureVolume | None
    ventricles: StructureVolume | None


@dataclass(frozen=True)
class StructureVolumeLine:
    """The structures of all scans of one contrast, in the order of time."""

    contrast: str  # in words
    scans: tuple[ScanStructures, ...]
