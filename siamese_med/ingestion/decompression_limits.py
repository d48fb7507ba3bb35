"""How far compressed content may grow: real pictures shrink a few times, a bomb a thousand times."""

from __future__ import annotations

from siamese_med.ingestion.reasons import RejectedError

MAX_INFLATION_RATIO = 100
MIN_INFLATION_LIMIT_BYTES = 64 * 2**20
"""What may be inflated whatever it comes from."""


def compute_inflation_limit_bytes(squeezed: int) -> int:
    """Bytes that a file of `squeezed` bytes may hold."""
    return max(MIN_INFLATION_LIMIT_BYTES, MAX_INFLATION_RATIO * squeezed)


def check_inflated_size(squeezed: int, declared: float) -> None:
    """Raise RejectedError (too_large) where a file of `squeezed` bytes declares more than it may hold."""
    if declared > compute_inflation_limit_bytes(squeezed):
        raise RejectedError("too_large")
