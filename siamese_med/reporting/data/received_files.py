"""The ingest page as data: series that need a repair, then the scans by patient, then what was left out on purpose."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siamese_med.reporting.data import file_counts
from siamese_med.study.vocabulary import UNPAIRED_FLAGS

if TYPE_CHECKING:
    from siamese_med.reporting.data.file_counts import FileCounts
    from siamese_med.study.tables import IngestInventory, ScanThumbnail, SeriesAccount

MAX_THUMBNAIL_BYTES = 2_500_000
"""Limit of the pictures on the page, in characters of their data URLs: about 900 scans, those with a flag first."""

MAX_SERIES_LISTED = {"quarantined": 2000, "skipped": 100, "duplicate": 100}
"""Limit of the series that the page lists under one reason, by outcome; ingest.tsv has them all."""

SECONDARY_REASON = "missing_slice"
"""Reason of the other files of a series in which one slice is bad: the reason of that slice is the one to repair."""

MAX_PATIENTS_UNFOLDED = 24
"""Up to this number of patients, the scans of all are unfolded when the page opens."""


@dataclass(frozen=True)
class ReasonCount:
    """A reason or flag, what it means or asks for, and how many files or scans have it."""

    word: str
    meaning: str
    count: int


@dataclass(frozen=True)
class RejectedSeries:
    """One series with files that were not accepted; `files` are (reason, count), the cause first."""

    series: SeriesAccount
    files: tuple[tuple[str, int], ...]

    @property
    def cause(self) -> str:
        """Return the reason under which the series is listed."""
        return self.files[0][0]


@dataclass(frozen=True)
class RejectionGroup:
    """All series with one cause; `left_out` of them are in the table file alone."""

    reason: ReasonCount
    troubles: tuple[RejectedSeries, ...]
    series: int
    patients: int
    left_out: int


@dataclass(frozen=True)
class IngestPageScan:
    """One scan of the page, and the series that it was made from.

    Parameters
    ----------
    scan
        The scan, with its thumbnail.
    series
        The series, with its counts of files.
    picture
        WebP as a data URL; empty where the scan has none, or the page is full.
    """

    scan: ScanThumbnail
    series: SeriesAccount
    picture: str

    @property
    def name(self) -> str:
        """Return the scan's id without its patient."""
        return self.scan.id.split("_", 1)[-1]


@dataclass(frozen=True)
class IngestPagePatient:
    """The scans of one patient."""

    subject: str
    scans: tuple[IngestPageScan, ...]
    sessions: int


@dataclass(frozen=True)
class IngestPage:
    """Content of ingest.html.

    Parameters
    ----------
    title
        Title of the study.
    intake
        Counts of all files by outcome.
    repairs
        Series with quarantined files, by cause.
    left_out
        Series with skipped or duplicate files only, by cause.
    loose
        Counts of files that belong to no series, by reason.
    loose_first
        Whether some of these files are quarantined.
    departed
        Number of files that were not accepted and have been replaced or removed since.
    patients
        All scans by patient.
    flags
        Counts of scans by flag.
    series_to_repair, patients_to_repair
        How many series and patients have quarantined files.
    scans, pictures
        How many scans there are, and how many of them have a picture on the page.
    unfolded
        Whether the scans of all patients are unfolded when the page opens.
    has_index
        Whether there is an index page to link to.
    """

    title: str
    intake: FileCounts
    repairs: tuple[RejectionGroup, ...]
    left_out: tuple[RejectionGroup, ...]
    loose: tuple[ReasonCount, ...]
    loose_first: bool
    departed: int
    patients: tuple[IngestPagePatient, ...]
    flags: tuple[ReasonCount, ...]
    series_to_repair: int
    patients_to_repair: int
    scans: int
    pictures: int
    unfolded: bool
    has_index: bool

    @property
    def unpaired(self) -> int:
        """Count the scans in no pair, since their headers contradict one another or they are parts of a volume."""
        scans = (shown.scan for patient in self.patients for shown in patient.scans)
        return sum(not UNPAIRED_FLAGS.isdisjoint(scan.flags) for scan in scans)


def build_ingest_page(title: str, inventory: IngestInventory, has_index: bool) -> IngestPage:
    """Build the content of ingest.html from the inventory of the catalogue.

    Parameters
    ----------
    title
        Title of the study.
    inventory
        Every file that was ever seen.
    has_index
        Whether there is an index page to link to.
    """
    chapters = _chapters(inventory)
    repairs = tuple(one for one in chapters if inventory.outcomes[one.reason.word] == "quarantined")
    patients = _patients(inventory.series)
    waiting = [
        one for one in inventory.series if any(inventory.outcomes.get(word) == "quarantined" for word in one.files)
    ]
    flags = Counter(flag for one in inventory.series for scan in one.scans for flag in scan.flags)
    return IngestPage(
        title=title,
        intake=file_counts.count_files_by_outcome(inventory.account),
        repairs=repairs,
        left_out=tuple(one for one in chapters if one not in repairs),
        loose=tuple(
            ReasonCount(word, inventory.hints.get(word, ""), inventory.loose[word])
            for word in sorted(inventory.loose, key=lambda word: _urgency(word, 0, inventory.outcomes))
        ),
        loose_first=any(inventory.outcomes.get(word) == "quarantined" for word in inventory.loose),
        departed=inventory.departed,
        patients=patients,
        flags=tuple(ReasonCount(flag, inventory.flags.get(flag, ""), count) for flag, count in flags.most_common()),
        series_to_repair=len(waiting),
        patients_to_repair=len({subject for one in waiting for subject in one.subjects}),
        scans=sum(len(patient.scans) for patient in patients),
        pictures=sum(bool(shown.picture) for patient in patients for shown in patient.scans),
        unfolded=len(patients) <= MAX_PATIENTS_UNFOLDED,
        has_index=has_index,
    )


def _urgency(word: str, count: int, outcomes: Mapping[str, str]) -> tuple[int, int, str]:
    return ("quarantined", "skipped", "duplicate").index(outcomes.get(word, "duplicate")), -count, word


def _chapters(inventory: IngestInventory) -> list[RejectionGroup]:
    """Series that are not wholly accepted, by cause: quarantined first, then by the number of series."""
    by_cause: dict[str, list[RejectedSeries]] = defaultdict(list)
    for series in inventory.series:
        trouble = _trouble(series, inventory.outcomes)
        if trouble and not (trouble.cause == "duplicate" and series.scans):
            by_cause[trouble.cause].append(trouble)
    chapters = [_chapter(cause, troubles, inventory) for cause, troubles in by_cause.items()]
    return sorted(chapters, key=lambda one: _urgency(one.reason.word, one.series, inventory.outcomes))


def _trouble(series: SeriesAccount, outcomes: Mapping[str, str]) -> RejectedSeries | None:
    words = {word: count for word, count in series.files.items() if word}
    ranked = sorted(
        words, key=lambda word: (_urgency(word, 0, outcomes)[0], word == SECONDARY_REASON, words[word], word)
    )
    return RejectedSeries(series, tuple((word, words[word]) for word in ranked)) if ranked else None


def _chapter(cause: str, troubles: Sequence[RejectedSeries], inventory: IngestInventory) -> RejectionGroup:
    shown = tuple(troubles[: MAX_SERIES_LISTED[inventory.outcomes[cause]]])
    files = sum(dict(trouble.files)[cause] for trouble in troubles)
    patients = {subject for trouble in troubles for subject in trouble.series.subjects}
    word = ReasonCount(cause, inventory.hints.get(cause, ""), files)
    return RejectionGroup(word, shown, len(troubles), len(patients), len(troubles) - len(shown))


def _patients(series: Iterable[SeriesAccount]) -> tuple[IngestPagePatient, ...]:
    """Scans by patient, with as many pictures as the page may hold, flagged scans first."""
    scans = [IngestPageScan(scan, one, "") for one in series for scan in one.scans]
    pictures: dict[str, str] = {}
    room = MAX_THUMBNAIL_BYTES
    for shown in sorted(scans, key=lambda shown: (not shown.scan.flags, shown.scan.id)):
        picture = _url(shown.scan.thumbnail)
        room -= len(picture)
        if room < 0:
            break
        pictures[shown.scan.id] = picture
    by_subject: dict[str, list[IngestPageScan]] = defaultdict(list)
    for shown in sorted(scans, key=lambda shown: shown.scan.id):
        subject = shown.scan.id.split("_", 1)[0]
        by_subject[subject].append(replace(shown, picture=pictures.get(shown.scan.id, "")))
    return tuple(
        IngestPagePatient(subject, tuple(shown), len({one.series.session for one in shown}))
        for subject, shown in by_subject.items()
    )


def _url(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode("ascii") if picture else ""
