"""Relative poses of a patient's scans, by the registrations of their pairs and by the headers of a visit."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.study.pair_score import PairScore
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.vocabulary import NotComparable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

SharedFrames = tuple[tuple[str, str], ...]
"""Two scans each whose coordinates in mm are those of one frame."""

BRAIN_CORNERS_MM = np.stack(np.meshgrid((-50.0, 50.0), (-70.0, 50.0), (-30.0, 50.0), (1.0,)), -1).reshape(-1, 4).T
"""Corners of a box in the brain of the template, (4, 8) as homogeneous coordinates."""
MAX_FRAME_DISAGREEMENT_MM = 8.0
"""Largest mean distance over BRAIN_CORNERS_MM between the headers of two scans and their alignments to the template.

Scans of one visit whose headers are right differ by some millimetres (ten pairs of two real heads), since alignments to
the template are so exact only; headers of different frames mostly by centimetres. Source: our choice."""


def list_shared_frames(scans: Iterable[PreparedScan]) -> SharedFrames:
    """List the scans of one visit that lie on each other by their headers, where their alignments do not contradict.

    Scans of several contrasts are not registered to each other, but a patient stays in the scanner for all of them.

    Parameters
    ----------
    scans
        Scans of any patients; an id begins with the patient and the visit.
    """
    visits: dict[str, list[PreparedScan]] = defaultdict(list)
    for scan in scans:
        if scan.ok:
            visits["_".join(scan.id.split("_")[:2])].append(scan)
    return tuple(
        (one.id, other.id)
        for mine in visits.values()
        for one, other in combinations(sorted(mine, key=lambda scan: scan.id), 2)
        if _measure_disagreement(one, other) <= MAX_FRAME_DISAGREEMENT_MM
    )


def _measure_disagreement(one: PreparedScan, other: PreparedScan) -> float:
    moved = (np.asarray(one.matrix, dtype=float) - np.asarray(other.matrix, dtype=float)) @ BRAIN_CORNERS_MM
    return float(np.linalg.norm(moved[:3], axis=0).mean())


def place_scans(scans: Sequence[str], pairs: Iterable[PairScore], frames: SharedFrames = ()) -> dict[str, Matrix]:
    """Find how scans lie to one of them, 4x4 in mm; those are left out to which nothing leads.

    That one is the scan from which most others are reached, the first of several.

    Parameters
    ----------
    scans
        Ids, in the order of time.
    pairs
        Pairs of these scans, and of others; those that were registered lead from one scan to the other.
    frames
        Scans of one frame, which lead to each other too.

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
    for one, other in frames:
        steps[one].setdefault(other, np.eye(4))
        steps[other].setdefault(one, np.eye(4))
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
    """Find the poses of all scans that can be reached from one, over as few registrations as possible."""
    found = {start: np.eye(4)}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for there, matrix in sorted(steps.get(here, {}).items()):
            if there not in found:
                found[there] = found[here] @ matrix
                waiting.append(there)
    return found
