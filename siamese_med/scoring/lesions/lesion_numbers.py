"""Numbers of lesions that stay: in every later run, after a visit was added, and after the masks were drawn again.

The numbers that were given are kept as images, one a scan. A lesion keeps the number that most of its volume had, on
all its scans together. A number is given once: the next new lesion of the patient gets the next one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring.lesions.marked_scan import MarkedScan
from siamese_med.scoring.lesions.tracking import LesionTrack

if TYPE_CHECKING:
    from numpy.typing import NDArray


def number_tracks(
    tracks: Sequence[LesionTrack],
    scans: Sequence[MarkedScan],
    known: Sequence[NDArray[np.integer] | None],
    first_free: int,
) -> list[int]:
    """Give every lesion a number.

    Parameters
    ----------
    tracks, scans
        See `tracking.track_lesions`.
    known
        The numbers of the lesions of each scan in an earlier run (i, j, k), 0 outside; None where there are none, or on
        another grid.
    first_free
        The first number that was never given to a lesion of this patient, as far as the record of the patient tells: it
        may have been lost, so no number in `known` is given again either.

    Returns
    -------
    list of int
        One a track. Those that keep no number follow from `first_free` in the order of the tracks.
    """
    votes: Counter[tuple[int, int]] = Counter()
    for number, track in enumerate(tracks):
        for mark in track.marks:
            numbers = known[mark.place]
            if mark.part is None or numbers is None:
                continue
            scan = scans[mark.place]
            met = numbers[scan.labels == mark.part + 1]
            for old, voxels in zip(*np.unique(met[met > 0], return_counts=True), strict=True):
                votes[number, int(old)] += voxels * scan.voxel_ml
    found: dict[int, int] = {}
    for (number, old), _ in sorted(votes.items(), key=lambda one: (-one[1], one[0])):
        if number not in found and old not in found.values():
            found[number] = old
    given = [int(numbers.max(initial=0)) for numbers in known if numbers is not None]
    following = itertools.count(max([first_free - 1, *given]) + 1)
    return [found[number] if number in found else next(following) for number in range(len(tracks))]


def draw_numbers(
    scans: Sequence[MarkedScan], tracks: Sequence[LesionTrack], numbers: Sequence[int]
) -> list[NDArray[np.int32]]:
    """Draw the numbers of the lesions on each scan: (i, j, k), 0 outside."""
    tables = [np.zeros(scan.count + 1, dtype=np.int32) for scan in scans]
    for track, number in zip(tracks, numbers, strict=True):
        for mark in track.marks:
            if mark.part is not None:
                tables[mark.place][mark.part + 1] = number
    return [table[scan.labels] for table, scan in zip(tables, scans, strict=True)]
