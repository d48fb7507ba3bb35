"""Scans that look like another patient's keep their rows as they were ingested; the alarm is among their flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from siamese_med.study.tables import WRONG_PATIENT


def add_wrong_patient_flags(
    scans: Iterable[Mapping[str, Any]], alarms: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Scan rows with the flag WRONG_PATIENT where an alarm for the same content stands."""
    standing = {(row["scan"], row["sha256"]) for row in alarms}
    return [
        {**row, "flags": [*row["flags"], WRONG_PATIENT]} if (row["id"], row["sha256"]) in standing else dict(row)
        for row in scans
    ]
