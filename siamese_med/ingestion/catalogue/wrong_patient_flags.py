"""Wrong-patient alarms are added to the flags of scans when they are read; the stored rows stay as ingested."""

from __future__ import annotations

from collections.abc import Iterable

from siamese_med.ingestion.catalogue.rows import AlarmRow, ScanRow
from siamese_med.study.tables import WRONG_PATIENT


def add_wrong_patient_flags(scans: Iterable[ScanRow], alarms: Iterable[AlarmRow]) -> list[ScanRow]:
    """Add the flag WRONG_PATIENT to the scans that have an alarm for their present content.

    Parameters
    ----------
    scans
        Rows of the scan table; they are not changed.
    alarms
        Rows of the alarm table; an alarm for an earlier content of a scan has no effect.

    Returns
    -------
    list of ScanRow
        Copies in the same order.
    """
    standing = {(row["scan"], row["sha256"]) for row in alarms}
    return [
        {**row, "flags": [*row["flags"], WRONG_PATIENT]} if (row["id"], row["sha256"]) in standing else row.copy()
        for row in scans
    ]
