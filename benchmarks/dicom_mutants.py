"""Hostile variants of DICOM files: one element's value, length, VR or place is a lie, the rest stays whole."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache

import pydicom
from pydicom.dataelem import RawDataElement

from benchmarks.mutants import BOMB_BYTES, ZEROS, Mutator, Random, flips, pick

LONG_FORM = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC", b"UR")
LENGTHS = (0, 1, 7, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
KINDS = (b"SQ", b"OB", b"UN", b"US", b"FD", b"DS", b"IS", b"UI", b"PN", b"AT", b"ZZ", b"\0\0")
NUMBERS = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e308",
    "-1e308",
    "1e-320",
    "99999999999999999999",
    "1,5",
    "0x10",
    "",
    " ",
    "1\\nan\\2",
)
TEXTS = (
    "</script><script>alert(1)</script>", "../../etc/passwd", "\x1b[2J\x07\0\x01", "A" * 70_000, "' OR 1=1 --",
    "\\" * 500, "^^^^====", "\u202e\ufeff", "%s%n{0}", "/dev/stdin", "",
)  # fmt: skip
UIDS = ("", "1", "1..2", "../../etc/passwd", "9" * 500, "1.2.840.10008.1.2.4.99999", "1.2.\0.3")
SYNTAXES = tuple(
    f"1.2.840.10008.1.2{tail}"
    for tail in ("", ".1", ".2", ".1.99", ".5", ".4.50", ".4.57", ".4.70", ".4.80", ".4.90", ".4.100", ".4.201")
)
CHARSETS = ("ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030", "ISO_IR 999", "\0\0", "utf_16", "unicode_escape")
GEOMETRY = (
    (0x20, 0x32),
    (0x20, 0x37),
    (0x28, 0x30),
    (0x18, 0x50),
    (0x18, 0x88),
    (0x28, 0x1052),
    (0x28, 0x1053),
    (0x20, 0x13),
)
PICTURE = ((0x28, 2), (0x28, 8), (0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x101), (0x28, 0x102), (0x28, 0x103))
FRAME_COUNTS = ("0", "-5", "2", "1000", "99999", "2147483647", "x")
SIZES = (0, 1, 3, 255, 20_000, 32_767, 46_000, 65_535)
IDENTIFIERS = ((0x20, 0x0D), (0x20, 0x0E), (0x08, 0x18), (0x08, 0x16), (0x20, 0x52))
CHARSET, NAME, FRAMES, SYNTAX, PIXELS = (0x08, 0x05), (0x10, 0x10), (0x28, 8), (0x02, 0x10), (0x7FE0, 0x10)


@dataclass(frozen=True)
class Element:
    """Where one top-level element lies: its tag from `start`, its value from `value` to `end`."""

    tag: tuple[int, int]
    kind: bytes  # VR; empty where it is implicit
    start: int
    value: int
    end: int


@lru_cache(maxsize=4)
def elements(content: bytes) -> tuple[Element, ...]:
    """Top-level elements of declared length, those of the meta group too; none where pydicom cannot read the file."""
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        raw = [one for one in map(dataset.get_item, list(dataset.keys())) if isinstance(one, RawDataElement)]
        implicit = bool(dataset.original_encoding[0])
        start = _start(content, implicit)
        found = [*start, *(one for each in raw if (one := _element(each, implicit)).tag != CHARSET)]
    except Exception:  # the file was broken before
        return ()
    return tuple(one for one in found if one.end <= len(content))


def _start(content: bytes, implicit: bool) -> list[Element]:
    """Elements of the meta group, which is always explicit, and the character set, which pydicom keeps no place of."""
    found, place = [], 132
    while content[128:132] == b"DICM" and content[place : place + 2] == b"\2\0":
        found.append(_at(content, place, False))
        place = found[-1].end
    first = _at(content, place, implicit)
    return [*found, first] if first.tag == CHARSET else found


def _at(content: bytes, place: int, implicit: bool) -> Element:
    group, element, kind = struct.unpack_from("<HH2s", content, place)
    if implicit:
        head, length = 8, struct.unpack_from("<I", content, place + 4)[0]
    elif kind in LONG_FORM:
        head, length = 12, struct.unpack_from("<I", content, place + 8)[0]
    else:
        head, length = 8, struct.unpack_from("<H", content, place + 6)[0]
    return Element((group, element), b"" if implicit else kind, place, place + head, place + head + length)


def _element(raw: RawDataElement, implicit: bool) -> Element:
    kind = b"" if implicit or raw.VR is None else raw.VR.encode()
    head, value = 12 if kind in LONG_FORM else 8, raw.value_tell
    return Element((raw.tag.group, raw.tag.element), kind, value - head, value, value + raw.length)


def encoded(tag: tuple[int, int], kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in little endian; `kind` is empty for implicit VR; `length` may lie."""
    value += bytes(len(value) % 2)
    said = len(value) if length is None else length
    start = struct.pack("<HH", *tag)
    if not kind:
        return start + struct.pack("<I", said & 0xFFFFFFFF) + value
    if kind in LONG_FORM:
        return start + kind + b"\0\0" + struct.pack("<I", said & 0xFFFFFFFF) + value
    return start + kind + struct.pack("<H", said & 0xFFFF) + value


def _replaced(content: bytes, one: Element, element: bytes) -> bytes:
    return content[: one.start] + element + content[one.end :]


def _saying(content: bytes, one: Element | None, value: bytes) -> bytes:
    """The file with another value of an element, or as it is where it lacks the element."""
    return content if one is None else _replaced(content, one, encoded(one.tag, one.kind, value))


def _one_of(content: bytes, random: Random, tags: tuple[tuple[int, int], ...] = ()) -> Element | None:
    """An element by chance, of those tags where some are named; never the pixels unless named."""
    found = [one for one in elements(content) if (one.tag in tags if tags else one.tag != PIXELS)]
    return found[int(random.integers(len(found)))] if found else None


def hostile_text(content: bytes, random: Random) -> bytes:
    """Any element says something that somebody might run, open or fail to show."""
    one = _one_of(content, random)
    return _saying(content, one, pick(random, TEXTS).encode("utf-8")[:65_000])


def hostile_geometry(content: bytes, random: Random) -> bytes:
    """Positions, directions, spacings and rescale that are no number, or a hostile one."""
    one = _one_of(content, random, GEOMETRY)
    if one is None:
        return content
    values = content[one.value : one.end].decode("latin-1").split("\\")
    values[int(random.integers(len(values)))] = pick(random, NUMBERS)
    return _saying(content, one, "\\".join(values).encode("latin-1"))


def hostile_picture(content: bytes, random: Random) -> bytes:
    """Rows, columns, bits, samples or frames blown up or gone."""
    one = _one_of(content, random, PICTURE)
    if one is None:
        return content
    if one.tag == FRAMES:
        return _saying(content, one, pick(random, FRAME_COUNTS).encode())
    changed = _saying(content, one, struct.pack("<H", pick(random, SIZES)))
    return hostile_picture(changed, random) if random.random() < 0.3 else changed


def more_frames(content: bytes, random: Random) -> bytes:
    """A number of frames where there was one."""
    one = _one_of(content, random, ((0x28, 0x10),))
    if one is None:
        return content
    frames = encoded(FRAMES, one.kind and b"IS", pick(random, FRAME_COUNTS).encode())
    return content[: one.start] + frames + content[one.start :]


def hostile_length(content: bytes, random: Random) -> bytes:
    """An element claims another length than it has; the pixels do so too."""
    one = _one_of(content, random, (PIXELS,) if random.random() < 0.2 else ())
    if one is None:
        return content
    near = one.end - one.value + int(random.integers(-3, 4))
    length = near if random.random() < 0.4 else pick(random, LENGTHS)
    return _replaced(content, one, encoded(one.tag, one.kind, content[one.value : one.end], length))


def hostile_kind(content: bytes, random: Random) -> bytes:
    """An element of another VR."""
    one = _one_of(content, random)
    if one is None or not one.kind:
        return flips(content, random)
    return _replaced(content, one, encoded(one.tag, pick(random, KINDS), content[one.value : one.end]))


def removed(content: bytes, random: Random) -> bytes:
    """An element less."""
    one = _one_of(content, random, (*GEOMETRY, *PICTURE, *IDENTIFIERS) if random.random() < 0.5 else ())
    return content if one is None else _replaced(content, one, b"")


def repeated(content: bytes, random: Random) -> bytes:
    """An element twice, or among others where it does not belong."""
    one, other = _one_of(content, random), _one_of(content, random)
    if one is None or other is None:
        return content
    return content[: other.start] + content[one.start : one.end] + content[other.start :]


def hostile_identifier(content: bytes, random: Random) -> bytes:
    """An invalid UID of study, series, instance, class or frame of reference."""
    one = _one_of(content, random, IDENTIFIERS)
    return _saying(content, one, pick(random, UIDS).encode())


def hostile_charset(content: bytes, random: Random) -> bytes:
    """A character set that is not what was written, or none at all, and a name in bytes of any kind."""
    one = _one_of(content, random, (CHARSET,))
    if one is None:
        return hostile_text(content, random)
    changed = _saying(content, one, pick(random, CHARSETS).encode())
    return _saying(changed, _one_of(changed, random, (NAME,)), random.bytes(40))


def other_syntax(content: bytes, random: Random) -> bytes:
    """Pixels that are not in the transfer syntax that the file declares."""
    one = _one_of(content, random, (SYNTAX,))
    return _saying(content, one, pick(random, SYNTAXES).encode())


def nested(content: bytes, random: Random) -> bytes:
    """Sequences hundreds deep, of declared or undefined length, in a tag that is looked at or in another."""
    one = _one_of(content, random)
    if one is None:
        return content
    depth, open_ended = int(random.integers(50, 3000)), random.random() < 0.5
    tag = ((0x5200, 0x9230), (0x40, 0x275), (0x09, 0x1001))[int(random.integers(3))]
    inner = encoded((0x08, 0x100), one.kind and b"SH", b"deep")
    for _ in range(depth):
        item = encoded((0xFFFE, 0xE000), b"", inner, None if not open_ended else 0xFFFFFFFF)
        if len(item) > 60_000:
            break
        inner = encoded(tag, one.kind and b"SQ", item, None if not open_ended else 0xFFFFFFFF)
    return content[: one.start] + inner + content[one.start :]


def many_items(content: bytes, random: Random) -> bytes:
    """A sequence of frames with thousands of items, empty or not, in a file that has one frame."""
    one = _one_of(content, random, ((0x28, 0x10),))
    if one is None:
        return content
    inside = encoded((0x20, 0x32), one.kind and b"DS", b"1\\2\\3") if random.random() < 0.5 else b""
    items = encoded((0xFFFE, 0xE000), b"", inside) * int(random.integers(1, 20_000))
    place = one.start if random.random() < 0.7 else len(content)
    return content[:place] + encoded((0x5200, 0x9230), one.kind and b"SQ", items) + content[place:]


def deflated(content: bytes, random: Random) -> bytes:
    """A deflated file whose pixels are zeros without end."""
    one, pixels = _one_of(content, random, (SYNTAX,)), _one_of(content, random, (PIXELS,))
    meta = [each for each in elements(content) if each.tag[0] == 2]
    if one is None or pixels is None or not pixels.kind:
        return flips(content, random)
    body, size = meta[-1].end, pick(random, BOMB_BYTES)
    head = content[:body].replace(content[one.start : one.end], encoded(SYNTAX, b"UI", b"1.2.840.10008.1.2.1.99"))
    head = head[:140] + struct.pack("<I", len(head) - 144) + head[144:]
    declared = encoded(PIXELS, b"OW", b"", min(size, 0xFFFFFFFE))
    engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = engine.compress(content[body : pixels.start] + declared) + engine.flush(zlib.Z_FULL_FLUSH)
    return head + packed + _zeros_deflated() * (size // ZEROS) + zlib.compress(b"")[2:-4]


@lru_cache(maxsize=1)
def _zeros_deflated() -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(bytes(ZEROS)) + engine.flush(zlib.Z_FULL_FLUSH)


DICOM: tuple[Mutator, ...] = (
    hostile_text, hostile_geometry, hostile_picture, more_frames, hostile_length, hostile_kind, removed, repeated,
    hostile_identifier, hostile_charset, other_syntax, nested, many_items,
)  # fmt: skip
