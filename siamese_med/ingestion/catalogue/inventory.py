"""The catalogue for people: by patient and series, what was accepted, what was not, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypedDict

from siamese_med.ingestion.catalogue import catalogue, file_tallies
from siamese_med.ingestion.catalogue.derived_flags import add_derived_flags
from siamese_med.ingestion.catalogue.rows import (
    ALARM_TABLE,
    SCAN_TABLE,
    SERIES_TABLE,
    SESSION_TABLE,
    THUMBNAIL_TABLE,
    SeriesRow,
)
from siamese_med.ingestion.reasons import OTHER_CHECK, REASON_HINTS, SCAN_FLAGS, get_outcome
from siamese_med.study.tables import IngestInventory, ScanThumbnail, SeriesAccount
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from siamese_med.ingestion.catalogue.file_tallies import FileTally


class ReasonTally(TypedDict):
    """A reason word, how many files it was given, and the hint what to do."""

    reason: str
    files: int
    hint: str


NO_HINTS: Mapping[str, str] = MappingProxyType({})
SERIES_LABEL_CHARS = 12
"""Characters shown of a series' HMAC: 60 bits, so that two series of a study practically never share a label."""


@dataclass
class _GatheredSeries:
    """Groups of files with one label and subject; `row` is that of the group that was judged as the series."""

    row: SeriesRow
    files: Counter[str] = field(default_factory=Counter)
    scans: list[ScanThumbnail] = field(default_factory=list)


def read_inventory(url: str, own: Mapping[str, str] = NO_HINTS) -> IngestInventory:
    """Read everything that the ingest page shows.

    Groups without any subject and source are summed as loose files; files that were not accepted and lie nowhere any
    more are counted as departed. `own`: words and hints of the user's checks, see `scan_checks.own_hints`.

    Raises
    ------
    EmptyInputError
        Nothing was ingested yet.
    CatalogueError
        The catalogue has another layout or was edited.
    """
    with catalogue.open_catalogue(url) as connection:
        groups = {row["key"]: row for row in catalogue.select_rows(connection, SERIES_TABLE)}
        counted = file_tallies.count_files(connection)
        pictures = _pictures(connection)
        sessions = _sessions(connection)
    counts, departed = _counts(counted)
    gathered: dict[tuple[str, ...], _GatheredSeries] = {}
    loose: Counter[str] = Counter()
    for key in sorted(groups):
        row = groups[key]
        if not row["subjects"] and not row["source"]:
            loose.update(counts[key])
        elif counts[key] or pictures[key]:
            one = gathered.setdefault((*row["subjects"], row["label"]), _GatheredSeries(row))
            one.row = row if row["label"] == key else one.row
            one.files.update(counts[key])
            one.scans += pictures[key]
    series = sorted((_series(one, sessions) for one in gathered.values()), key=_order)
    account = file_tallies.build_account_from_tallies(counted)
    hints = {
        **REASON_HINTS,
        **dict.fromkeys((word for word in account.reasons if word not in REASON_HINTS), OTHER_CHECK),
        **own,
    }
    words = {word: get_outcome(word) for word in hints}
    return IngestInventory(
        account, tuple(series), dict(sorted(loose.items())), departed, words, hints, dict(SCAN_FLAGS)
    )


def _order(one: SeriesAccount) -> tuple[tuple[str, ...], str, str, str, str]:
    return one.subjects, one.session or "~", one.date or "~", one.modality, one.label


def _series(one: _GatheredSeries, sessions: Mapping[tuple[str, str], str]) -> SeriesAccount:
    row = one.row
    visits = (sessions.get((subject, row["visit"])) for subject in row["subjects"])
    return SeriesAccount(
        label=format_series_label(row["label"]),
        subjects=tuple(row["subjects"]),
        session=next((visit for visit in visits if visit), None),
        date=row["date"],
        modality=row["modality"],
        contrast=_contrast(one),
        source=row["source"],
        slices=row["slices"],
        files=dict(sorted(one.files.items())),
        scans=tuple(sorted(one.scans, key=lambda scan: scan.id)),
    )


def _contrast(one: _GatheredSeries) -> str:
    """Return the contrast of a series; where name and header do not tell it, that which the image of its scan told."""
    told = {scan.contrast for scan in one.scans}
    return told.pop() if one.row["contrast"] == UNKNOWN and len(told) == 1 else one.row["contrast"]


def format_series_label(label: str) -> str:
    """Shorten a series' HMAC to the label that pages show.

    Examples
    --------
    >>> format_series_label("abcdefghijklmnopqrstuvwxyz")
    'series-abcdefghijkl'
    """
    return f"series-{label[:SERIES_LABEL_CHARS]}"


def _counts(counted: Iterable[FileTally]) -> tuple[dict[str, Counter[str]], int]:
    """Count files by group and reason, with copies as duplicates, and rejected files that are no longer there."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    departed = 0
    for one in counted:
        if one.places or one.outcome == "ingested":
            counts[one.series].update({one.reason: one.files})
            counts[one.series].update({"duplicate": one.files * (one.places - 1)} if one.places > 1 else {})
        else:
            departed += one.files
    return counts, departed


def _pictures(connection: Connection) -> dict[str, list[ScanThumbnail]]:
    thumbnails = {row["id"]: row["picture"] for row in catalogue.select_rows(connection, THUMBNAIL_TABLE)}
    pictures: dict[str, list[ScanThumbnail]] = defaultdict(list)
    alarms = catalogue.select_rows(connection, ALARM_TABLE)
    for row in add_derived_flags(catalogue.select_rows(connection, SCAN_TABLE), alarms):
        said = (row["contrast"], tuple(row["shape"]), tuple(row["spacing_mm"]), tuple(row["flags"]))
        told = (row["contrast_source"], row["contrast_confidence"])
        pictures[row["series"]].append(ScanThumbnail(row["id"], *said, thumbnails.get(row["id"], b""), *told))
    return pictures


def _sessions(connection: Connection) -> dict[tuple[str, str], str]:
    rows = catalogue.select_rows(connection, SESSION_TABLE)
    return {(row["subject"], row["key"]): f"ses-{row['number']:02d}" for row in rows}


def list_reasons_with_hints(counts: Mapping[str, int], own: Mapping[str, str] = NO_HINTS) -> list[ReasonTally]:
    """List reason words with their counts and hints; those that need action come first; `own` as of `read_inventory`.

    Examples
    --------
    >>> [row["reason"] for row in list_reasons_with_hints({"localizer": 5, "missing_slice": 1})]
    ['missing_slice', 'localizer']
    """
    hints = {**REASON_HINTS, **own}
    rank = {"quarantined": 0, "skipped": 1, "duplicate": 2}
    words: Iterable[str] = sorted(counts, key=lambda word: (rank.get(get_outcome(word), 3), -counts[word], word))
    return [{"reason": word, "files": counts[word], "hint": hints.get(word, OTHER_CHECK)} for word in words]
