"""How the scans of a patient lie to each other, by the registrations of their pairs."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import NotComparable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


def place_scans(scans: Sequence[str], pairs: Iterable[PairScore]) -> dict[str, Matrix]:
    """Find how scans lie to one of them, 4x4 in mm; those are left out to which no registration leads.

    That one is the scan from which most others are reached, the first of several.

    Parameters
    ----------
    scans
        Ids, in the order of time.
    pairs
        Pairs of these scans, and of others.

    Examples
    --------
    >>> moved = np.eye(4)
    >>> moved[0, 3] = 2.0
    >>> pair = PairScore(scan_a="one", scan_b="two", transform=tuple(map(tuple, moved.tolist())))
    >>> found = place_scans(["one", "two", "three"], [pair])
    >>> list(found), found["two"][:3, 3].tolist()
    (['one', 'two'], [-2.0, 0.0, 0.0])
    """
    steps = _list_registrations(pairs)
    best: dict[str, Matrix] = {}
    for scan in scans:
        found = _reach(scan, steps)
        if sum(one in found for one in scans) > sum(one in best for one in scans):
            best = found
    return {scan: best[scan] for scan in scans if scan in best}


def _list_registrations(pairs: Iterable[PairScore]) -> dict[str, dict[str, Matrix]]:
    """The registrations between two scans, by both: 4x4, from the mm of the second to those of the first."""
    steps: dict[str, dict[str, Matrix]] = defaultdict(dict)
    for pair in pairs:
        if not pair.transform or NotComparable.PAIR_ALIGNMENT_FAILED in pair.reasons:
            continue
        matrix = np.asarray(pair.transform, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            continue
        steps[pair.scan_b][pair.scan_a] = matrix
        steps[pair.scan_a][pair.scan_b] = np.linalg.inv(matrix)
    return steps


def _reach(start: str, steps: Mapping[str, Mapping[str, Matrix]]) -> dict[str, Matrix]:
    """How every scan lies that can be reached from one, over as few registrations as possible."""
    found = {start: np.eye(4)}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for there, matrix in sorted(steps.get(here, {}).items()):
            if there not in found:
                found[there] = found[here] @ matrix
                waiting.append(there)
    return found
