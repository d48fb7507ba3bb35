"""The scan table keeps None where a scan has no mask or date, whatever the other scans have."""

from __future__ import annotations

from typing import Any

import pytest

from siamese_med.study.tables import SCAN_COLUMNS, build_scan_table


def row(number: int, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(SCAN_COLUMNS), "id": f"sub-{number}", **values}


@pytest.mark.parametrize("name", ["mask", "date"])
@pytest.mark.parametrize("values", [(None, None), ("text", None), ("text", "other")])
def test_a_missing_text_stays_none_beside_texts(name: str, values: tuple[str | None, str | None]) -> None:
    table = build_scan_table(row(number, **{name: value}) for number, value in enumerate(values))
    assert tuple(table[name]) == values
    assert [getattr(one, name) for one in table.itertuples()] == list(values)
