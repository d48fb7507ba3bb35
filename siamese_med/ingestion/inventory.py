"""The catalogue as people ask for it: by patient and series, what was accepted, what was not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion import catalogue
from siamese_med.ingestion.alarms import with_alarms
from siamese_med.ingestion.reasons import FLAGS, HINTS, outcome
from siamese_med.records import Inventory, Picture, Series

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from siamese_med.ingestion.catalogue import Tally

Row = Mapping[str, Any]
LABEL_LENGTH = 12
"""Characters shown of a series' HMAC: 60 bits, so that two of a study never meet."""


@dataclass
class _Gathered:
    """Groups of files that bear one label and subject; `row` is that of the group that was judged as the series."""

    row: Row
    files: Counter[str] = field(default_factory=Counter)
    scans: list[Picture] = field(default_factory=list)


def inventory(url: str) -> Inventory:
    """Everything that the ingest page tells; raises EmptyInputError or CatalogueError."""
    with catalogue.reading(url) as connection:
        groups = {row["key"]: row for row in catalogue.some_rows(connection, "series")}
        counted = catalogue.tallies(connection)
        pictures = _pictures(connection)
        sessions = _sessions(connection)
    counts, departed = _counts(counted)
    gathered: dict[tuple[Any, ...], _Gathered] = {}
    loose: Counter[str] = Counter()
    for key in sorted(groups):
        row = groups[key]
        if not row["subjects"] and not row["source"]:
            loose.update(counts[key])
        elif counts[key] or pictures[key]:
            one = gathered.setdefault((*row["subjects"], row["label"]), _Gathered(row))
            one.row = row if row["label"] == key else one.row
            one.files.update(counts[key])
            one.scans += pictures[key]
    series = sorted((_series(one, sessions) for one in gathered.values()), key=_order)
    account = catalogue.account_of_tallies(counted)
    words = {word: outcome(word) for word in HINTS}
    return Inventory(account, tuple(series), dict(sorted(loose.items())), departed, words, dict(HINTS), dict(FLAGS))


def _order(one: Series) -> tuple[Any, ...]:
    return one.subjects, one.session or "~", one.date or "~", one.modality, one.label


def _series(one: _Gathered, sessions: Mapping[tuple[str, str], str]) -> Series:
    row = one.row
    visits = (sessions.get((subject, row["visit"])) for subject in row["subjects"])
    return Series(
        label=shown(row["label"]),
        subjects=tuple(row["subjects"]),
        session=next((visit for visit in visits if visit), None),
        date=row["date"],
        modality=row["modality"],
        contrast=row["contrast"],
        source=row["source"],
        slices=row["slices"],
        files=dict(sorted(one.files.items())),
        scans=tuple(sorted(one.scans, key=lambda scan: scan.id)),
    )


def shown(label: str) -> str:
    """A series' HMAC as people see it."""
    return f"series-{label[:LABEL_LENGTH]}"


def _counts(counted: Iterable[Tally]) -> tuple[dict[str, Counter[str]], int]:
    """Files by group and reason, copies as duplicates; and how many that were not accepted lie nowhere any more."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    departed = 0
    for one in counted:
        if one.places or one.outcome == "ingested":
            counts[one.series].update({one.reason: one.files})
            counts[one.series].update({"duplicate": one.files * (one.places - 1)} if one.places > 1 else {})
        else:
            departed += one.files
    return counts, departed


def _pictures(connection: Connection) -> dict[str, list[Picture]]:
    thumbnails = {row["id"]: row["picture"] for row in catalogue.some_rows(connection, "thumbnail")}
    pictures: dict[str, list[Picture]] = defaultdict(list)
    alarms = catalogue.some_rows(connection, "alarm")
    for row in with_alarms(catalogue.some_rows(connection, "scan"), alarms):
        said = (row["contrast"], tuple(row["shape"]), tuple(row["spacing_mm"]), tuple(row["flags"]))
        pictures[row["series"]].append(Picture(row["id"], *said, thumbnails.get(row["id"], b"")))
    return pictures


def _sessions(connection: Connection) -> dict[tuple[str, str], str]:
    rows = catalogue.some_rows(connection, "session")
    return {(row["subject"], row["key"]): f"ses-{row['number']:02d}" for row in rows}


def reasons(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Reason words with their counts and hints, those that need somebody first."""
    rank = {"quarantined": 0, "skipped": 1, "duplicate": 2}
    words: Iterable[str] = sorted(counts, key=lambda word: (rank.get(outcome(word), 3), -counts[word], word))
    return [{"reason": word, "files": counts[word], "hint": HINTS.get(word, "")} for word in words]
