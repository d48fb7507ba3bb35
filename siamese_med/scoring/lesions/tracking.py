"""Lesions over all dates of a patient: which part of one mask is which part of the next, and what became of each.

The scans are gone through in the order of time. A lesion is found again where its last mark overlaps with the next
mask. Two lesions that grow together are one from then on, under the number of the one that overlaps most; of the parts
that a lesion splits into the largest goes on as that lesion. A lesion that was gone and is marked again at its old
place is the same lesion. Where a scan does not show the place of a lesion, nothing is said of that lesion. So a lesion
is new only where an earlier scan shows its place; elsewhere its first mark is where it is followed from.

What a lesion is compared with is its last mark, and with it those that it has taken in; what it is now includes what
has come off it. So neither growing together nor splitting counts as growth. Marks of less than MIN_LESION_VOXELS begin
no lesion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring.lesions.marked_scan import MarkedScan, measure_overlaps, measure_share_shown
from siamese_med.study.thresholds import MIN_SHARE_SHOWN, VOLUME_CHANGE_Z
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LesionMark:
    """Observation of a lesion in one scan.

    Attributes
    ----------
    place
        Place of the scan in the order of time, from 0.
    part
        Which lesion of the scan it is, see `MarkedScan`; None where it is not marked any more.
    fate
        What became of it since it was seen last.
    other
        The track that it has merged with or split from; None for other fates.
    """

    place: int
    part: int | None
    fate: LesionFate
    other: int | None = None


@dataclass
class LesionTrack:
    """One lesion over all dates, in the order of time; `marks` holds one entry a scan on which something is known."""

    marks: list[LesionMark] = field(default_factory=list)

    @property
    def last(self) -> LesionMark:
        """The last mark with a part."""
        return next(mark for mark in reversed(self.marks) if mark.part is not None)

    @property
    def ended(self) -> bool:
        """Whether it has vanished, or merged with another lesion."""
        return self.marks[-1].part is None


def track_lesions(scans: Sequence[MarkedScan]) -> list[LesionTrack]:
    """Follow the lesions of a patient over all marked scans.

    Parameters
    ----------
    scans
        In the order of time.

    Returns
    -------
    list of LesionTrack
        In the order in which they are seen first; on one scan by volume, largest first.

    Examples
    --------
    >>> before, after = np.zeros((2, 8, 8, 8), dtype=bool)
    >>> before[1:3, 1:3, 1:3] = after[1:3, 1:3, 1:3] = after[6, 6, 4:7] = True
    >>> tracks = track_lesions([MarkedScan(mask, np.eye(4), np.eye(4)) for mask in (before, after)])
    >>> [[str(mark.fate) for mark in track.marks] for track in tracks]
    [['first', 'stable'], ['new']]
    """
    tracks: list[LesionTrack] = []
    for place in range(len(scans)):
        _Step(scans, place, tracks).take()
    return tracks


class _Step:
    """One scan, and the tracks up to it."""

    def __init__(self, scans: Sequence[MarkedScan], place: int, tracks: list[LesionTrack]) -> None:
        self.scans, self.place, self.tracks = scans, place, tracks
        self.here = scans[place]
        self.known = len(tracks)
        self._overlaps: dict[int, NDArray[np.float64]] = {}
        self._shown: dict[int, NDArray[np.float64]] = {}
        self._shown_before: NDArray[np.float64] | None = None

    def take(self) -> None:
        """Add the marks of this scan to the tracks, and new tracks."""
        live = [number for number, track in enumerate(self.tracks) if not track.ended]
        links = self._links(live)
        heirs = {number: int(row.argmax()) for number, row in zip(live, links, strict=True) if row.any()}
        owners = self._choose_owners(live, links, heirs)
        merged = {number: owners[part] for number, part in heirs.items() if owners[part] != number}
        splits = {
            int(part): live[int(links[:, part].argmax())]
            for part in np.flatnonzero(links.any(0))
            if int(part) not in owners
        }
        beginning = set(range(self.here.count)) - owners.keys() - self.here.specks
        splits = {part: parent for part, parent in splits.items() if part in beginning}
        old = self._find_ended(beginning)
        for part, number in owners.items():
            taken = [one for one, into in merged.items() if into == number]
            came_off = [one for one, parent in splits.items() if parent in (number, *taken)]
            self._note(number, LesionMark(self.place, part, self._judge(number, taken, part, came_off)))
        for number, into in merged.items():
            self._note(number, LesionMark(self.place, None, LesionFate.MERGED, into))
        self._end_others([number for number in live if number not in heirs])
        for part in sorted(beginning, key=lambda one: -self.here.volumes_ml[one]):
            self._begin(part, splits.get(part), old.get(part))

    def _links(self, numbers: Sequence[int]) -> NDArray[np.float64]:
        """Overlap of the last mark of each track with each lesion of this scan, in ml, (tracks, lesions)."""
        links = np.zeros((len(numbers), self.here.count))
        for row, number in enumerate(numbers):
            last = self.tracks[number].last
            if last.place not in self._overlaps:
                self._overlaps[last.place] = measure_overlaps(self.scans[last.place], self.here)
            links[row] = self._overlaps[last.place][last.part]
        return links

    def _choose_owners(self, live: Sequence[int], links: NDArray[np.float64], heirs: dict[int, int]) -> dict[int, int]:
        """The track that each lesion of this scan goes on with: the one that overlaps most, of those that it is the
        largest part of."""
        owners: dict[int, int] = {}
        overlap = {number: links[row] for row, number in enumerate(live)}
        for number, part in heirs.items():
            if part not in owners or overlap[number][part] > overlap[owners[part]][part]:
                owners[part] = number
        return owners

    def _find_ended(self, parts: set[int]) -> dict[int, int]:
        """Find for lesions of this scan the ended track whose last mark lay there, each track once."""
        ended = [number for number, track in enumerate(self.tracks) if track.ended]
        links = self._links(ended)
        found: dict[int, int] = {}
        order = sorted(((links[row, part], row, part) for row in range(len(ended)) for part in parts), reverse=True)
        for overlap, row, part in order:
            if overlap > 0 and part not in found and ended[row] not in found.values():
                found[part] = ended[row]
        return found

    def _judge(self, number: int, taken: Sequence[int], part: int, came_off: Sequence[int]) -> LesionFate:
        """Decide whether a lesion grew or shrank, with what it took in and what came off it."""
        before = [self.tracks[one].last for one in (number, *taken)]
        after = [LesionMark(self.place, one, LesionFate.STABLE) for one in (part, *came_off)]
        return _compare_volumes(self.scans, before, after)

    def _end_others(self, numbers: Sequence[int]) -> None:
        """End the tracks that this scan shows the place of, and marks nothing there."""
        for number in numbers:
            last = self.tracks[number].last
            if last.place not in self._shown:
                self._shown[last.place] = measure_share_shown(self.scans[last.place], self.here)
            if self._shown[last.place][last.part] >= MIN_SHARE_SHOWN:
                self._note(number, LesionMark(self.place, None, LesionFate.VANISHED))

    def _begin(self, part: int, parent: int | None, old: int | None) -> None:
        """Begin a track with a lesion of this scan, or go on with an ended one."""
        fate = LesionFate.NEW if self._was_place_shown(part) else LesionFate.FIRST
        if old is not None:
            fate = LesionFate.RETURNED
        if parent is not None:
            fate = LesionFate.SPLIT
        mark = LesionMark(self.place, part, fate, parent)
        if old is None:
            self.tracks.append(LesionTrack([mark]))
        else:
            self._note(old, mark)

    def _was_place_shown(self, part: int) -> bool:
        """Whether an earlier scan shows enough of the place of a lesion of this scan."""
        if self._shown_before is None:
            shares = [measure_share_shown(self.here, before) for before in self.scans[: self.place]]
            self._shown_before = np.max(shares, axis=0, initial=0.0) if shares else np.zeros(self.here.count)
        return bool(self._shown_before[part] >= MIN_SHARE_SHOWN)

    def _note(self, number: int, mark: LesionMark) -> None:
        self.tracks[number].marks.append(mark)


def list_hidden_places(scans: Sequence[MarkedScan], tracks: Sequence[LesionTrack]) -> list[list[int]]:
    """List for each lesion the places of the scans that do not show where it lies, so that nothing is known of it.

    Its place is that of its last mark before the scan, or of its first one. A lesion that merged has none any more.

    Examples
    --------
    >>> whole = np.zeros((8, 8, 8), dtype=bool)
    >>> whole[1:3, 1:3, 1:3] = whole[5:7, 5:7, 5:7] = True
    >>> scans = [MarkedScan(mask, np.eye(4), np.eye(4)) for mask in (whole[:4], whole, whole[:4])]
    >>> list_hidden_places(scans, track_lesions(scans))
    [[], [0, 2]]
    """
    shares: dict[tuple[int, int], NDArray[np.float64]] = {}

    def is_hidden(mark: LesionMark, place: int) -> bool:
        key = mark.place, place
        if key not in shares:
            shares[key] = measure_share_shown(scans[mark.place], scans[place])
        return bool(shares[key][mark.part] < MIN_SHARE_SHOWN)

    found = []
    for track in tracks:
        known = {mark.place: mark for mark in track.marks}
        last, hidden = track.marks[0], []
        merged = False
        for place in range(len(scans)):
            mark = known.get(place)
            if mark is None and not merged and is_hidden(last, place):
                hidden.append(place)
            if mark is not None:
                merged = mark.fate == LesionFate.MERGED
                last = last if mark.part is None else mark
        found.append(hidden)
    return found


def judge_since_first(scans: Sequence[MarkedScan], tracks: Sequence[LesionTrack], number: int) -> LesionFate:
    """Decide what became of a lesion from the first scan that shows its place to the last one.

    Returns
    -------
    LesionFate
        The last fate where it ended; `split` where it came off another one; `new` where it, and all that merged into
        it, came later; `first` where no other scan shows its place; else whether its volume grew, shrank or stayed as
        it was. Lesions that merged, and those that split, are judged by their sum. What came later and merged has grown
        from nothing.
    """
    track = tracks[number]
    if track.ended:
        return track.marks[-1].fate
    family = [tracks[one] for one in _find_family(tracks, number)]
    begun = [one.marks[0] for one in family if one.marks[0].fate == LesionFate.FIRST]
    if track.marks[0].fate == LesionFate.SPLIT or not begun:
        return track.marks[0].fate
    now = [one.last for one in family if not one.ended]
    return LesionFate.FIRST if now == begun else _compare_volumes(scans, begun, now)


def _find_family(tracks: Sequence[LesionTrack], number: int) -> set[int]:
    """The track and all that it is connected with by merging and splitting."""
    links = {(one, mark.other) for one, track in enumerate(tracks) for mark in track.marks if mark.other is not None}
    family, before = {number}, set[int]()
    while family != before:
        before = set(family)
        family |= {end for link in links if before & set(link) for end in link}
    return family


def _compare_volumes(
    scans: Sequence[MarkedScan], before: Sequence[LesionMark], after: Sequence[LesionMark]
) -> LesionFate:
    """Decide whether the volume of all marks together grew or shrank by more than their errors explain."""
    volume = error = 0.0
    for sign, marks in ((-1, before), (1, after)):
        for mark in marks:
            assert mark.part is not None
            volume += sign * scans[mark.place].volumes_ml[mark.part]
            error = math.hypot(error, scans[mark.place].errors_ml[mark.part])
    if abs(volume) <= VOLUME_CHANGE_Z * error:
        return LesionFate.STABLE
    return LesionFate.ENLARGING if volume > 0 else LesionFate.SHRINKING
