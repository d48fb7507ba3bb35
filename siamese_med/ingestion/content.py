"""One look at one file: its hash and what it holds. Runs in a worker process; reads every file once."""

from __future__ import annotations

import hashlib
import os
import pickle
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from siamese_med.ingestion import headers, nifti, passing, reading
from siamese_med.ingestion.instances import Instance
from siamese_med.ingestion.origins import Origin
from siamese_med.ingestion.reasons import RejectedError

CHUNK = 2**22


@dataclass(frozen=True, slots=True)
class Look:
    """What one file holds: a DICOM instance, a NIfTI (`voxels`: the path of its voxels), or a reason word.

    Instances of files that were looked at together are `packed` together, since a run holds those of all new files.
    """

    size: int
    sha256: str
    voxels: str = ""
    reason: str = ""
    origin: Origin | None = None  # of a DICOM file that is no instance
    packed: bytes = b""
    place: int = 0

    @property
    def instance(self) -> Instance | None:
        """The DICOM instance, if it is one."""
        return _unpacked(self.packed)[self.place] if self.packed else None

    def refused(self, reason: str) -> Look:
        """The same file, taken for nothing."""
        return replace(self, packed=b"", voxels="", reason=reason)


@dataclass(frozen=True)
class Glance:
    """A request to look at some files."""

    paths: tuple[str, ...]
    max_gigabytes: float


def unread(reason: str) -> Look:
    """A file whose content is not known, since it is never opened or the machine did not give it this time."""
    return Look(0, "", reason=reason)


def look_at(request: Glance) -> list[Look]:
    """Look at each file of a request, in its order."""
    seen = [_look(Path(path), request.max_gigabytes * 1e9) for path in request.paths]
    packed = zlib.compress(pickle.dumps([instance for _, instance in seen]), 1)
    return [
        look if instance is None else replace(look, packed=packed, place=place)
        for place, (look, instance) in enumerate(seen)
    ]


@lru_cache(maxsize=32)
def _unpacked(packed: bytes) -> list[Instance]:
    """What `look_at` packed; the bytes come from our own process, never from a file."""
    instances: list[Instance] = pickle.loads(zlib.decompress(packed))
    return instances


def _look(path: Path, most_bytes: float) -> tuple[Look, Instance | None]:
    try:
        size = path.stat().st_size
        if size > most_bytes:
            return hashed(path), None
        data = reading.content(path)
    except RejectedError as rejected:
        return unread(rejected.reason), None
    except (OSError, MemoryError) as error:
        return unread(passing.word_of(error) or "unreadable_file"), None
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _held(path, data, digest, most_bytes)
    except RejectedError as rejected:
        return Look(len(data), digest, reason=rejected.reason, origin=rejected.origin), None
    except Exception as error:  # one file never ends a batch
        return Look(len(data), digest, reason=passing.word_of(error) or "unreadable_header"), None


def _held(path: Path, data: bytes, digest: str, most_bytes: float) -> tuple[Look, Instance | None]:
    if not data:
        raise RejectedError("empty_file")
    if headers.looks_like_dicom(data[: headers.PREAMBLE + 8]):
        return Look(len(data), digest), headers.read(str(path), data, digest, most_bytes)
    head = nifti.head_of(data)
    found = nifti.header(head)
    if found is None:
        raise RejectedError(_other(path, data, head))
    voxels = path if found.kind == "single" else nifti.partner(path)
    if voxels is None:
        raise RejectedError("no_orientation" if found.kind == "analyze" else "truncated")
    return Look(len(data), digest, voxels=str(voxels)), None


def _other(path: Path, data: bytes, head: bytes) -> str:
    """A cut NIfTI header still shows its first bytes; anything else is no image."""
    if data.startswith(b"/annex/objects/") or (data.startswith(b"version ") and b"git-lfs" in data[:64]):
        return "not_fetched"  # git-annex and git LFS leave such a text in the place of the content
    named = path.name.lower().removesuffix(".gz").endswith((".nii", ".hdr"))
    if named and len(head) < nifti.SHORTEST_HEADER and data.startswith(nifti.GZIP):
        return "truncated"
    return "unreadable_header" if named and head[:4] in (b"\\\x01\0\0", b"\0\0\x01\\") else "not_an_image"


def hashed(path: Path) -> Look:
    """A file that is too large to look at: only its hash is taken; raises RejectedError or OSError."""
    with reading.opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Look(os.fstat(file.fileno()).st_size, digest, reason="too_large")


def hash_alone(path: str) -> Look:
    """A file that ended the process which looked at it: only its hash is taken, by another process."""
    try:
        return replace(hashed(Path(path)), reason="unreadable_header")
    except RejectedError as rejected:
        return unread(rejected.reason)
    except OSError as error:
        return unread(passing.word_of(error) or "unreadable_file")
