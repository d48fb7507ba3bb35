"""Did everything arrive? A server may drop a conflicting duplicate and report success, so what came back is counted.

Two files are the same instance if they have the same SOP Instance UID and the same data set, byte by byte after the
file meta information, which servers rewrite. Since servers may also correct attributes, equal pixels are accepted last;
but one file that came back never stands for two that were sent.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from siamese_med.errors import MissingFileError
from siamese_med.ingestion.dicom import headers, tags
from siamese_med.ingestion.inputs import open_files, sources
from siamese_med.ingestion.reasons import RejectedError

MAX_INFLATED_HEADER_BYTES = 2**26
"""Bytes to which a deflated data set is inflated to read its header."""

META_GROUP_BYTES = b"\x02\x00"
"""Group 0002, little endian: the group of the file meta information (DICOM PS3.10, section 7.1)."""


@dataclass(frozen=True)
class DicomFingerprint:
    """The UIDs of a DICOM file, and SHA-256 of its data set and of its pixels alone (empty where not wanted)."""

    study: str
    series: str
    sop: str
    content: str = ""
    pixels: str = ""


class TransferLedger:
    """Distinct instances that were sent to a server, and what came back of them.

    `series` has the (study, series) UIDs of the files that were sent.
    """

    def __init__(self, sent: Path | None) -> None:
        """Read all files below the folder of sent files; None: nothing was sent. Raises MissingFileError."""
        self._sent: dict[str, set[DicomFingerprint]] = defaultdict(set)
        self._back: dict[str, set[DicomFingerprint]] = defaultdict(set)
        for one in _fingerprint_folder(sent) if sent is not None else ():
            self._sent[one.sop].add(one)
        self.series = {(one.study, one.series) for many in self._sent.values() for one in many}

    @property
    def sent(self) -> int:
        """Number of distinct instances (by UID, data set and pixels) that were sent to the server."""
        return sum(map(len, self._sent.values()))

    def came(self, one: DicomFingerprint, data: bytes) -> None:
        """Record a file that came back.

        It counts only if its SOP Instance UID was sent. `one` is its fingerprint without hashes, `data` are its bytes,
        which are hashed here.
        """
        if one.sop in self._sent:
            self._back[one.sop].add(fingerprint_dicom(data, hashed=True) or one)

    def not_returned(self) -> int:
        """Count the sent instances that did not come back, or came back with another data set and other pixels."""
        return sum(_count_not_returned(sent, self._back[sop]) for sop, sent in self._sent.items())


def _count_not_returned(sent: Iterable[DicomFingerprint], back: Iterable[DicomFingerprint]) -> int:
    """Match each returned file to one that was sent: by data set, or else by pixels."""
    sent_contents, back_contents = ({one.content: one.pixels for one in many} for many in (sent, back))
    altered = {content: pixels for content, pixels in sent_contents.items() if content not in back_contents}
    pixels_back = Counter(pixels for content, pixels in back_contents.items() if content not in sent_contents)
    return (Counter(altered.values()) - pixels_back).total()


def _fingerprint_folder(folder: Path) -> Iterable[DicomFingerprint]:
    if not folder.is_dir():
        raise MissingFileError("the folder of --sent is not there: name the one whose files were sent to the PACS")
    for path in sources.list_files_below(folder):
        try:
            one = fingerprint_dicom(open_files.read_regular_file(path), hashed=True)
        except RejectedError:  # a pipe or a device was never sent
            continue
        if one is not None and one.sop:
            yield one


def fingerprint_dicom(data: bytes, hashed: bool = False) -> DicomFingerprint | None:
    """Read the UIDs from a DICOM file's bytes.

    Parameters
    ----------
    data
        The file.
    hashed
        Whether to hash data set and pixels as well.

    Returns
    -------
    DicomFingerprint or None
        None where the bytes are no DICOM or the header is broken.

    Examples
    --------
    >>> fingerprint_dicom(b"plain text") is None
    True
    """
    import pydicom

    if not headers.looks_like_dicom(data[: headers.PREAMBLE_BYTES + 8]):
        return None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    start = _find_dataset_start(data)
    deflated = headers.DEFLATED_SYNTAX_UID.encode() in data[:start]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = io.BytesIO(_inflated(data[start:]) if deflated else data)
            dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
            study, series, sop = (
                tags.get_tag_text(dataset, f"{level}InstanceUID") for level in ("Study", "Series", "SOP")
            )
    except Exception:  # pydicom may raise any exception on a broken header
        return None
    if not hashed:
        return DicomFingerprint(study, series, sop)
    pixels = data[start:] if deflated else data[file.tell() :]
    return DicomFingerprint(study, series, sop, _hash(data[start:]), _hash(_value(pixels)))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _inflated(data: bytes) -> bytes:
    """Inflate the beginning of a deflated data set; all of it could be made to fill the memory."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_INFLATED_HEADER_BYTES)


def _find_dataset_start(data: bytes) -> int:
    """Return where the data set begins: after the preamble and group 0002, which is always explicit little endian."""
    position = headers.PREAMBLE_BYTES + 4 if data[headers.PREAMBLE_BYTES : headers.PREAMBLE_BYTES + 4] == b"DICM" else 0
    while data[position : position + 2] == META_GROUP_BYTES and position + 12 <= len(data):
        long_form = data[position + 4 : position + 6] in headers.LONG_FORM_VRS
        length = struct.unpack_from("<I" if long_form else "<H", data, position + (8 if long_form else 6))[0]
        position += (12 if long_form else 8) + length
    return min(position, len(data))


def _value(element: bytes) -> bytes:
    """Return the value of the first element, without tag, VR and length."""
    return element[12:] if element[4:6] in headers.LONG_FORM_VRS else element[8:]
