"""One DICOM file to one DicomInstance: the header is read once, the pixels are located and measured but not decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siamese_med.ingestion import decompression_limits
from siamese_med.ingestion.dicom import fast_header, origins, planes, scan_facts, sop_classes, tags
from siamese_med.ingestion.dicom.fast_header import NotPlainError
from siamese_med.ingestion.dicom.header_memory import HeaderMemory
from siamese_med.ingestion.dicom.instances import DicomInstance, PixelStorage, SlicePlane, share_value
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.dicom.tags import DicomHeader

PREAMBLE_BYTES = 128
"""Bytes before the letters `DICM` (DICOM PS3.10, section 7.1)."""

META_LENGTH_OFFSET = 140
"""Byte at which the length of the file meta group stands: it is the first element after the preamble."""

DEFLATED_SYNTAX_UID = "1.2.840.10008.1.2.1.99"
"""Transfer syntax Deflated Explicit VR Little Endian (PS3.5, annex A.5)."""

BIG_ENDIAN_SYNTAX_UID = "1.2.840.10008.1.2.2"
"""Transfer syntax Explicit VR Big Endian, retired."""

PIXEL_DATA_TAG = (0x7FE0, 0x0010)
UNDEFINED_LENGTH = 0xFFFFFFFF
LONG_FORM_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC", b"UR", b"SV", b"UV")
"""Value representations with a 32-bit length (PS3.5, section 7.1.2)."""

OVERLAY_BITS_TAG = (0x6000, 0x0102)
"""Overlay Bits Allocated; without overlay data the overlay is in unused bits of the pixels."""

OVERLAY_DATA_TAG = (0x6000, 0x3000)


@dataclass(frozen=True)
class DicomFileBytes:
    """A file in memory: path, bytes, SHA-256 of the bytes, and the largest volume in bytes."""

    path: str
    data: bytes
    content: str
    most_bytes: float


def looks_like_dicom(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of DICOM, with preamble or without.

    Without a preamble, the first element must be of group 0002 or 0008.

    Examples
    --------
    >>> looks_like_dicom(bytes(128) + b"DICM")
    True
    >>> looks_like_dicom(b"%PDF-1.7 and so on")
    False
    """
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return True
    if len(head) < 8:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    for order in "<>":
        group, element, length = struct.unpack_from(f"{order}HHI", head)
        if group in (0x0002, 0x0008) and element <= 0x1200 and (explicit or length <= 0x10000):
            return True
    return False


def read_dicom_instance(path: str, data: bytes, content: str, most_bytes: float) -> DicomInstance:
    """Read the header of a DICOM file.

    Plain headers are read by `fast_header`, all others by pydicom.

    Parameters
    ----------
    path
        Where the file lies, for reading the pixels later.
    data
        All bytes of the file.
    content
        SHA-256 of the bytes.
    most_bytes
        Largest size of the uncompressed pixels.

    Raises
    ------
    RejectedError
        The file is no volume of MR, CT or PET, or its header is broken; `origin` has the patient where it could be
        read.
    """
    try:
        header = fast_header.parse_plain_header(data)
        return _held(header, data, header.end, DicomFileBytes(path, data, content, most_bytes))
    except NotPlainError:
        return read_dicom_with_pydicom(path, data, content, most_bytes)


def read_dicom_with_pydicom(path: str, data: bytes, content: str, most_bytes: float) -> DicomInstance:
    """Read the header with pydicom: for any header, ten times as slow as `fast_header`.

    Parameters, result and errors are those of `read_dicom_instance`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _held(*parse_with_pydicom(data, most_bytes), DicomFileBytes(path, data, content, most_bytes))


def _held(header: DicomHeader, body: bytes, position: int, source: DicomFileBytes) -> DicomInstance:
    """Build the instance; `body` are the bytes that the header was read from, `position` is where it ends."""
    try:
        return _judged(header, body, position, source)
    except RejectedError as rejected:
        rejected.origin = origins.read_dicom_origin(header)
        raise


def _judged(header: DicomHeader, body: bytes, position: int, source: DicomFileBytes) -> DicomInstance:
    modality = _determine_modality(header)
    storage = _storage(header, source.path, len(source.data))
    if storage.native_bytes > source.most_bytes:
        raise RejectedError("too_large")
    slices = planes.read_planes(header, source.content)
    first = slices[0]
    tiles = (first.rows, first.columns) if (first.rows, first.columns) != (storage.rows, storage.columns) else None
    start, length = _pixel_element(header, body, position)
    packed = length == UNDEFINED_LENGTH
    storage = replace(storage, tiles=tiles, offset=None if packed else start, encoded=(start, start + length))
    flaw = _flaw(storage, body)
    if body is not source.data:
        storage = replace(storage, offset=None, encoded=(0, 0))
    return _instance(header, source.content, modality, storage, slices, flaw)


_determine_modality = HeaderMemory(sop_classes.determine_modality)


def parse_with_pydicom(data: bytes, most_bytes: float) -> tuple[Dataset, bytes, int]:
    """Return the data set without its pixels, the bytes it was read from (inflated if deflated), and where it ends.

    Parameters
    ----------
    data
        All bytes of the file.
    most_bytes
        Largest size of a deflated file.

    Raises
    ------
    RejectedError
        The header is broken, or the file grows beyond `most_bytes`.
    """
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM" and DEFLATED_SYNTAX_UID.encode() in data[:1024]:
            return _parse_deflated(data, most_bytes)
        file = io.BytesIO(data)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        tags.keep_undecodable_identifiers(dataset)
        return dataset, data, file.tell()
    except RejectedError:
        raise
    except Exception as error:  # pydicom may raise any exception on a broken header
        raise RejectedError("unreadable_header") from error


def _parse_deflated(data: bytes, most_bytes: float) -> tuple[Dataset, bytes, int]:
    """Inflate the part after the file meta group under a limit, which pydicom would not set, and parse it."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    meta_length = struct.unpack_from("<I", data, META_LENGTH_OFFSET)[0]
    body = _inflated(data[META_LENGTH_OFFSET + 4 + meta_length :], most_bytes)
    file = io.BytesIO(body)
    dataset = pydicom.filereader.read_dataset(file, False, True, stop_when=_at_pixels)
    tags.keep_undecodable_identifiers(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(DEFLATED_SYNTAX_UID)
    dataset.set_original_encoding(False, True)
    return dataset, body, file.tell()


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _inflated(deflated: bytes, most_bytes: float) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    body = engine.decompress(
        deflated, min(int(most_bytes), decompression_limits.compute_inflation_limit_bytes(len(deflated)))
    )
    if engine.unconsumed_tail:
        raise RejectedError("too_large")
    if not engine.eof:
        raise RejectedError("truncated_pixels")
    return body


def _storage(dataset: DicomHeader, path: str, size: int) -> PixelStorage:
    syntax = tags.get_tag_text(getattr(dataset, "file_meta", None), "TransferSyntaxUID")
    frames, allocated = tags.get_tag_integer(dataset, "NumberOfFrames"), tags.get_tag_integer(dataset, "BitsAllocated")
    stored = tags.get_tag_integer(dataset, "BitsStored") or allocated or 0
    high = tags.get_tag_integer(dataset, "HighBit")
    storage = PixelStorage(
        path=path,
        size=size,
        offset=None,
        encoded=(0, 0),
        rows=tags.get_tag_integer(dataset, "Rows") or 0,
        columns=tags.get_tag_integer(dataset, "Columns") or 0,
        frames=max(frames or 1, 1),
        bits_allocated=allocated or 0,
        bits_stored=stored,
        signed=tags.get_tag_integer(dataset, "PixelRepresentation") == 1,
        big_endian=syntax == BIG_ENDIAN_SYNTAX_UID,
        masked=tags.get_tag_integer(dataset, OVERLAY_BITS_TAG) is not None
        and tags.get_tag_value(dataset, OVERLAY_DATA_TAG) is None,
        low_bits=high + 1 - stored if high is not None and stored <= high < (allocated or 0) else 0,
    )
    if storage.rows <= 0 or storage.columns <= 0 or storage.bits_allocated not in (8, 16, 32):
        raise RejectedError("unreadable_header")
    return storage


def _flaw(storage: PixelStorage, body: bytes) -> str:
    """Return the reason word for what is wrong with the pixels, judged by their length; empty where nothing is."""
    start, end = storage.encoded
    if not start:
        return "unreadable_header"
    if storage.offset is None:
        return "" if _whole_fragments(body, start) else "truncated_pixels"
    return "truncated_pixels" if min(end, len(body)) - start < storage.native_bytes else ""


def _pixel_element(dataset: DicomHeader, body: bytes, position: int) -> tuple[int, int]:
    """Start and length of the pixel data's value; zeros where the file ends before it."""
    if position < 0 or position + 12 > len(body):
        return 0, 0
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    if struct.unpack_from(f"{order}HH", body, position) != PIXEL_DATA_TAG:
        return 0, 0
    if implicit:
        return position + 8, struct.unpack_from(f"{order}I", body, position + 4)[0]
    if body[position + 4 : position + 6] in LONG_FORM_VRS:
        return position + 12, struct.unpack_from(f"{order}I", body, position + 8)[0]
    return 0, 0


def _whole_fragments(body: bytes, position: int) -> bool:
    """Whether every fragment of encapsulated pixels ends inside the file."""
    fragments = 0
    while position + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHI", body, position)
        if (group, element) == (0xFFFE, 0xE0DD):
            return fragments > 1
        if (group, element) != (0xFFFE, 0xE000) or length == UNDEFINED_LENGTH:
            return False
        position, fragments = position + 8 + length, fragments + 1
    return position == len(body) and fragments > 1


def _instance(
    dataset: DicomHeader, content: str, modality: str, storage: PixelStorage, slices: tuple[SlicePlane, ...], flaw: str
) -> DicomInstance:
    return DicomInstance(
        content=content,
        issuer=tags.get_tag_text(dataset, "IssuerOfPatientID"),
        patient=tags.get_tag_text(dataset, "PatientID"),
        study=tags.get_tag_text(dataset, "StudyInstanceUID"),
        series=tags.get_tag_text(dataset, "SeriesInstanceUID"),
        sop=tags.get_tag_text(dataset, "SOPInstanceUID"),
        facts=share_value(scan_facts.read_scan_facts(dataset, modality, slices[0])),
        storage=storage,
        planes=slices,
        flaw=flaw,
    )
