"""One file of the input on its way through a run, and the group of files that are judged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field

from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs import time_limits
from siamese_med.ingestion.inputs.claims import InputClaim, InputPath
from siamese_med.ingestion.inputs.file_content import InspectedFile
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.reasons import UNOPENED_REASONS

NO_STAT = (0, 0, 0, 0)
FILES_PER_STAT_CALL = 256
MAX_HUNG_STATS = 3
"""Files that the system may not answer for before it is asked for no more of them."""


@dataclass(slots=True)
class InputEntry:
    """One file of the input; `unit` is known once its content is; `follows` is the header of a voxel file."""

    found: InputPath
    key: str  # HMAC of its path
    stat: tuple[int, int, int]  # size, nanosecond of the last change, inode
    device: int = 0
    unit: ContentUnit | None = None
    look: InspectedFile | None = None
    follows: InputEntry | None = None

    @property
    def known(self) -> ContentUnit:
        """The unit of an entry that was identified."""
        if self.unit is None:
            raise LookupError("an entry was used before it was identified")
        return self.unit


def mark_unopened_entries(entries: Iterable[InputEntry]) -> None:
    """Give every entry that is counted and never opened its look, which holds the reason alone."""
    for entry in entries:
        if entry.unit is None and entry.found.reason in UNOPENED_REASONS:
            entry.look = InspectedFile(0, "", reason=entry.found.reason)


@dataclass
class FileGroup:
    """Files that are judged together: a DICOM series, a NIfTI with its voxel file, or one file alone."""

    key: str
    entries: list[InputEntry] = field(default_factory=list)
    absent: bool = False  # were slices of this series ingested before that are not in this input?


def make_entry(found: InputPath, secret: Pseudonyms) -> InputEntry:
    """A new entry, with what the system says of the file without opening it."""
    return _entry(found, _stat(found), secret)


def make_entries(found: Sequence[InputPath], secret: Pseudonyms) -> list[InputEntry]:
    """A new entry for each file. Where the system does not answer it has no stat, and so is looked at."""
    stats: list[tuple[int, int, int, int]] = []
    hung = 0
    for start in range(0, len(found), FILES_PER_STAT_CALL):
        some = found[start : start + FILES_PER_STAT_CALL]
        try:
            stats += time_limits.call_with_time_limit(_stats, some) if hung < MAX_HUNG_STATS else [NO_STAT] * len(some)
            continue
        except TimeoutError:
            pass
        for one in some:
            try:
                stats.append(time_limits.call_with_time_limit(_stat, one) if hung < MAX_HUNG_STATS else NO_STAT)
            except TimeoutError:
                stats.append(NO_STAT)
                hung += 1
    return [_entry(one, stat, secret) for one, stat in zip(found, stats, strict=True)]


def _entry(found: InputPath, stat: tuple[int, int, int, int], secret: Pseudonyms) -> InputEntry:
    return InputEntry(found, secret.label("path", found.path.absolute()), stat[:3], stat[3])


def _stats(found: Sequence[InputPath]) -> list[tuple[int, int, int, int]]:
    return [_stat(one) for one in found]


def _stat(found: InputPath) -> tuple[int, int, int, int]:
    """Size, nanosecond of the last change, inode, device."""
    try:
        status = found.path.lstat() if found.reason in UNOPENED_REASONS else found.path.stat()
    except (OSError, ValueError):  # a NUL character is a ValueError
        return NO_STAT
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def compute_entry_claim_key(entry: InputEntry, secret: Pseudonyms) -> str:
    """HMAC of what the input claims of an entry."""
    return compute_claim_key(entry.found.claim, secret)


def compute_claim_key(claim: InputClaim, secret: Pseudonyms) -> str:
    """HMAC of a claim."""
    return secret.label("claim", *astuple(claim))


def compute_group_key(entry: InputEntry, secret: Pseudonyms) -> str:
    """HMAC of the series UID with the study's and a manifest's claim, else of the file alone."""
    look = (entry.follows or entry).look
    one = look.instance if look else None
    if one is None or not (one.series or one.study):
        return secret.label("single", *(entry.follows or entry).known)
    claim = compute_entry_claim_key(entry, secret) if entry.found.listed else ""
    return compute_series_key(one.study, one.series or one.facts.number, secret, claim)


def compute_series_key(study: str, series: str | int, secret: Pseudonyms, claim: str = "") -> str:
    """HMAC of a DICOM series; `claim`: of what a manifest says of it."""
    return secret.label("series", study, series, claim)
