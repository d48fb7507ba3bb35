"""One DICOM file to one Instance: the header parsed once, the pixels found and measured but not decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siamese_med.ingestion import contrast, inflation, kinds, origins, plain, planes, tags
from siamese_med.ingestion.instances import Facts, Instance, Plane, Storage
from siamese_med.ingestion.plain import NotPlainError
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.tags import Header

PREAMBLE = 128
META_LENGTH = 140
"""Where the length of the meta group stands, which is always the first element after the preamble."""

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
PIXEL_DATA = (0x7FE0, 0x0010)
UNDEFINED = 0xFFFFFFFF
LONG_FORM = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC", b"UR", b"SV", b"UV")
OVERLAY_BITS = (0x6000, 0x0102)
OVERLAY_DATA = (0x6000, 0x3000)
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "ContentDate")
CLOCKS = ("SeriesTime", "AcquisitionTime", "ContentTime")


@dataclass(frozen=True)
class Source:
    """A file as it was read: its path, its bytes, their SHA-256, and how large a volume may be."""

    path: str
    data: bytes
    content: str
    most_bytes: float


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes are those of DICOM, with preamble or without."""
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return True
    if len(head) < 8:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    for order in "<>":
        group, element, length = struct.unpack_from(f"{order}HHI", head)
        if group in (0x0002, 0x0008) and element <= 0x1200 and (explicit or length <= 0x10000):
            return True
    return False


def read(path: str, data: bytes, content: str, most_bytes: float) -> Instance:
    """Parse a DICOM file's bytes; raises RejectedError where it is no volume, or its header does not hold together."""
    try:
        header = plain.header_of(data)
        return _held(header, data, header.end, Source(path, data, content, most_bytes))
    except NotPlainError:
        return read_thoroughly(path, data, content, most_bytes)


def read_thoroughly(path: str, data: bytes, content: str, most_bytes: float) -> Instance:
    """The same by pydicom, ten times as slow, for whatever is out of the ordinary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _held(*_parse(data, most_bytes), Source(path, data, content, most_bytes))


def _held(header: Header, body: bytes, position: int, source: Source) -> Instance:
    """`body`: the bytes that the header was read from; `position`: where it ends."""
    try:
        return _judged(header, body, position, source)
    except RejectedError as rejected:
        rejected.origin = origins.origin_of(header)
        raise


def _judged(header: Header, body: bytes, position: int, source: Source) -> Instance:
    modality = kinds.modality(header)
    storage = _storage(header, source.path, len(source.data))
    if storage.native_bytes > source.most_bytes:
        raise RejectedError("too_large")
    slices = planes.of(header, source.content)
    first = slices[0]
    tiles = (first.rows, first.columns) if (first.rows, first.columns) != (storage.rows, storage.columns) else None
    start, length = _pixel_element(header, body, position)
    packed = length == UNDEFINED
    storage = replace(storage, tiles=tiles, offset=None if packed else start, encoded=(start, start + length))
    flaw = _flaw(storage, body)
    if body is not source.data:
        storage = replace(storage, offset=None, encoded=(0, 0))
    return _instance(header, source.content, modality, storage, slices, flaw)


def _parse(data: bytes, most_bytes: float) -> tuple[Dataset, bytes, int]:
    """The dataset without its pixels, the bytes it was read from (inflated where deflated), and where it stopped."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        if data[PREAMBLE : PREAMBLE + 4] == b"DICM" and DEFLATED.encode() in data[:1024]:
            return _parse_deflated(data, most_bytes)
        file = io.BytesIO(data)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        return dataset, data, file.tell()
    except RejectedError:
        raise
    except Exception as error:  # a broken header makes pydicom raise anything
        raise RejectedError("unreadable_header") from error


def _parse_deflated(data: bytes, most_bytes: float) -> tuple[Dataset, bytes, int]:
    """pydicom would inflate without a limit, so the part after the file's meta group is inflated here."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    meta_length = struct.unpack_from("<I", data, META_LENGTH)[0]
    body = _inflated(data[META_LENGTH + 4 + meta_length :], most_bytes)
    file = io.BytesIO(body)
    dataset = pydicom.filereader.read_dataset(file, False, True, stop_when=_at_pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(DEFLATED)
    dataset.set_original_encoding(False, True)
    return dataset, body, file.tell()


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _inflated(deflated: bytes, most_bytes: float) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    body = engine.decompress(deflated, min(int(most_bytes), inflation.most_bytes(len(deflated))))
    if engine.unconsumed_tail:
        raise RejectedError("too_large")
    if not engine.eof:
        raise RejectedError("truncated_pixels")
    return body


def _storage(dataset: Header, path: str, size: int) -> Storage:
    syntax = tags.text(getattr(dataset, "file_meta", None), "TransferSyntaxUID")
    frames, allocated = tags.integer(dataset, "NumberOfFrames"), tags.integer(dataset, "BitsAllocated")
    storage = Storage(
        path=path,
        size=size,
        offset=None,
        encoded=(0, 0),
        rows=tags.integer(dataset, "Rows") or 0,
        columns=tags.integer(dataset, "Columns") or 0,
        frames=max(frames or 1, 1),
        bits_allocated=allocated or 0,
        bits_stored=tags.integer(dataset, "BitsStored") or allocated or 0,
        signed=tags.integer(dataset, "PixelRepresentation") == 1,
        big_endian=syntax == BIG_ENDIAN,
        masked=tags.integer(dataset, OVERLAY_BITS) is not None and tags.value(dataset, OVERLAY_DATA) is None,
    )
    if storage.rows <= 0 or storage.columns <= 0 or storage.bits_allocated not in (8, 16, 32):
        raise RejectedError("unreadable_header")
    return storage


def _flaw(storage: Storage, body: bytes) -> str:
    """What is wrong with the pixels, judged by their length; empty: nothing."""
    start, end = storage.encoded
    if not start:
        return "unreadable_header"
    if storage.offset is None:
        return "" if _whole_fragments(body, start) else "truncated_pixels"
    return "truncated_pixels" if min(end, len(body)) - start < storage.native_bytes else ""


def _pixel_element(dataset: Header, body: bytes, position: int) -> tuple[int, int]:
    """Start and length of the pixel data's value; zeros where the file ends before it."""
    if position < 0 or position + 12 > len(body):
        return 0, 0
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    if struct.unpack_from(f"{order}HH", body, position) != PIXEL_DATA:
        return 0, 0
    if implicit:
        return position + 8, struct.unpack_from(f"{order}I", body, position + 4)[0]
    if body[position + 4 : position + 6] in LONG_FORM:
        return position + 12, struct.unpack_from(f"{order}I", body, position + 8)[0]
    return 0, 0


def _whole_fragments(body: bytes, position: int) -> bool:
    """Whether every fragment of encapsulated pixels ends inside the file."""
    fragments = 0
    while position + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHI", body, position)
        if (group, element) == (0xFFFE, 0xE0DD):
            return fragments > 1
        if (group, element) != (0xFFFE, 0xE000) or length == UNDEFINED:
            return False
        position, fragments = position + 8 + length, fragments + 1
    return position == len(body) and fragments > 1


def _instance(
    dataset: Header, content: str, modality: str, storage: Storage, slices: tuple[Plane, ...], flaw: str
) -> Instance:
    return Instance(
        content=content,
        issuer=tags.text(dataset, "IssuerOfPatientID"),
        patient=tags.text(dataset, "PatientID"),
        study=tags.text(dataset, "StudyInstanceUID"),
        series=tags.text(dataset, "SeriesInstanceUID"),
        sop=tags.text(dataset, "SOPInstanceUID"),
        facts=_facts(dataset, modality, slices[0]),
        storage=storage,
        planes=slices,
        flaw=flaw,
    )


def _facts(dataset: Header, modality: str, first: Plane) -> Facts:
    description = " ".join(tags.text(dataset, key) for key in ("SeriesDescription", "ProtocolName"))
    times = tuple(tags.number(dataset, key) for key in ("RepetitionTime", "EchoTime", "InversionTime"))
    return Facts(
        modality=modality,
        contrast=contrast.of_series(modality, description, (times[0], times[1], times[2])),
        date=next((day for key in DATES if (day := tags.day(tags.text(dataset, key)))), None),
        clock=next((clock for key in CLOCKS if (clock := tags.text(dataset, key))), ""),
        number=tags.integer(dataset, "SeriesNumber") or 0,
        scanner=tuple(
            tags.text(dataset, key) for key in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber")
        ),
        protocol=_protocol(dataset, times, first),
        flags=_flags(dataset),
        field_map=bool(contrast.FIELD_MAP.search(description)),
    )


def _protocol(dataset: Header, times: tuple[float | None, ...], first: Plane) -> tuple[str, ...]:
    """What two scans of one protocol share: timing to 1 ms, as a BIDS side-car has it too; without it what there is."""
    timing = tuple("" if one is None else str(round(one)) for one in times)
    if any(timing):
        return timing
    words = tags.words(dataset, "ScanningSequence") + tags.words(dataset, "SequenceVariant")
    return (*words, str(first.rows), str(first.columns), *(f"{one:.2f}" for one in first.spacing or ()))


def _flags(dataset: Header) -> tuple[str, ...]:
    said = {
        "inverted": tags.text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1",
        "burned_in": tags.text(dataset, "BurnedInAnnotation").upper() == "YES",
        "lossy": tags.text(dataset, "LossyImageCompression") == "01",
    }
    return tuple(flag for flag, holds in said.items() if holds)
