"""Asking a catalogue that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamese_med.errors import EmptyInputError, InputError
from siamese_med.ingestion.catalogue import catalogue


@pytest.mark.parametrize("ask", [catalogue.read_scan_table, catalogue.read_account, catalogue.read_file_table])
def test_no_catalogue_says_to_ingest_and_makes_none(tmp_path: Path, ask: object) -> None:
    path = tmp_path / "data" / "catalogue.sqlite"
    with pytest.raises(EmptyInputError, match="siamese-med ingest"):
        ask(f"sqlite:///{path}")  # type: ignore[operator]
    assert not path.parent.exists()


def test_a_broken_catalogue_is_an_error_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(InputError) as error:
        catalogue.read_scan_table(f"sqlite:///{path}")
    assert "\n" not in str(error.value)
