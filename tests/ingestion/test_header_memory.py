"""What is remembered of headers: equal bytes give the answer of before, other bytes a new one."""

from __future__ import annotations

import io
from typing import Any

import pytest

from siamese_med.ingestion.dicom.fast_header import PlainHeader, parse_plain_header
from siamese_med.ingestion.dicom.header_memory import MAX_WAYS, HeaderMemory
from tests.ingestion import exports


def _header(**tags: Any) -> PlainHeader:
    dataset = exports.series("P", 1, slices=1, **tags)[0]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return parse_plain_header(file.getvalue())


class Reader:
    """Asks for the echo time, and for the agent where there is one; counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, header: PlainHeader, factor: float = 1.0) -> tuple[object, object]:
        self.calls += 1
        echo = header.get("EchoTime")
        return echo * factor, header.get("ContrastBolusAgent") if echo > 50 else None


def test_equal_bytes_are_read_once_and_others_anew() -> None:
    reader = Reader()
    memory = HeaderMemory(reader)
    assert memory(_header(EchoTime=10.0)) == memory(_header(EchoTime=10.0, InstanceNumber=7)) == (10.0, None)
    assert reader.calls == 1
    assert memory(_header(EchoTime=10.0, ContrastBolusAgent="Gd")) == (10.0, None)  # it was not asked for
    assert reader.calls == 1
    assert memory(_header(EchoTime=90.0, ContrastBolusAgent="Gd")) == (90.0, "Gd")
    assert memory(_header(EchoTime=90.0)) == (90.0, None)
    assert memory(_header(EchoTime=90.0), 2.0) == (180.0, None)
    assert reader.calls == 4
    assert memory(_header(EchoTime=10.0)) == (10.0, None)
    assert reader.calls == 4


def test_a_reader_that_fails_is_asked_again() -> None:
    reader = Reader()
    memory = HeaderMemory(reader)
    for _ in range(2):
        with pytest.raises(TypeError):
            memory(_header())
    assert reader.calls == 2


def test_few_ways_are_kept() -> None:
    """A reader that asks for ever other elements costs no ever longer search."""
    keys = ("EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "KVP", "PatientID", "PatientSex", "Modality")
    memory = HeaderMemory(lambda header, count: [header.get(key) for key in keys[:count]])
    header = _header()
    for count in range(1, len(keys) + 1):
        assert len(memory(header, count)) == count
    assert len(memory._ways) == MAX_WAYS
