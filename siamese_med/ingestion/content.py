"""One look at one file: its hash and what it holds. Runs in a worker process; reads every file once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from siamese_med.ingestion import headers, nifti
from siamese_med.ingestion.instances import Instance
from siamese_med.ingestion.reasons import RejectedError

CHUNK = 2**22


@dataclass(frozen=True)
class Look:
    """What one file holds: a DICOM instance, a NIfTI (`voxels`: the path of its voxels), or a reason word."""

    path: str
    size: int
    sha256: str
    instance: Instance | None = None
    voxels: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Glance:
    """A request to look at some files."""

    paths: tuple[str, ...]
    max_gigabytes: float


def look_at(request: Glance) -> list[Look]:
    """Look at each file of a request, in its order."""
    return [_look(Path(path), request.max_gigabytes * 1e9) for path in request.paths]


def _look(path: Path, most_bytes: float) -> Look:
    try:
        size = path.stat().st_size
        if size > most_bytes:
            return Look(str(path), size, _hashed(path), reason="too_large")
        data = path.read_bytes()
    except OSError:
        return unreadable(path)
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _held(path, data, digest, most_bytes)
    except RejectedError as rejected:
        return Look(str(path), len(data), digest, reason=rejected.reason)
    except Exception:  # one file never ends a batch
        return Look(str(path), len(data), digest, reason="unreadable_header")


def _held(path: Path, data: bytes, digest: str, most_bytes: float) -> Look:
    if not data:
        raise RejectedError("empty_file")
    if headers.looks_like_dicom(data[: headers.PREAMBLE + 8]):
        instance = headers.read(str(path), data, digest, most_bytes)
        return Look(str(path), len(data), digest, instance=instance)
    head = nifti.head_of(data)
    found = nifti.header(head)
    if found is None:
        raise RejectedError(_other(path, data, head))
    voxels = path if found.kind == "single" else nifti.partner(path)
    if voxels is None:
        raise RejectedError("no_orientation" if found.kind == "analyze" else "truncated")
    return Look(str(path), len(data), digest, voxels=str(voxels))


def _other(path: Path, data: bytes, head: bytes) -> str:
    """A cut NIfTI header still shows its first bytes; anything else is no image."""
    named = path.name.lower().removesuffix(".gz").endswith((".nii", ".hdr"))
    if named and len(head) < nifti.SHORTEST_HEADER and data.startswith(nifti.GZIP):
        return "truncated"
    return "unreadable_header" if named and head[:4] in (b"\\\x01\0\0", b"\0\0\x01\\") else "not_an_image"


def unreadable(path: Path) -> Look:
    """A file that the system refuses to read, or that ended the process that read it, known by a hash of nothing."""
    return Look(str(path), 0, "", reason="unreadable_file")


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hopeless(path: Path) -> Look:
    """A file that ended or stalled the process that looked at it: only its hash is taken."""
    try:
        return Look(str(path), path.stat().st_size, _hashed(path), reason="unreadable_header")
    except OSError:
        return unreadable(path)
