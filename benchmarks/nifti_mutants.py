"""Hostile variants of NIfTI files: fields of the header, the gzip around it, and small files that hold gigabytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel import nifti1, nifti2

from benchmarks.mutants import BOMB_BYTES, GENERIC, ZEROS, Mutator, Random, flips, pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELDS = ("dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "qform_code", "sform_code",
          "quatern_b", "qoffset_x", "srow_x", "srow_z", "xyzt_units", "magic", "sizeof_hdr")  # fmt: skip
REALS = (float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-30, 352.5)
INTEGERS = (0, 1, -1, 2, 4, 7, 255, 1792, 32_000, 32_767)


@lru_cache(maxsize=1)
def _zeros() -> bytes:
    return gzip.compress(bytes(ZEROS), 9, mtime=0)


def plain(content: bytes) -> bytes:
    """The bytes without gzip, or as they are where they are none or broken."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content


def _header(content: bytes) -> NDArray[Any] | None:
    """The one record of the header, to be changed, or None where the file is shorter."""
    layout = nifti1.header_dtype if content[:4] == struct.pack("<i", 348) else nifti2.header_dtype
    if len(content) < layout.itemsize:
        return None
    return np.frombuffer(content, layout.newbyteorder("<"), 1).copy()


def hostile_header(content: bytes, random: Random) -> bytes:
    """Fields of the header with hostile numbers: sizes, types, spacing, orientation, offset, scaling."""
    whole = plain(content)
    raw = _header(whole)
    if raw is None:
        return flips(content, random)
    for name in random.choice(FIELDS, int(random.integers(1, 4))):
        _spoil(raw[str(name)].reshape(-1), random)
    changed = raw.tobytes() + whole[raw.nbytes :]
    return gzip.compress(changed, 1, mtime=0) if random.random() < 0.5 else changed


def _spoil(values: NDArray[Any], random: Random) -> None:
    place = int(random.integers(values.size))
    if values.dtype.kind == "f":
        values[place] = pick(random, REALS)
    elif values.dtype.kind == "i" and random.random() < 0.7:
        values[place] = pick(random, INTEGERS)
    else:
        pieces = values.view(np.uint8)
        pieces[int(random.integers(pieces.size))] ^= np.uint8(1 << int(random.integers(8)))


def renamed(content: bytes, mark: str) -> bytes:
    """The same image with another description, so that it is another content."""
    whole = plain(content)
    raw = _header(whole)
    if raw is None or whole is content:
        return content
    raw["descrip"] = mark.encode()
    return gzip.compress(raw.tobytes() + whole[raw.nbytes :], 1, mtime=0)


def bomb(content: bytes, random: Random) -> bytes:
    """A small gzip that holds gigabytes of zeros, which its header declares or does not."""
    return inflated(plain(content), pick(random, BOMB_BYTES), random.random() < 0.7)


def inflated(whole: bytes, wanted: int, declared: bool) -> bytes:
    """An uncompressed image's start with `wanted` zeros after it, as gzip."""
    raw = _header(whole)
    if raw is None:
        return whole
    if declared:
        raw["dim"][0, :4] = (3, 1000, 1000, wanted // 2_000_000)
        raw["datatype"], raw["bitpix"] = 4, 16
    start = gzip.compress(raw.tobytes() + whole[raw.nbytes : raw.nbytes + 5000], 1, mtime=0)
    return start + _zeros() * (wanted // ZEROS + 1)


def spoilt_gzip(content: bytes, random: Random) -> bytes:
    """Flipped bits after the gzip header, so that inflating goes wrong at some place."""
    squeezed = bytearray(gzip.compress(plain(content), 1, mtime=0))
    for _ in range(int(random.integers(1, 5))):
        squeezed[int(random.integers(10, len(squeezed)))] ^= 1 << int(random.integers(8))
    return bytes(squeezed)


def inside(content: bytes, random: Random) -> bytes:
    """A mutant of any kind inside a gzip that is whole."""
    return gzip.compress(pick(random, GENERIC)(plain(content), random), 1, mtime=0)


NIFTI: tuple[Mutator, ...] = (hostile_header, hostile_header, hostile_header, inside, inside, inside, spoilt_gzip)
