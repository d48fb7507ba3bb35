"""Several pairs of one patient are several looks, and one of them would soon seem changed by chance."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_holm(p: Sequence[float]) -> list[float]:
    """p values such that the chance of any false alarm among them all stays what each claims (Holm, 1979)."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    found, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        found[place] = least
    return found
