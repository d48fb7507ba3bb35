"""The answer to a label that is mapped back to patients and files. It names patients: keep it out of logs."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class RevealedSubject(TypedDict):
    """A subject, and who that is: an identifier, its issuer, and what named the patient (a key of NAMED_BY_TEXTS)."""

    subject: str
    patient_id: str
    issuer: str
    named_by: str


class RevealedScan(TypedDict):
    """A scan and the true date on which it was taken, ISO 8601; None where no date is known."""

    id: str
    date: str | None


class RevealedSeries(TypedDict):
    """A series with the counts of its files by reason word."""

    series: str
    subjects: list[str]
    modality: str
    contrast: str
    files: dict[str, int]


class RevealedFile(TypedDict):
    """A file below the input: its path, what became of it, and the label of its series."""

    path: str
    reason: str
    series: str


class RevealedFacts(TypedDict):
    """The answer to one label. `scan` is present for a scan label, the last two keys where an input was given."""

    label: str
    subjects: list[RevealedSubject]
    scan: NotRequired[RevealedScan]
    series: list[RevealedSeries]
    files: NotRequired[list[RevealedFile]]
    contents_not_found: NotRequired[int]
