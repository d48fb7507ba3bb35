"""Stable random draw of partners by consistent hashing (Karger et al., STOC 1997).

A new scan takes over a few draws and leaves all others unchanged.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Iterable
from typing import Any

RING_PLACES_PER_SCAN = 16
"""Number of places of each scan on the ring; more places make the chances of all scans more equal."""


class PartnerRing:
    """Scans at places between 0 and 1, which depend on their ids and the seed only; a draw takes the next scan.

    `scans` are objects with the attributes `id` and `subject`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> ring = PartnerRing([SimpleNamespace(id=f"scan-{n}", subject=f"sub-{n}") for n in range(3)], seed=0)
    >>> ring.after(0.5, "sub-1").subject in ("sub-0", "sub-2")
    True
    """

    def __init__(self, scans: Iterable[Any], seed: int) -> None:
        around = sorted(
            (_place(f"{seed} {scan.id} {turn}"), str(scan.id), scan)
            for scan in scans
            for turn in range(RING_PLACES_PER_SCAN)
        )
        self._places = [place for place, _, _ in around]
        self._scans = [scan for _, _, scan in around]
        self._subjects = {scan.subject for scan in self._scans}

    def after(self, place: float, subject: str) -> Any | None:
        """Find the next scan after `place` (0 to 1) of another patient; None if there is no other patient."""
        if not self._subjects - {subject}:
            return None
        number = bisect(self._places, place)
        while self._scans[number % len(self._scans)].subject == subject:
            number += 1
        return self._scans[number % len(self._scans)]


def _place(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
