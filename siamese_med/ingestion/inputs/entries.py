"""One file of the input during a run, and the group of files that are judged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field

from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs import time_limits
from siamese_med.ingestion.inputs.claims import InputClaim, InputPath
from siamese_med.ingestion.inputs.file_content import InspectedFile
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.reasons import UNOPENED_REASONS
from siamese_med.study.vocabulary import ContrastSource

NO_STAT = (0, 0, 0, 0)
"""Stands for a file of which the system gives no size, time, inode and device."""

FILES_PER_STAT_CALL = 256
"""Files whose status is asked for under one time limit."""

MAX_HUNG_STATS = 3
"""Files that may hang before no further status is asked for in this run."""


@dataclass(slots=True)
class InputEntry:
    """One file of the input.

    `unit` is known once the content is; `follows` is the entry of the header file (`.hdr`) of a voxel file (`.img`).
    """

    found: InputPath
    key: str  # HMAC of its path
    stat: tuple[int, int, int]  # size, nanosecond of the last change, inode
    device: int = 0
    unit: ContentUnit | None = None
    look: InspectedFile | None = None
    follows: InputEntry | None = None

    @property
    def known(self) -> ContentUnit:
        """The unit (content and claim) of an identified entry.

        Raises
        ------
        LookupError
            The entry was not identified yet, see `identification`.
        """
        if self.unit is None:
            raise LookupError("an entry was used before it was identified")
        return self.unit

    @property
    def is_segmentation(self) -> bool:
        """Whether it marks the lesions of a DICOM series, see `dicom.segmentations`."""
        return self.look is not None and self.look.segmentation is not None


def mark_unopened_entries(entries: Iterable[InputEntry]) -> None:
    """Give every entry that is counted but never opened an `InspectedFile` with its reason word.

    These are the entries with one of `reasons.UNOPENED_REASONS`, such as pipes and broken links.
    """
    for entry in entries:
        if entry.unit is None and entry.found.reason in UNOPENED_REASONS:
            entry.look = InspectedFile(0, "", reason=entry.found.reason)


@dataclass
class FileGroup:
    """Files that are judged together: a DICOM series, a NIfTI with its voxel file, or one file alone.

    Segmentations of a series' lesions are judged with it, and come last. `joined` has the keys of series that are parts
    of one volume with this one.
    """

    key: str
    entries: list[InputEntry] = field(default_factory=list)
    absent: bool = False  # slices of this series were ingested before and are not in this input
    joined: tuple[str, ...] = ()

    def add(self, entry: InputEntry) -> None:
        """Add a file; segmentations stay behind the images, since the first file stands for the group."""
        position = len(self.entries)
        while position and self.entries[position - 1].is_segmentation and not entry.is_segmentation:
            position -= 1
        self.entries.insert(position, entry)


def make_entry(found: InputPath, secret: Pseudonyms) -> InputEntry:
    """Make the entry of one file: HMAC of its absolute path, and size, time and inode from the system.

    The file is not opened. Without an answer from the system the entry has `NO_STAT`.
    """
    return _entry(found, _stat(found), secret)


def make_entries(found: Sequence[InputPath], secret: Pseudonyms) -> list[InputEntry]:
    """Make an entry for each file, in the same order.

    Status calls run under the time limit of `time_limits`. A file for which the system does not answer has `NO_STAT`,
    so it is inspected again; after `MAX_HUNG_STATS` such files the rest is not asked for.
    """
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
    """Compute the HMAC of an entry's claim.

    The claim is worked out here where it was not needed before. Where its side-cars cannot be read now, it is the
    file's place.
    """
    return compute_claim_key(entry.found.claim, secret)


def compute_claim_key(claim: InputClaim, secret: Pseudonyms) -> str:
    """Compute the HMAC of a claim. Equal claims under one secret have equal keys, in every run.

    Where the date is from is no part of it.

    How the contrast is known, masks of lesions and differences, and the person's traits are part of the key only where
    the input has them: claims of earlier versions, which could not, keep their keys.
    """
    *parts, source, _, lesions, person, difference, since, _ = astuple(claim)
    said = (source,) if source == ContrastSource.SAID else ()
    marked = ("lesions", *lesions) if lesions else ()
    known = ("person", repr(person)) if person else ()
    compared = ("difference", *difference, since) if difference else ()
    return secret.label("claim", *parts, *said, *marked, *known, *compared)


def compute_group_key(entry: InputEntry, secret: Pseudonyms) -> str:
    """Compute the key of the group that a file is judged with.

    Returns
    -------
    str
        HMAC of study and series UID (of the series number where the UID is missing), with the claim where a manifest
        lists the file; for a file without either UID, HMAC of its own content and claim. A segmentation of lesions has
        the key of the series that it marks.
    """
    look = (entry.follows or entry).look
    claim = compute_entry_claim_key(entry, secret) if entry.found.listed else ""
    if look and look.segmentation:
        return compute_series_key(look.segmentation.study, look.segmentation.series, secret, claim)
    one = look.instance if look else None
    if one is None or not (one.series or one.study):
        return secret.label("single", *(entry.follows or entry).known)
    return compute_series_key(one.study, one.series or one.facts.number, secret, claim)


def compute_series_key(study: str, series: str | int, secret: Pseudonyms, claim: str = "") -> str:
    """Compute the key of a DICOM series.

    Parameters
    ----------
    study, series
        Study Instance UID, and Series Instance UID or series number.
    secret
        Pseudonyms under which the HMAC is made.
    claim
        Key of the claim where a manifest lists the files.
    """
    return secret.label("series", study, series, claim)
