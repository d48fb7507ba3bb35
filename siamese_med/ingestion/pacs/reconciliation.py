"""Did everything arrive? A server drops a conflicting duplicate and says success, so what came back is counted.

Two files are the same instance if they agree on the SOP instance UID and on their data set, byte by byte behind the
meta header, which servers write anew. As servers may also correct attributes, equal pixels are enough in the end; but
one file that came back never stands for two that were sent.
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
META_GROUP_BYTES = b"\x02\x00"


@dataclass(frozen=True)
class DicomFingerprint:
    """One DICOM file: who it says it is, and hashes of its data set and of its pixels alone."""

    study: str
    series: str
    sop: str
    content: str = ""
    pixels: str = ""


class TransferLedger:
    """Distinct instances that had been sent to a server, and what came back of them."""

    def __init__(self, sent: Path | None) -> None:
        self._sent: dict[str, set[DicomFingerprint]] = defaultdict(set)
        self._back: dict[str, set[DicomFingerprint]] = defaultdict(set)
        for one in _fingerprint_folder(sent) if sent is not None else ():
            self._sent[one.sop].add(one)
        self.series = {(one.study, one.series) for many in self._sent.values() for one in many}

    @property
    def sent(self) -> int:
        """How many had been sent."""
        return sum(map(len, self._sent.values()))

    def came(self, one: DicomFingerprint, data: bytes) -> None:
        """Note a file that came back."""
        if one.sop in self._sent:
            self._back[one.sop].add(fingerprint_dicom(data, hashed=True) or one)

    def not_returned(self) -> int:
        """How many of those that were sent did not come back, or came back as something else."""
        return sum(_count_not_returned(sent, self._back[sop]) for sop, sent in self._sent.items())


def _count_not_returned(sent: Iterable[DicomFingerprint], back: Iterable[DicomFingerprint]) -> int:
    """Each file that came back stands for one that was sent: of the same data set if there is one, else same pixels."""
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
    """What a file's bytes say they are, with hashes if wanted; None where they are not DICOM."""
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
    except Exception:  # a broken header makes pydicom raise anything
        return None
    if not hashed:
        return DicomFingerprint(study, series, sop)
    pixels = data[start:] if deflated else data[file.tell() :]
    return DicomFingerprint(study, series, sop, _hash(data[start:]), _hash(_value(pixels)))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _inflated(data: bytes) -> bytes:
    """The beginning of a deflated data set; never all of it, since it may be made to fill the memory."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_INFLATED_HEADER_BYTES)


def _find_dataset_start(data: bytes) -> int:
    """Where the data set begins: behind the preamble and the elements of group 2, always little-endian explicit."""
    position = headers.PREAMBLE_BYTES + 4 if data[headers.PREAMBLE_BYTES : headers.PREAMBLE_BYTES + 4] == b"DICM" else 0
    while data[position : position + 2] == META_GROUP_BYTES and position + 12 <= len(data):
        long_form = data[position + 4 : position + 6] in headers.LONG_FORM_VRS
        length = struct.unpack_from("<I" if long_form else "<H", data, position + (8 if long_form else 6))[0]
        position += (12 if long_form else 8) + length
    return min(position, len(data))


def _value(element: bytes) -> bytes:
    """The value of the element that stands at the beginning, without its tag, type and length."""
    return element[12:] if element[4:6] in headers.LONG_FORM_VRS else element[8:]
