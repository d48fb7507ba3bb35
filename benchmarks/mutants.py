"""Hostile variants of files: each mutator turns a file's bytes into others, by a random generator alone.

Those here know nothing of the format; `dicom_mutants` and `nifti_mutants` lie about one thing and leave the rest whole,
so that the damage is met as deep in the decoding as it can get."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

Random = np.random.Generator
Mutator = Callable[[bytes, Random], bytes]
T = TypeVar("T")

MAX_BLOCK = 4096
BOMB_BYTES = (100_000_000, 1_500_000_000, 3_000_000_000, 6_000_000_000)
"""What a compressed mutant of a few kilobytes may inflate to."""

ZEROS = 16 * 2**20
"""Bytes of zeros in one piece of a bomb."""


def pick(random: Random, values: tuple[T, ...]) -> T:
    """One of the values."""
    return values[int(random.integers(len(values)))]


def _place(content: bytes, random: Random) -> int:
    return int(random.integers(max(len(content), 1)))


def flips(content: bytes, random: Random) -> bytes:
    """One to thirty flipped bits anywhere; half of the time in the first two kilobytes, where the header is."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 31)) if changed else 0):
        reach = min(len(changed), 2048) if random.random() < 0.5 else len(changed)
        changed[int(random.integers(reach))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: _place(content, random)]


def insertion(content: bytes, random: Random) -> bytes:
    """Bytes that do not belong there."""
    place, count = _place(content, random), int(random.integers(1, MAX_BLOCK))
    return content[:place] + random.bytes(count) + content[place:]


def zeroed(content: bytes, random: Random) -> bytes:
    """A block of zeros, as failing disks give."""
    place, count = _place(content, random), int(random.integers(1, MAX_BLOCK))
    return content[:place] + bytes(min(count, len(content) - place)) + content[place + count :]


def doubled(content: bytes, random: Random) -> bytes:
    """A block that comes twice."""
    place, count = _place(content, random), int(random.integers(1, MAX_BLOCK))
    return content[:place] + content[place : place + count] + content[place:]


def spoilt_pixels(content: bytes, random: Random) -> bytes:
    """Flipped bytes in the last nine tenths, which is where pixels are; compressed ones break in the decoder."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 200)) if changed else 0):
        changed[int(random.integers(len(changed) // 10, len(changed)))] = int(random.integers(256))
    return bytes(changed)


GENERIC: tuple[Mutator, ...] = (flips, cut, insertion, zeroed, doubled, spoilt_pixels)
