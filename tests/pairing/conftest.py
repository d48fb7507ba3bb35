"""Scan tables as the catalogue gives them, a row a visit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pytest

Table = Callable[[Iterable[dict[str, Any]]], pd.DataFrame]


@pytest.fixture(scope="session")
def table() -> Table:
    """Rows with what matters to a test; the rest is one scanner, one protocol, FLAIR, and dates a year apart."""

    def build(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
        filled = []
        for row in rows:
            session = row.get("session", "ses-1")
            given = {
                "id": f"{row['subject']}_{session}_{row.get('contrast', 'FLAIR')}",
                "session": session,
                "date": f"{2000 + int(session.removeprefix('ses-'))}-03-01",
                "modality": "MR",
                "contrast": "FLAIR",
                "scanner": "scanner-1",
                "protocol": "protocol-1",
                "changed": None,
                "flags": [],
                "acquired": None,
            }
            filled.append({**given, **row})
        return pd.DataFrame(filled)

    return build


@pytest.fixture(scope="session")
def cohort(table: Table) -> Callable[..., pd.DataFrame]:
    """`patients` patients with `visits` visits each, on three scanners in turn."""

    def build(patients: int, visits: int = 3) -> pd.DataFrame:
        return table(
            {
                "subject": f"sub-{patient:03d}",
                "session": f"ses-{visit + 1}",
                "scanner": f"scanner-{(patient + visit) % 3}",
                "protocol": f"protocol-{(patient + visit) % 3}",
            }
            for patient in range(patients)
            for visit in range(visits)
        )

    return build
