"""Headers of plain DICOM files, indexed without being parsed: a value is decoded when it is asked for.

Parsing the whole header is the largest cost of ingest, and of its 150 elements some forty are needed. Anything unusual
(another byte order, an odd length, tags out of order, a letter beyond ASCII, an invalid number) raises NotPlainError,
and pydicom reads the file instead; tests compare the two on every file and on thousands of mutants. The encoding is
that of DICOM PS3.5, section 7 (data elements and sequences).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from siamese_med.ingestion.dicom.elements import DICOM_ELEMENTS

IMPLICIT_VR_SYNTAX_UID = "1.2.840.10008.1.2"
"""Transfer syntax Implicit VR Little Endian (DICOM PS3.5, annex A.1)."""

EXPLICIT_VR_SYNTAX_PATTERN = re.compile(r"1\.2\.840\.10008\.1\.2\.(1|4\.\d+|5)")
"""Transfer syntaxes with explicit VR, little endian: uncompressed, JPEG and its relatives, RLE (PS3.5, annex A)."""

META_BODY_OFFSET, FIRST_TAG_AFTER_META = 132, 0x00030000
"""Byte at which the file meta elements begin (PS3.10, section 7.1); the first tag that is none of them."""

UNDEFINED_LENGTH = 0xFFFFFFFF
"""Value length that means "until a delimiter" (PS3.5, section 7.1.1)."""

PIXEL_DATA_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float, double and integer pixel data."""

ITEM_TAG, ITEM_END_TAG, SEQUENCE_END_TAG = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
"""Delimiters of sequences and their items (PS3.5, section 7.5)."""

ITEM_TAG_BYTES = b"\xfe\xff\x00\xe0"
"""The tag of an item as it stands in a file."""

MAX_SEQUENCE_DEPTH = 8
"""Nesting of sequences of undefined length that is followed; deeper ones go to pydicom."""

MAX_CACHED_VALUE_BYTES = 64
"""Longest value, in bytes, whose decoded form is cached for the next slices."""

CHARSET_TAG = 0x00080005
"""Specific Character Set."""

ASCII_CHARSETS_PATTERN = re.compile(
    rb"((ISO_IR |ISO 2022 IR )(6|100|101|109|110|126|127|138|144|148|149|166|192|203|58|87)[ \\]*)*"
)
"""Character sets in which the codes of ASCII have their usual meaning (PS3.3, section C.12.1.1.2)."""

META_TAGS = (0x00020002, 0x00020010)
"""SOP class and transfer syntax of the file meta information: all of it that is asked for."""

PER_FRAME_GROUPS_TAG = 0x52009230
"""Per-frame functional groups of enhanced files: nested sequences, so not plain."""

SHORT_FORM_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Value representations with a 16-bit length (PS3.5, section 7.1.2)."""

LONG_FORM_VRS = frozenset(b"OB OW OF OD OL OV UN SQ UT UC UR SV UV".split())
"""Value representations with two reserved bytes and a 32-bit length (PS3.5, section 7.1.2)."""

IS_LONG_FORM_BY_VR = {**dict.fromkeys(SHORT_FORM_VRS, False), **dict.fromkeys(LONG_FORM_VRS, True)}
TEXT_VRS = frozenset(b"AS CS DA DT LO PN SH TM UI".split())
STRUCT_FORMAT_BY_VR = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
NUMBER_PATTERN = re.compile(rb" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *")
"""A decimal string (DS)."""

INTEGER_PATTERN = re.compile(rb" *[+-]?\d+ *")
"""An integer string (IS)."""

EXPLICIT_HEAD_STRUCT = struct.Struct("<HH2sH")
ELEMENT_LENGTH_STRUCT = struct.Struct("<I")
IMPLICIT_HEAD_STRUCT = struct.Struct("<HHI")


class NotPlainError(Exception):
    """Something unusual in a header, which only a full parser should interpret."""


class PlainHeader:
    """Index of the elements at the top level of a data set, by (VR, start, length).

    Attributes
    ----------
    end : int
        Byte at which the pixel data element starts, or at which the data end.
    file_meta : PlainHeader or None
        The file meta information.
    original_encoding : tuple of bool
        Implicit VR, and little endian (always true), as in pydicom.
    """

    def __init__(self, data: bytes, start: int, implicit: bool, meta: PlainHeader | None) -> None:
        self.file_meta = meta
        self.original_encoding = (implicit, True)
        self._data, self._implicit = data, implicit
        self._elements: dict[int, tuple[bytes, int, int]] = {}
        self._asked: dict[int, None] | None = None
        stop = len(data) if meta else _end_of_meta(data)
        self.end = self._index(start, stop)
        self._check_charset()

    def _index(self, position: int, stop: int) -> int:
        """Index the elements; return where the pixels begin, or `stop`.

        A step takes a microsecond, hence no function calls in the loop.
        """
        data, implicit, elements, last = self._data, self._implicit, self._elements, -1
        head = IMPLICIT_HEAD_STRUCT.unpack_from if implicit else EXPLICIT_HEAD_STRUCT.unpack_from
        while position + 8 <= stop:
            start, vr = position + 8, b""
            if implicit:
                group, element, length = head(data, position)
            else:
                group, element, vr, length = head(data, position)
                if IS_LONG_FORM_BY_VR.get(vr):
                    length = _long_length(data, start)
                    start += 4
                elif vr not in IS_LONG_FORM_BY_VR:
                    raise NotPlainError
            tag = group << 16 | element
            if tag in PIXEL_DATA_TAGS:
                return position
            if tag <= last or (length & 1 and length != UNDEFINED_LENGTH):
                raise NotPlainError
            position = start + length if length != UNDEFINED_LENGTH else _after_sequence(data, start, vr, implicit, 1)
            elements[tag] = (vr, start, position - start)
            last = tag
        if position != stop:
            raise NotPlainError
        return stop

    def _check_charset(self) -> None:
        vr, start, length = self._elements.get(CHARSET_TAG, (b"", 0, 0))
        if vr not in (b"CS", b"") or not ASCII_CHARSETS_PATTERN.fullmatch(self._data, start, start + length):
            raise NotPlainError

    @property
    def tags(self) -> Collection[int]:
        """Tags of the elements at the top level, group and element in one number (0x00100020 for PatientID)."""
        return self._elements.keys()

    @contextmanager
    def watch(self) -> Iterator[dict[int, None]]:
        """Note which elements are asked for, in order, until the end of the block; see `header_memory`."""
        self._asked = asked = dict[int, None]()
        try:
            yield asked
        finally:
            self._asked = None

    def get_bytes(self, tags: tuple[int, ...]) -> tuple[bytes | None, ...]:
        """Return the bytes of elements with their VR, None where one is missing; and what decides how they are read.

        That is whether the VR is implicit, and the bytes of the file meta information's transfer syntax.
        """
        data, elements = self._data, self._elements
        found = [
            one[0] + data[one[1] : one[1] + one[2]] if (one := elements.get(tag)) is not None else None for tag in tags
        ]
        syntax = self.file_meta.get_bytes(META_TAGS) if self.file_meta else ()
        return (*found, *syntax, b"implicit" if self._implicit else b"")

    def has_items(self, key: str) -> bool:
        """Tell whether a sequence is there with at least one item, whose content needs a full parser."""
        if self._asked is not None:
            self._asked[DICOM_ELEMENTS[key][0]] = None
        vr, start, length = self._elements.get(DICOM_ELEMENTS[key][0], (b"", 0, 0))
        return vr in (b"SQ", b"") and length > 8 and self._data[start : start + 4] == ITEM_TAG_BYTES

    def get_item_texts(self, key: str, wanted: str) -> list[str]:
        """Return the texts of one element in the items of a sequence, found by the bytes of its tag."""
        if self._asked is not None:
            self._asked[DICOM_ELEMENTS[key][0]] = None
        _, start, length = self._elements.get(DICOM_ELEMENTS[key][0], (b"", 0, 0))
        content, texts = self._data[start : start + length], []
        mark = struct.pack("<HH", *divmod(DICOM_ELEMENTS[wanted][0], 1 << 16))
        place = content.find(mark)
        while 0 <= place <= len(content) - 8:
            _, _, first, size = _head(content, place, self._implicit)
            texts.append(content[first : first + size].decode("ascii", "replace").strip(" \0"))
            place = content.find(mark, place + 8)
        return texts

    def get(self, key: str | tuple[int, int]) -> Any:
        """Decode the value of an element, as pydicom's Dataset would.

        Parameters
        ----------
        key
            A keyword of DICOM_ELEMENTS, or (group, element).

        Returns
        -------
        str, int, float, list, bytes or None
            A list where there are several values, None where the element is missing or empty.

        Raises
        ------
        NotPlainError
            The value needs a full parser.
        """
        tag, usual = DICOM_ELEMENTS[key] if isinstance(key, str) else (key[0] << 16 | key[1], b"")
        if self._asked is not None:
            self._asked[tag] = None
        found = self._elements.get(tag)
        if found is None:
            return None
        vr, start, length = found
        if self._implicit:
            vr = usual
        elif usual not in (b"", vr):
            raise NotPlainError
        if not length:
            return None
        content = self._data[start : start + length]
        return _decode_cached(content, vr) if length <= MAX_CACHED_VALUE_BYTES else _decode_value(content, vr)


def parse_plain_header(data: bytes) -> PlainHeader:
    """Index the header of a file with preamble and file meta information.

    Raises
    ------
    NotPlainError
        The header is unusual, has no pixel data, or is that of an enhanced file: let pydicom read it.
    """
    if data[128:140] != b"DICM\x02\0\0\0UL\x04\0" or len(data) < META_BODY_OFFSET + 12:
        raise NotPlainError
    meta = PlainHeader(data, META_BODY_OFFSET, False, None)
    if any(tag >= FIRST_TAG_AFTER_META for tag in meta.tags):
        raise NotPlainError
    syntax = str(meta.get("TransferSyntaxUID"))
    implicit = syntax == IMPLICIT_VR_SYNTAX_UID
    looks_explicit = data[meta.end + 4 : meta.end + 6] in SHORT_FORM_VRS
    if implicit == looks_explicit or not (implicit or EXPLICIT_VR_SYNTAX_PATTERN.fullmatch(syntax)):
        raise NotPlainError
    header = PlainHeader(data, meta.end, implicit, meta)
    if header.end == len(data) or PER_FRAME_GROUPS_TAG in header.tags:
        raise NotPlainError
    return header


def _end_of_meta(data: bytes) -> int:
    """Return the end of the file meta group; its first element holds the length of the others."""
    return int(min(len(data), META_BODY_OFFSET + 12 + ELEMENT_LENGTH_STRUCT.unpack_from(data, META_BODY_OFFSET + 8)[0]))


def _long_length(data: bytes, position: int) -> int:
    if position + 4 > len(data):
        raise NotPlainError
    return int(ELEMENT_LENGTH_STRUCT.unpack_from(data, position)[0])


def _head(data: bytes, position: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR (empty where implicit), where the value starts, and its length."""
    start = position + 8
    if implicit:
        group, element, length = IMPLICIT_HEAD_STRUCT.unpack_from(data, position)
        return group << 16 | element, b"", start, length
    group, element, vr, length = EXPLICIT_HEAD_STRUCT.unpack_from(data, position)
    if vr not in IS_LONG_FORM_BY_VR:
        raise NotPlainError
    if IS_LONG_FORM_BY_VR[vr]:
        length, start = _long_length(data, start), start + 4
    return group << 16 | element, vr, start, length


def _after_sequence(data: bytes, position: int, vr: bytes, implicit: bool, depth: int) -> int:
    """Find the end of a sequence of undefined length."""
    while vr in (b"SQ", b"") and depth <= MAX_SEQUENCE_DEPTH and position + 8 <= len(data):
        group, element, length = IMPLICIT_HEAD_STRUCT.unpack_from(data, position)
        tag, position = group << 16 | element, position + 8
        if tag == SEQUENCE_END_TAG and length == 0:
            return position
        if tag != ITEM_TAG:
            break
        position = _after_item(data, position, implicit, depth) if length == UNDEFINED_LENGTH else position + length
    raise NotPlainError


def _after_item(data: bytes, position: int, implicit: bool, depth: int) -> int:
    """Find the end of an item of undefined length."""
    while position + 8 <= len(data):
        group, element, length = IMPLICIT_HEAD_STRUCT.unpack_from(data, position)
        if group << 16 | element == ITEM_END_TAG and length == 0:
            return position + 8
        tag, vr, start, length = _head(data, position, implicit)
        if tag in PIXEL_DATA_TAGS:
            break
        position = (
            start + length if length != UNDEFINED_LENGTH else _after_sequence(data, start, vr, implicit, depth + 1)
        )
    raise NotPlainError


@lru_cache(maxsize=4096)
def _decode_cached(content: bytes, vr: bytes) -> Any:
    """Decode a value; neighbouring slices have most values in common."""
    return _decode_value(content, vr)


def _decode_value(content: bytes, vr: bytes) -> Any:
    if vr in TEXT_VRS:
        if not content.isascii() or b"\x1b" in content:
            raise NotPlainError
        return _one_or_many(content.decode("ascii").rstrip(" \0").split("\\"))
    if vr in (b"DS", b"IS"):
        return _numbers(content.rstrip(b" \0"), INTEGER_PATTERN if vr == b"IS" else NUMBER_PATTERN)
    if vr in STRUCT_FORMAT_BY_VR:
        letter = STRUCT_FORMAT_BY_VR[vr]
        count, rest = divmod(len(content), struct.calcsize(letter))
        if rest:
            raise NotPlainError
        return _one_or_many(list(struct.unpack(f"<{count}{letter}", content)))
    if vr in (b"OB", b"OW"):
        return content
    raise NotPlainError


def _numbers(content: bytes, pattern: re.Pattern[bytes]) -> Any:
    if not content:
        return None
    parts = content.split(b"\\")
    if not all(pattern.fullmatch(part) for part in parts):
        raise NotPlainError
    return _one_or_many([float(part) for part in parts])


def _one_or_many(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
