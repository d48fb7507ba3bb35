"""How far compressed content may grow: real pictures shrink a few times, a bomb a thousand times."""

from __future__ import annotations

from siamese_med.ingestion.reasons import RejectedError

MOST_TIMES = 100
HARMLESS_BYTES = 64 * 2**20
"""What may be inflated whatever it comes from."""


def most_bytes(squeezed: int) -> int:
    """Bytes that a file of `squeezed` bytes may hold."""
    return max(HARMLESS_BYTES, MOST_TIMES * squeezed)


def check(squeezed: int, declared: float) -> None:
    """Raise RejectedError (too_large) where a file of `squeezed` bytes declares more than it may hold."""
    if declared > most_bytes(squeezed):
        raise RejectedError("too_large")
