"""Findings: the changed parts of all pairs of a patient, each under a number that stays.

A part of the map of one pair and a part of that of another pair are one finding where they overlap, also where the
pairs are of different contrasts. A finding keeps its number in every later run, with another model, with another
threshold, and after a visit was added in between.

==========================  ==================================================================================
File below the data folder  Content
==========================  ==================================================================================
`findings/<subject>.npz`    where the findings of a patient lie on each of the patient's scans, also those that
                            no pair shows any more; the next number that is free; and what the numbers were
                            given for, so that nothing is read again where nothing changed
==========================  ==================================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.change_parts import label_changed_parts
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.scan_poses import SharedFrames, place_scans
from siamese_med.study.component import Component, call_two_way_findings
from siamese_med.study.pair_score import PairScore
from siamese_med.study.thresholds import MIN_LINK_SHARE
from siamese_med.study.vocabulary import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Matrix = NDArray[np.float64]
    Places = NDArray[np.int64]

GRID_MM = 2.0
"""Places of findings are told apart on a grid with this edge. Unit: mm.

Source: our choice; the worst of 46 registrations of real heads was 1.6 mm off (docs/results.md)."""
GRID_REACH = 2000
"""Half the number of grid places along an axis: 4 m to each side."""
NUMBERING_VERSION = 3
"""Counts up when other numbers are given for the same pairs, so that numbers that are kept are not used."""

PartNumbers = tuple[int | None, ...]
"""The number of the finding of each part of a pair; None for parts that are no stronger than a rescan."""


@dataclass(frozen=True)
class FindingJob:
    """One patient whose findings are numbered, for a worker process.

    `pairs` are all pairs of the patient, with their verdicts; `frames` are scans that lie on each other by their
    headers.
    """

    data: Path
    subject: str
    pairs: tuple[PairScore, ...]
    frames: SharedFrames = ()

    @property
    def scans(self) -> list[str]:
        """The ids of all scans of the pairs."""
        return sorted({scan for pair in self.pairs for scan in (pair.scan_a, pair.scan_b)})

    @property
    def record(self) -> Path:
        """The file that keeps what is known of the patient's findings."""
        return self.data / "findings" / f"{self.subject}.npz"

    @property
    def content(self) -> str:
        """Digest of all that the numbers depend on, but for those that were given before."""
        return hashlib.sha256(repr((NUMBERING_VERSION, self.pairs, self.frames)).encode()).hexdigest()


@dataclass
class FindingRecord:
    """Record of the findings of a patient.

    `places` are, for each scan, rows (n, 4): a place on the grid of the scan's mm, and the number of the finding there.
    `free` is the first number that was never given. `numbers` are those of the parts of each changed pair, by the names
    of its scans with a space between; they were given for pairs whose digest is `content`.
    """

    places: dict[str, Places]
    free: int = 1
    content: str = ""
    numbers: dict[str, PartNumbers] = field(default_factory=dict)


def number_findings(data: Path, scores: Sequence[PairScore], frames: SharedFrames = ()) -> list[PairScore]:
    """Number the findings of every patient with a changed pair.

    It can be stopped and called again: numbers that were given are kept.

    Parameters
    ----------
    data
        The data folder.
    scores
        All pairs of a study, with their verdicts.
    frames
        Scans of one visit that lie on each other, see `scan_poses.list_shared_frames`.

    Returns
    -------
    list of PairScore
        The same pairs. The parts of changed pairs have numbers, but for those that are no stronger than a rescan; what
        became of them is said as in `component.call_two_way_findings`.
    """
    partners: dict[str, list[str]] = defaultdict(list)
    for one, other in frames:
        partners[one].append(other)
    own: dict[str, list[PairScore]] = defaultdict(list)
    for pair in scores:
        if pair.subject_a == pair.subject_b:
            own[pair.subject_a].append(pair)
    jobs = [
        FindingJob(data, subject, tuple(pairs), _select_frames(pairs, partners))
        for subject, pairs in own.items()
        if any(pair.verdict == Verdict.CHANGED for pair in pairs)
    ]
    found: dict[str, PartNumbers] = {}
    waiting: list[FindingJob] = []
    for job in jobs:
        record = read_record(job.record)
        if record.content == job.content:
            found.update(record.numbers)
        else:
            waiting.append(job)
    for numbers in run_in_parallel(number_patient_findings, waiting, "numbering findings"):
        found.update(numbers)
    return [replace(pair, components=_add_numbers(pair, found)) for pair in scores]


def _select_frames(pairs: Sequence[PairScore], partners: Mapping[str, Sequence[str]]) -> SharedFrames:
    scans = sorted({scan for pair in pairs for scan in (pair.scan_a, pair.scan_b)})
    return tuple((scan, other) for scan in scans for other in partners.get(scan, ()) if other in scans)


def _add_numbers(pair: PairScore, found: Mapping[str, PartNumbers]) -> tuple[Component, ...]:
    numbers = found.get(f"{pair.scan_a} {pair.scan_b}")
    if numbers is None or len(numbers) != len(pair.components):
        return pair.components
    numbered = (replace(part, finding=number) for part, number in zip(pair.components, numbers, strict=True))
    return call_two_way_findings(tuple(numbered))


def number_patient_findings(job: FindingJob) -> dict[str, PartNumbers]:
    """Number the findings of one patient, see `number_findings`, and keep the numbers."""
    record = read_record(job.record)
    record.places = {scan: places for scan, places in record.places.items() if scan in job.scans}
    numbered: dict[str, PartNumbers] = {}
    left = job.scans
    while left:
        placed = place_scans(left, job.pairs, job.frames)
        left = [scan for scan in left if scan not in placed]
        pairs = [pair for pair in job.pairs if pair.verdict == Verdict.CHANGED and pair.map and pair.scan_a in placed]
        parts = [(pair, *one) for pair in pairs for one in locate_changed_parts(job.data, pair, placed[pair.scan_a])]
        numbers = _number_parts([places for _, _, places in parts], placed, record) if parts else []
        for pair in pairs:
            mine = {n: number for (one, n, _), number in zip(parts, numbers, strict=True) if one is pair}
            numbered[f"{pair.scan_a} {pair.scan_b}"] = tuple(mine.get(n) for n in range(len(pair.components)))
    if record.places or numbered:
        write_record(job.record, replace(record, content=job.content, numbers=numbered))
    return numbered


def locate_changed_parts(data: Path, pair: PairScore, to_patient: Matrix) -> list[tuple[int, Places]]:
    """Locate the listed parts of a pair's change map, but for those that are no stronger than a rescan.

    Returns
    -------
    list of tuple
        The index of a part among `pair.components`, and the grid places (n, 3) in the patient's mm that it covers. Two
        parts that touch, one brighter and one darker, have the same places.
    """
    from scipy.ndimage import find_objects

    change_map = volume.read_volume(data / str(pair.map))
    labels, numbers = label_changed_parts(change_map, pair.components)
    boxes, found = find_objects(labels), []
    for n, number in enumerate(numbers):
        if not number:
            continue
        box = boxes[number - 1]
        affine = to_patient @ change_map.affine
        affine[:3, 3] = (affine @ [*(side.start for side in box), 1])[:3]
        found.append((n, _cover_with_grid(Volume((labels[box] == number).astype(np.float32), affine))))
    return found


def _cover_with_grid(part: Volume) -> Places:
    """The grid places (n, 3) at which a part lies; the one at its centre where it lies between them."""
    voxels = np.argwhere(part.voxels > 0) @ part.affine[:3, :3].T + part.affine[:3, 3]
    half = np.abs(part.affine[:3, :3]).sum(1) / 2
    low = np.floor((voxels.min(0) - half) / GRID_MM).astype(np.int64)
    high = np.ceil((voxels.max(0) + half) / GRID_MM).astype(np.int64)
    grid = np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0])
    grid[:3, 3] = GRID_MM * low
    shape = tuple((high - low + 1).tolist())
    met = np.argwhere(resampling.resample_volume(part, grid, shape, nearest=True)[0, 0].numpy() > 0)
    return np.asarray(met + low if len(met) else np.rint(voxels.mean(0) / GRID_MM)[None], dtype=np.int64)


def _number_parts(parts: Sequence[Places], placed: Mapping[str, Matrix], record: FindingRecord) -> list[int]:
    """Give every part the number of its finding, and put the findings into the record."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    covers = _count_places(parts)
    _, finding_of_part = connected_components(csr_matrix(_overlap_enough(covers, covers)), directed=False)
    findings = [
        np.unique(np.concatenate([parts[n] for n in np.flatnonzero(finding_of_part == one).tolist()]), axis=0)
        for one in range(int(finding_of_part.max()) + 1)
    ]
    numbers = _choose_numbers(findings, _gather_known(placed, record))
    for one in range(len(findings)):
        if one not in numbers:
            numbers[one] = record.free
            record.free += 1
    for scan, to_patient in placed.items():
        _note_places(record, scan, findings, numbers, to_patient)
    return [numbers[int(one)] for one in finding_of_part]


def _make_keys(places: Places) -> NDArray[np.int64]:
    """One whole number for each grid place (n, 3)."""
    within = np.clip(places, -GRID_REACH, GRID_REACH - 1) + GRID_REACH
    return np.asarray(np.ravel_multi_index(tuple(within.T), (2 * GRID_REACH,) * 3))


def _count_places(groups: Sequence[Places], keys: NDArray[np.int64] | None = None) -> csr_matrix:
    """Mark which group covers which place: 0 or 1, (groups, places). The places are `keys`, or all that are covered."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    covered = _make_keys(np.concatenate(list(groups)))
    known = np.unique(covered) if keys is None else keys
    columns = np.minimum(np.searchsorted(known, covered), len(known) - 1)
    met = known[columns] == covered
    counted = csr_matrix((np.ones(met.sum()), (rows[met], columns[met])), shape=(len(groups), len(known)))
    counted.data[:] = 1
    return counted


def _overlap_enough(one: csr_matrix, other: csr_matrix) -> NDArray[np.bool_]:
    """Whether two groups overlap by MIN_LINK_SHARE of the smaller one, (groups of one, groups of the other)."""
    sizes = [np.maximum(np.asarray(group.sum(1)).ravel(), 1) for group in (one, other)]
    shared = np.asarray((one @ other.T).todense())
    return np.asarray(shared >= MIN_LINK_SHARE * np.minimum(sizes[0][:, None], sizes[1][None, :])) & (shared > 0)


def _gather_known(placed: Mapping[str, Matrix], record: FindingRecord) -> dict[int, Places]:
    """The places of the findings that are known, by their numbers, in the patient's mm, of all scans together."""
    found: dict[int, list[Places]] = {}
    for scan, to_patient in placed.items():
        rows = record.places.get(scan)
        if rows is None:
            continue
        places = GRID_MM * rows[:, :3] @ to_patient[:3, :3].T + to_patient[:3, 3]
        for number in np.unique(rows[:, 3]).tolist():
            found.setdefault(number, []).append(np.rint(places[rows[:, 3] == number] / GRID_MM).astype(np.int64))
    return {number: np.unique(np.concatenate(places), axis=0) for number, places in sorted(found.items())}


def _choose_numbers(findings: Sequence[Places], known: Mapping[int, Places]) -> dict[int, int]:
    """The known number of each finding that has one: that of the most overlap first, each number once."""
    if not known:
        return {}
    keys = np.unique(_make_keys(np.concatenate([*findings, *known.values()])))
    now, before = _count_places(findings, keys), _count_places(list(known.values()), keys)
    enough, names = _overlap_enough(now, before), list(known)
    votes = Counter({(n, m): float(now[n].multiply(before[m]).sum()) for n, m in np.argwhere(enough).tolist()})
    chosen: dict[int, int] = {}
    for (finding, number), _ in sorted(votes.items(), key=lambda one: (-one[1], one[0])):
        if finding not in chosen and names[number] not in chosen.values():
            chosen[finding] = names[number]
    return chosen


def _note_places(
    record: FindingRecord, scan: str, findings: Sequence[Places], numbers: Mapping[int, int], to_patient: Matrix
) -> None:
    """Put findings into the record of a scan; what it knew before stays where no finding lies now."""
    to_scan = np.asarray(np.linalg.inv(to_patient), dtype=np.float64)
    rows = [
        np.column_stack([_move(places, to_scan), np.full(len(places), numbers[one])])
        for one, places in enumerate(findings)
    ]
    before = record.places.get(scan, np.zeros((0, 4), dtype=np.int64))
    every = np.concatenate([*rows, before])
    _, first = np.unique(_make_keys(every[:, :3]), return_index=True)
    record.places[scan] = every[np.sort(first)]


def _move(places: Places, matrix: Matrix) -> Places:
    return np.asarray(np.rint((GRID_MM * places @ matrix[:3, :3].T + matrix[:3, 3]) / GRID_MM), dtype=np.int64)


def read_record(path: Path) -> FindingRecord:
    """Read what is known of a patient's findings; nothing where there is no such file, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            names, places, free = kept["scans"].tolist(), kept["places"].astype(np.int64), int(kept["free"])
            content, numbers = json.loads(str(kept["given"])) if "given" in kept else ("", {})
        if places.ndim != 2 or places.shape[1] != 5 or free < 1:
            return FindingRecord({})
        by_scan = {str(name): places[places[:, 0] == n, 1:] for n, name in enumerate(names)}
        return FindingRecord(by_scan, free, content, {pair: tuple(one) for pair, one in numbers.items()})
    except Exception:  # whatever is wrong with it: the numbers begin again
        return FindingRecord({})


def write_record(path: Path, record: FindingRecord) -> None:
    """Write what is known of a patient's findings; the file is replaced as a whole."""
    rows = [np.column_stack([np.full(len(one), n), one]) for n, one in enumerate(record.places.values())]
    places = np.concatenate([np.zeros((0, 5), dtype=np.int64), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            scans=np.array(list(record.places), dtype=str),
            places=places.astype(np.int32),
            free=record.free,
            given=json.dumps((record.content, record.numbers)),
        )


def remove_departed_records(data: Path, subjects: Collection[str]) -> None:
    """Remove what is kept of patients who left the catalogue."""
    for path in (data / "findings").glob("*.npz"):
        if path.stem not in subjects:
            path.unlink(missing_ok=True)
