"""The inspection of one file: its hash and what it holds. Runs in a worker process and reads every file once."""

from __future__ import annotations

import hashlib
import os
import pickle
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from siamese_med.ingestion import machine_errors, nifti, nifti_header
from siamese_med.ingestion.dicom import headers, segmentations
from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.dicom.origins import DicomOrigin
from siamese_med.ingestion.dicom.segmentations import LesionSegmentation
from siamese_med.ingestion.inputs import open_files
from siamese_med.ingestion.reasons import RejectedError

SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r"})
"""Files that macOS and Windows leave in folders."""

APPLE_DOUBLE_MAGIC = b"\x00\x05\x16\x07"
"""First bytes of the file `._NAME` that macOS writes beside NAME on foreign disks (RFC 1740)."""

ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar")
"""Endings of packed archives, in lower case."""

TAR_MAGIC_OFFSET = 257
"""Byte at which `ustar` stands in a tar file (POSIX.1-1988)."""


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """Content of one file: a DICOM instance, a NIfTI (`voxels` is the path of its voxels), or a reason word.

    A `segmentation` of lesions has a reason too: it becomes no scan, but the mask of one.

    The instances of one request are pickled and compressed together (`packed`, with `place` as the index), since a run
    keeps those of all new files in memory.
    """

    size: int
    sha256: str
    voxels: str = ""
    reason: str = ""
    origin: DicomOrigin | None = None  # of a DICOM file that is no instance
    packed: bytes = b""
    place: int = 0
    segmentation: LesionSegmentation | None = None

    @property
    def instance(self) -> DicomInstance | None:
        """The DICOM instance, or None where the file is none.

        It is unpacked on access; the last requests are cached.
        """
        return _unpacked(self.packed)[self.place] if self.packed else None

    def refused(self, reason: str) -> InspectedFile:
        """Return the same file with a reason word and without content.

        Examples
        --------
        >>> InspectedFile(9, "aa", voxels="scan.nii").refused("derivative").voxels
        ''
        """
        return replace(self, packed=b"", voxels="", segmentation=None, reason=reason)


@dataclass(frozen=True)
class InspectionRequest:
    """Files to inspect in one task of a worker; larger files than `max_gigabytes` (10^9 bytes) are only hashed."""

    paths: tuple[str, ...]
    max_gigabytes: float


def make_unread_file(reason: str) -> InspectedFile:
    """Make the result for a file whose content is not known: never opened, or not readable at this time.

    Examples
    --------
    >>> make_unread_file("timed_out").sha256
    ''
    """
    return InspectedFile(0, "", reason=reason)


def inspect_files(request: InspectionRequest) -> list[InspectedFile]:
    """Inspect each file of a request; one result per path, in the same order.

    A bad file raises nothing, it gets a reason word. The files are only read. Call it in a worker process, since a
    hostile file may crash or block a decoder.
    """
    seen = [_inspect_file(Path(path), request.max_gigabytes * 1e9) for path in request.paths]
    packed = zlib.compress(pickle.dumps([instance for _, instance in seen]), 1)
    return [
        look if instance is None else replace(look, packed=packed, place=place)
        for place, (look, instance) in enumerate(seen)
    ]


@lru_cache(maxsize=32)
def _unpacked(packed: bytes) -> list[DicomInstance]:
    """Unpack what `inspect_files` packed; the bytes come from our own process, never from a file."""
    instances: list[DicomInstance] = pickle.loads(zlib.decompress(packed))
    return instances


def _inspect_file(path: Path, most_bytes: float) -> tuple[InspectedFile, DicomInstance | None]:
    try:
        size = path.stat().st_size
        if size > most_bytes:
            return hash_oversized_file(path), None
        data = open_files.read_regular_file(path)
    except RejectedError as rejected:
        return make_unread_file(rejected.reason), None
    except (OSError, MemoryError) as error:
        return make_unread_file(machine_errors.find_machine_error_reason(error) or "unreadable_file"), None
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _recognise_content(path, data, digest, most_bytes)
    except RejectedError as rejected:
        return _note_refusal(rejected, data, digest, most_bytes), None
    except Exception as error:  # one bad file must not stop the others
        return InspectedFile(
            len(data), digest, reason=machine_errors.find_machine_error_reason(error) or "unreadable_header"
        ), None


def _note_refusal(rejected: RejectedError, data: bytes, digest: str, most_bytes: float) -> InspectedFile:
    """Make the result for content that is no volume; of these, only segmentations are looked at once more."""
    look = InspectedFile(len(data), digest, reason=rejected.reason, origin=rejected.origin)
    if rejected.reason != "non_image" or rejected.origin is None or rejected.origin.modality != "SEG":
        return look
    marked = segmentations.read_lesion_segmentation(data, most_bytes)
    return replace(look, reason="lesion_mask", segmentation=marked) if marked else look


def _recognise_content(
    path: Path, data: bytes, digest: str, most_bytes: float
) -> tuple[InspectedFile, DicomInstance | None]:
    if not data:
        raise RejectedError("empty_file")
    if headers.looks_like_dicom(data[: headers.PREAMBLE_BYTES + 8]):
        return InspectedFile(len(data), digest), headers.read_dicom_instance(str(path), data, digest, most_bytes)
    head = nifti.inflate_first_bytes(data)
    found = nifti_header.parse_nifti_header(head)
    if found is None:
        raise RejectedError(_refusal_of_unknown(path, data, head))
    voxels = path if found.kind == "single" else nifti.find_voxel_file(path)
    if voxels is None:
        raise RejectedError("no_orientation" if found.kind == "analyze" else "truncated")
    return InspectedFile(len(data), digest, voxels=str(voxels)), None


def _refusal_of_unknown(path: Path, data: bytes, head: bytes) -> str:
    """Choose the reason for unknown content: a truncated NIfTI header still has its first bytes."""
    if data.startswith(b"/annex/objects/") or (data.startswith(b"version ") and b"git-lfs" in data[:64]):
        return "not_fetched"  # git-annex and git LFS leave such a text in the place of the content
    if path.name in SYSTEM_FILES or (path.name.startswith("._") and data.startswith(APPLE_DOUBLE_MAGIC)):
        return "system_file"
    if path.name.lower().endswith(ARCHIVE_ENDINGS) or head[TAR_MAGIC_OFFSET:].startswith(b"ustar"):
        return "packed_archive"
    if head is not data and headers.looks_like_dicom(head):
        return "packed_archive"
    named = path.name.lower().removesuffix(".gz").endswith((".nii", ".hdr"))
    if named and len(head) < nifti_header.NIFTI1_HEADER_BYTES and data.startswith(nifti.GZIP_MAGIC):
        return "truncated"
    return "unreadable_header" if named and head[:4] in (b"\\\x01\0\0", b"\0\0\x01\\") else "not_an_image"


def hash_oversized_file(path: Path) -> InspectedFile:
    """Hash a file that is too large to inspect, and give it the reason `too_large`.

    Raises
    ------
    RejectedError
        It is no regular file.
    OSError
        It cannot be read now.
    """
    with open_files.open_regular_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return InspectedFile(os.fstat(file.fileno()).st_size, digest, reason="too_large")


def hash_crashed_file(path: str) -> InspectedFile:
    """Hash a file whose inspection crashed its process, in another process; its reason is `unreadable_header`.

    A file that cannot be read now gets the reason of the machine error instead. Raises nothing.
    """
    try:
        return replace(hash_oversized_file(Path(path)), reason="unreadable_header")
    except RejectedError as rejected:
        return make_unread_file(rejected.reason)
    except OSError as error:
        return make_unread_file(machine_errors.find_machine_error_reason(error) or "unreadable_file")
