"""Scans to draw partners from, so that a scan that comes takes over a few draws and leaves all others as they were."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Iterable
from typing import Any

RING_PLACES_PER_SCAN = 16
"""Of a scan on the ring: the more, the more alike the chances of all scans."""


class PartnerRing:
    """Scans at places between 0 and 1 that follow from their ids alone; whoever draws takes the next one."""

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
        """The next scan after a place that is not of this subject; None where there is no other subject."""
        if not self._subjects - {subject}:
            return None
        number = bisect(self._places, place)
        while self._scans[number % len(self._scans)].subject == subject:
            number += 1
        return self._scans[number % len(self._scans)]


def _place(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
