"""One file of the input on its way through a run, and the group of files that are judged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field

from siamese_med.ingestion import patience
from siamese_med.ingestion.content import Look
from siamese_med.ingestion.reasons import UNOPENED
from siamese_med.ingestion.secret import Pseudonyms
from siamese_med.ingestion.sources import Claim, Found
from siamese_med.ingestion.tables import Unit

NO_STAT = (0, 0, 0, 0)
STATS_AT_ONCE = 256
MOST_HUNG = 3
"""Files that the system may not answer for before it is asked for no more of them."""


@dataclass(slots=True)
class Entry:
    """One file of the input; `unit` is known once its content is; `follows` is the header of a voxel file."""

    found: Found
    key: str  # HMAC of its path
    stat: tuple[int, int, int]  # size, nanosecond of the last change, inode
    device: int = 0
    unit: Unit | None = None
    look: Look | None = None
    follows: Entry | None = None

    @property
    def known(self) -> Unit:
        """The unit of an entry that was identified."""
        if self.unit is None:
            raise LookupError("an entry was used before it was identified")
        return self.unit


def settle_unopened(entries: Iterable[Entry]) -> None:
    """Give every entry that is counted and never opened its look, which holds the reason alone."""
    for entry in entries:
        if entry.unit is None and entry.found.reason in UNOPENED:
            entry.look = Look(0, "", reason=entry.found.reason)


@dataclass
class Group:
    """Files that are judged together: a DICOM series, a NIfTI with its voxel file, or one file alone."""

    key: str
    entries: list[Entry] = field(default_factory=list)
    absent: bool = False  # were slices of this series ingested before that are not in this input?


def entry_of(found: Found, secret: Pseudonyms) -> Entry:
    """A new entry, with what the system says of the file without opening it."""
    return _entry(found, _stat(found), secret)


def entries_of(found: Sequence[Found], secret: Pseudonyms) -> list[Entry]:
    """A new entry for each file. Where the system does not answer it has no stat, and so is looked at."""
    stats: list[tuple[int, int, int, int]] = []
    hung = 0
    for start in range(0, len(found), STATS_AT_ONCE):
        some = found[start : start + STATS_AT_ONCE]
        try:
            stats += patience.ask(_stats, some) if hung < MOST_HUNG else [NO_STAT] * len(some)
            continue
        except TimeoutError:
            pass
        for one in some:
            try:
                stats.append(patience.ask(_stat, one) if hung < MOST_HUNG else NO_STAT)
            except TimeoutError:
                stats.append(NO_STAT)
                hung += 1
    return [_entry(one, stat, secret) for one, stat in zip(found, stats, strict=True)]


def _entry(found: Found, stat: tuple[int, int, int, int], secret: Pseudonyms) -> Entry:
    return Entry(found, secret.label("path", found.path.absolute()), stat[:3], stat[3])


def _stats(found: Sequence[Found]) -> list[tuple[int, int, int, int]]:
    return [_stat(one) for one in found]


def _stat(found: Found) -> tuple[int, int, int, int]:
    """Size, nanosecond of the last change, inode, device."""
    try:
        status = found.path.lstat() if found.reason in UNOPENED else found.path.stat()
    except (OSError, ValueError):  # a NUL character is a ValueError
        return NO_STAT
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def claim_on(entry: Entry, secret: Pseudonyms) -> str:
    """HMAC of what the input claims of an entry."""
    return claim_by(entry.found.claim, secret)


def claim_by(claim: Claim, secret: Pseudonyms) -> str:
    """HMAC of a claim."""
    return secret.label("claim", *astuple(claim))


def group_key(entry: Entry, secret: Pseudonyms) -> str:
    """HMAC of the series UID with the study's and a manifest's claim, else of the file alone."""
    look = (entry.follows or entry).look
    one = look.instance if look else None
    if one is None or not (one.series or one.study):
        return secret.label("single", *(entry.follows or entry).known)
    claim = claim_on(entry, secret) if entry.found.listed else ""
    return series_key(one.study, one.series or one.facts.number, secret, claim)


def series_key(study: str, series: str | int, secret: Pseudonyms, claim: str = "") -> str:
    """HMAC of a DICOM series; `claim`: of what a manifest says of it."""
    return secret.label("series", study, series, claim)
