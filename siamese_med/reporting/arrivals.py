"""What came in, as data: what needs a repair first, then the scans by patient, then what was left out on purpose."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from siamese_med.reporting import accounts, outputs

if TYPE_CHECKING:
    from siamese_med.records import Inventory, Picture, Series
    from siamese_med.reporting.accounts import Intake

PICTURE_BYTES = 2_500_000
"""Bytes of pictures on the page: about 900 scans; those with a flag come first."""

MOST_SHOWN = {"quarantined": 2000, "skipped": 100, "duplicate": 100}
"""Series listed under one reason; the table file has them all."""

CONSEQUENCE = "missing_slice"
"""What the rest of a series suffers when one slice is bad: the reason of that one is what has to be repaired."""

MOST_OPEN = 24
"""Patients up to which all scans are unfolded."""

COLUMNS = (
    "subject",
    "session",
    "date",
    "series",
    "modality",
    "contrast",
    "slices",
    "outcome",
    "reason",
    "files",
    "scans",
    "flags",
    "hint",
)


@dataclass(frozen=True)
class Word:
    """A reason or flag, what it means or asks for, and how many files or scans have it."""

    word: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Trouble:
    """One series with files that were not accepted; `files` are (reason, count), the cause first."""

    series: Series
    files: tuple[tuple[str, int], ...]

    @property
    def cause(self) -> str:
        """The reason under which the series is listed."""
        return self.files[0][0]


@dataclass(frozen=True)
class Chapter:
    """All series with one cause; `left_out` of them are in the table file alone."""

    reason: Word
    troubles: tuple[Trouble, ...]
    series: int
    patients: int
    left_out: int


@dataclass(frozen=True)
class Shown:
    """One scan with its picture (a data URL, or empty), and the series that it came of."""

    scan: Picture
    series: Series
    picture: str

    @property
    def name(self) -> str:
        """The scan's id without its patient."""
        return self.scan.id.split("_", 1)[-1]


@dataclass(frozen=True)
class Patient:
    """The scans of one patient."""

    subject: str
    scans: tuple[Shown, ...]
    sessions: int


@dataclass(frozen=True)
class Arrivals:
    """Everything that is on the ingest page."""

    title: str
    intake: Intake
    repairs: tuple[Chapter, ...]
    left_out: tuple[Chapter, ...]
    loose: tuple[Word, ...]
    loose_first: bool
    departed: int
    patients: tuple[Patient, ...]
    flags: tuple[Word, ...]
    series_to_repair: int
    patients_to_repair: int
    scans: int
    pictures: int
    unfolded: bool
    has_index: bool


def arrivals(title: str, inventory: Inventory, has_index: bool) -> Arrivals:
    """The page as data; `has_index`: whether there is a cohort page to link to."""
    chapters = _chapters(inventory)
    repairs = tuple(one for one in chapters if inventory.outcomes[one.reason.word] == "quarantined")
    patients = _patients(inventory.series)
    waiting = [
        one for one in inventory.series if any(inventory.outcomes.get(word) == "quarantined" for word in one.files)
    ]
    flags = Counter(flag for one in inventory.series for scan in one.scans for flag in scan.flags)
    return Arrivals(
        title=title,
        intake=accounts.intake(inventory.account),
        repairs=repairs,
        left_out=tuple(one for one in chapters if one not in repairs),
        loose=tuple(
            Word(word, inventory.hints.get(word, ""), inventory.loose[word])
            for word in sorted(inventory.loose, key=lambda word: _urgency(word, 0, inventory.outcomes))
        ),
        loose_first=any(inventory.outcomes.get(word) == "quarantined" for word in inventory.loose),
        departed=inventory.departed,
        patients=patients,
        flags=tuple(Word(flag, inventory.flags.get(flag, ""), count) for flag, count in flags.most_common()),
        series_to_repair=len(waiting),
        patients_to_repair=len({subject for one in waiting for subject in one.subjects}),
        scans=sum(len(patient.scans) for patient in patients),
        pictures=sum(bool(shown.picture) for patient in patients for shown in patient.scans),
        unfolded=len(patients) <= MOST_OPEN,
        has_index=has_index,
    )


def _urgency(word: str, count: int, outcomes: Mapping[str, str]) -> tuple[int, int, str]:
    return ("quarantined", "skipped", "duplicate").index(outcomes.get(word, "duplicate")), -count, word


def _chapters(inventory: Inventory) -> list[Chapter]:
    """Series that are not wholly accepted, by cause; what needs somebody first, then by the number of series."""
    by_cause: dict[str, list[Trouble]] = defaultdict(list)
    for series in inventory.series:
        trouble = _trouble(series, inventory.outcomes)
        if trouble and not (trouble.cause == "duplicate" and series.scans):
            by_cause[trouble.cause].append(trouble)
    chapters = [_chapter(cause, troubles, inventory) for cause, troubles in by_cause.items()]
    return sorted(chapters, key=lambda one: _urgency(one.reason.word, one.series, inventory.outcomes))


def _trouble(series: Series, outcomes: Mapping[str, str]) -> Trouble | None:
    words = {word: count for word, count in series.files.items() if word}
    ranked = sorted(words, key=lambda word: (_urgency(word, 0, outcomes)[0], word == CONSEQUENCE, words[word], word))
    return Trouble(series, tuple((word, words[word]) for word in ranked)) if ranked else None


def _chapter(cause: str, troubles: Sequence[Trouble], inventory: Inventory) -> Chapter:
    shown = tuple(troubles[: MOST_SHOWN[inventory.outcomes[cause]]])
    files = sum(dict(trouble.files)[cause] for trouble in troubles)
    patients = {subject for trouble in troubles for subject in trouble.series.subjects}
    word = Word(cause, inventory.hints.get(cause, ""), files)
    return Chapter(word, shown, len(troubles), len(patients), len(troubles) - len(shown))


def _patients(series: Iterable[Series]) -> tuple[Patient, ...]:
    """Scans by patient, with as many pictures as the page may hold, those of flagged scans first."""
    scans = [Shown(scan, one, "") for one in series for scan in one.scans]
    pictures: dict[str, str] = {}
    room = PICTURE_BYTES
    for shown in sorted(scans, key=lambda shown: (not shown.scan.flags, shown.scan.id)):
        picture = _url(shown.scan.thumbnail)
        room -= len(picture)
        if room < 0:
            break
        pictures[shown.scan.id] = picture
    by_subject: dict[str, list[Shown]] = defaultdict(list)
    for shown in sorted(scans, key=lambda shown: shown.scan.id):
        subject = shown.scan.id.split("_", 1)[0]
        by_subject[subject].append(replace(shown, picture=pictures.get(shown.scan.id, "")))
    return tuple(
        Patient(subject, tuple(shown), len({one.series.session for one in shown}))
        for subject, shown in by_subject.items()
    )


def _url(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode("ascii") if picture else ""


def table(inventory: Inventory) -> str:
    """One line a series and reason (the empty one: ingested), in the order of patients, then what nobody owns."""
    lines = [_line(series, reason, inventory) for series in inventory.series for reason in series.files or {"": 0}]
    lines += [_loose_line(word, inventory) for word in inventory.loose]
    return outputs.tsv(COLUMNS, [{name: _harmless(cell) for name, cell in line.items()} for line in lines])


def _line(series: Series, reason: str, inventory: Inventory) -> dict[str, Any]:
    accepted = not reason
    return {
        "subject": series.subjects,
        "session": series.session,
        "date": series.date,
        "series": series.label,
        "modality": series.modality,
        "contrast": series.contrast,
        "slices": series.slices or None,
        "outcome": "ingested" if accepted else inventory.outcomes.get(reason),
        "reason": reason or None,
        "files": series.files.get(reason, 0),
        "scans": tuple(scan.id for scan in series.scans) if accepted else (),
        "flags": tuple(sorted({flag for scan in series.scans for flag in scan.flags})) if accepted else (),
        "hint": inventory.hints.get(reason),
    }


def _loose_line(word: str, inventory: Inventory) -> dict[str, Any]:
    known = {"outcome": inventory.outcomes.get(word), "reason": word, "files": inventory.loose[word]}
    return dict.fromkeys(COLUMNS) | known | {"hint": inventory.hints.get(word)}


def _harmless(cell: Any) -> Any:
    """A spreadsheet takes a cell that begins with one of these for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
