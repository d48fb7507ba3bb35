"""Growth limits of compressed content: real images shrink by a small factor, a decompression bomb by a thousand."""

from __future__ import annotations

from siamese_med.ingestion.reasons import RejectedError

MAX_INFLATION_RATIO = 100
"""Largest accepted ratio of inflated to compressed size."""

MIN_INFLATION_LIMIT_BYTES = 64 * 2**20
"""Bytes that may be inflated from any file, however small."""


def compute_inflation_limit_bytes(squeezed: int) -> int:
    """Return the number of bytes that a compressed file of `squeezed` bytes may hold.

    Examples
    --------
    >>> compute_inflation_limit_bytes(10 * 2**20) // 2**20
    1000
    """
    return max(MIN_INFLATION_LIMIT_BYTES, MAX_INFLATION_RATIO * squeezed)


def check_inflated_size(squeezed: int, declared: float) -> None:
    """Check the size that a file of `squeezed` bytes declares.

    Raises
    ------
    RejectedError
        `too_large`: it declares more than `compute_inflation_limit_bytes` allows.
    """
    if declared > compute_inflation_limit_bytes(squeezed):
        raise RejectedError("too_large")
