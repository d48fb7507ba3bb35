"""The lesion table of a study: every patient with masks of lesions, followed in parallel.

=====================================  ===================================================================
File below the data folder             Content
=====================================  ===================================================================
`lesions.parquet`                      the table; its columns are those of `study.lesion.LesionState`
`lesions/<scan>_lesions.nii.gz`        the numbers of the lesions on the voxels of a scan
`lesions/<subject>.npz`                slices through the lesions on several dates, see `lesion_slices`
`lesions/<subject>.json`               a patient's rows, and the next number that is free; written last
=====================================  ===================================================================

The masks are a user's, so no model is needed, and the table is the same for every model. Scans are brought together by
the registrations of the score table. A patient is followed again only if a mask, a scan or a registration changes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.brain.regions import name_region
from siamese_med.brain.segmentation_files import make_probability_volume, make_structure_volume, read_segmentation
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.lesions.followed_scans import ScanWithLesions, choose_one_a_visit
from siamese_med.scoring.lesions.lesion_numbers import draw_numbers, number_tracks
from siamese_med.scoring.lesions.lesion_slices import (
    LesionSlice,
    SliceSource,
    cut_lesion_slices,
    write_lesion_slices,
)
from siamese_med.scoring.lesions.marked_scan import MarkedScan
from siamese_med.scoring.lesions.tracking import (
    LesionMark,
    LesionTrack,
    judge_since_first,
    list_hidden_places,
    track_lesions,
)
from siamese_med.scoring.scan_poses import place_scans
from siamese_med.study.lesion import LesionState, locate_lesion_slices
from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

LESION_METHOD_VERSION = 4
"""It is raised when the same masks would give other rows, so that stored ones are not used any more."""
NUMBERS_ENDING = "_lesions.nii.gz"
"""End of the names of images of numbers."""
ROUNDED_MM = 3
"""Decimals of a registration, in mm, that decide whether it is another one."""


@dataclass(frozen=True)
class PatientJob:
    """One patient to follow, for a worker process.

    `scans` are in the order of time. `pairs` are the patient's pairs, which tell how the scans lie to each other.
    """

    data: Path
    subject: str
    scans: tuple[ScanWithLesions, ...]
    pairs: tuple[PairScore, ...]

    @property
    def record(self) -> Path:
        """The file that keeps the patient's rows."""
        return self.data / "lesions" / f"{self.subject}.json"

    @property
    def slices(self) -> Path:
        """The file that keeps slices through the patient's lesions."""
        return locate_lesion_slices(self.data, self.subject)

    def get_numbers_path(self, scan: ScanWithLesions) -> Path:
        """Return the file that keeps the numbers of the lesions of a scan."""
        return self.data / "lesions" / f"{scan.id}{NUMBERS_ENDING}"


def follow_lesions(jobs: Sequence[PatientJob]) -> list[LesionState]:
    """Follow the lesions of every patient; return the rows of the lesion table in the order of the jobs.

    It can be stopped and called again: patients that are done are read.
    """
    return [state for rows in run_in_parallel(follow_patient, list(jobs), "following lesions") for state in rows]


def follow_patient(job: PatientJob) -> list[LesionState]:
    """Follow the lesions of one patient, or return the rows that are kept; each contrast has a time line of its own."""
    placed = {contrast: _place_line(line, job.pairs) for contrast, line in _split_by_contrast(job.scans).items()}
    content = _compute_content(job, placed)
    kept = _read_record(job.record)
    if kept.get("content") == content:
        known = [LesionState.from_json(row) for row in kept["rows"]]
        if all(path.is_file() for path in _list_files(job, placed, known)):
            return known
    rows: list[LesionState] = []
    slices: list[LesionSlice] = []
    free = int(kept.get("next", 1))
    for line in placed.values():
        states, cut, free = _follow_line(job, line, free)
        rows += states
        slices += cut
    write_lesion_slices(job.slices, slices)
    written = {"content": content, "next": free, "rows": [state.to_json() for state in rows]}
    files.write_json_file(job.record, written)
    return rows


def _list_files(
    job: PatientJob, placed: Mapping[str, Mapping[ScanWithLesions, Matrix | None]], rows: Iterable[LesionState]
) -> list[Path]:
    """The files that are written beside rows: numbers of each scan that could be placed, and slices of lesions."""
    numbers = [
        job.get_numbers_path(scan)
        for line in placed.values()
        for scan in choose_one_a_visit(line)
        if line[scan] is not None
    ]
    return [*numbers, job.slices] if any(row.lesion is not None for row in rows) else numbers


def remove_departed_files(
    data: Path, scans: Collection[str], subjects: Collection[str], marked: Collection[str]
) -> None:
    """Remove what is kept of scans and patients that left the catalogue; what was marked is anatomy too.

    Of patients whose masks were withdrawn the numbers stay, so that a lesion whose mask comes back has its own.

    Parameters
    ----------
    data
        The data folder.
    scans, subjects, marked
        Ids of all scans and patients of the catalogue, and of the patients who have a mask.
    """
    for path in (data / "lesions").glob("*"):
        scan = path.name.removesuffix(NUMBERS_ENDING)
        subject = path.name.removesuffix(".json").removesuffix(".npz")
        if (scan != path.name and scan not in scans) or (subject != path.name and subject not in subjects):
            path.unlink(missing_ok=True)
        elif subject != path.name and subject not in marked:
            _forget_all_but_numbers(path)


def _forget_all_but_numbers(path: Path) -> None:
    """Remove the slices of a patient; of the record leave the next free number."""
    if path.suffix != ".json":
        path.unlink(missing_ok=True)
        return
    kept = _read_record(path)
    if kept.keys() != {"next"}:
        files.write_json_file(path, {"next": kept.get("next", 1)})


def _read_record(path: Path) -> dict[str, Any]:
    """Read the record of a patient; return an empty one where there is none, or it is damaged."""
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _split_by_contrast(scans: Iterable[ScanWithLesions]) -> dict[str, list[ScanWithLesions]]:
    lines: dict[str, list[ScanWithLesions]] = defaultdict(list)
    for scan in scans:
        lines[scan.contrast].append(scan)
    return dict(sorted(lines.items()))


def _compute_content(job: PatientJob, placed: Mapping[str, Mapping[ScanWithLesions, Matrix | None]]) -> str:
    parts: list[object] = [LESION_METHOD_VERSION]
    for line in placed.values():
        for scan, matrix in line.items():
            lies = None if matrix is None else (matrix.round(ROUNDED_MM) + 0.0).tolist()
            mask = files.compute_file_digest(job.data / scan.lesions)
            parts.append([scan.id, scan.session, scan.contrast, scan.content, scan.flags, scan.brain, mask, lies])
            parts.append([scan.protocol, scan.slices])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _place_line(scans: Sequence[ScanWithLesions], pairs: Sequence[PairScore]) -> dict[ScanWithLesions, Matrix | None]:
    """Find the pose of each scan of a time line relative to one, 4x4 in mm; None where no registration leads there."""
    found = place_scans([scan.id for scan in scans], pairs)
    return {scan: found.get(scan.id) for scan in scans}


def _follow_line(
    job: PatientJob, placed: Mapping[ScanWithLesions, Matrix | None], free: int
) -> tuple[list[LesionState], list[LesionSlice], int]:
    """Follow the lesions of one time line, and write their numbers; return rows, slices, and the next free number."""
    chosen = {scan: placed[scan] for scan in choose_one_a_visit(placed)}
    names = [scan for scan, matrix in chosen.items() if matrix is not None]
    scans = [_read_scan(job, scan, matrix) for scan, matrix in chosen.items() if matrix is not None]
    tracks = track_lesions(scans)
    numbers = number_tracks(tracks, scans, [_read_numbers(job, *one) for one in zip(names, scans, strict=True)], free)
    for scan, marked, image in zip(names, scans, draw_numbers(scans, tracks, numbers), strict=True):
        volume.write_volume(job.get_numbers_path(scan), Volume(np.asfortranarray(image), marked.affine))
    brains = [read_segmentation(job.data / scan.brain) if scan.brain else None for scan in names]
    structures = [make_structure_volume(brain) if brain else None for brain in brains]
    states = [
        state
        for place, hidden in enumerate(list_hidden_places(scans, tracks))
        for state in _describe(job.subject, names, scans, structures, tracks, place, numbers, hidden)
    ]
    sources = [
        SliceSource(scan.id, job.data / scan.image, scan.flags, make_probability_volume(brain) if brain else None)
        for scan, brain in zip(names, brains, strict=True)
    ]
    there = dict(zip(names, scans, strict=True))
    whole = [
        _describe_scan(job.subject, scan, there.get(scan), LesionFate.TOTAL)
        if scan in chosen
        else _describe_scan(job.subject, scan, _read_scan(job, scan, np.eye(4)), LesionFate.REPEAT)
        for scan in placed
    ]
    slices = cut_lesion_slices(scans, sources, tracks, numbers)
    return [*states, *whole], slices, max([free, *(number + 1 for number in numbers)])


def _describe_scan(subject: str, scan: ScanWithLesions, marked: MarkedScan | None, fate: LesionFate) -> LesionState:
    """The row of a whole scan: all that is marked; or that it could not be placed, without `marked`."""
    return LesionState(
        subject=subject,
        contrast=scan.contrast,
        scan=scan.id,
        session=scan.session,
        fate=LesionFate.UNPLACED if marked is None else fate,
        volume_ml=None if marked is None else round(float(marked.volumes_ml.sum()), 4),
        error_ml=None if marked is None else round(float(np.linalg.norm(marked.errors_ml)), 4),
    )


def _read_scan(job: PatientJob, scan: ScanWithLesions, to_patient: Matrix) -> MarkedScan:
    mask = volume.read_volume(job.data / scan.lesions)
    return MarkedScan(np.asarray(mask.voxels) > 0, mask.affine, to_patient)


def _read_numbers(job: PatientJob, scan: ScanWithLesions, marked: MarkedScan) -> NDArray[np.integer] | None:
    """The numbers of an earlier run on a scan; None where there are none that can be read, or on another grid."""
    try:
        kept = volume.read_volume(job.get_numbers_path(scan))
    except Exception:  # there is none, or it is damaged in whatever way: then it tells nothing
        return None
    if kept.voxels.shape != marked.mask.shape or not np.allclose(kept.affine, marked.affine, atol=1e-3):
        return None
    return np.asarray(kept.voxels, dtype=np.int32)


def _describe(
    subject: str,
    names: Sequence[ScanWithLesions],
    scans: Sequence[MarkedScan],
    structures: Sequence[Volume | None],
    tracks: Sequence[LesionTrack],
    place: int,
    numbers: Sequence[int],
    hidden: Sequence[int],
) -> list[LesionState]:
    """The rows of the lesion at a place among `tracks`, in the order of time; `numbers` are those of all lesions.

    `hidden` are the places of the scans that do not show it.
    """
    since_first = judge_since_first(scans, tracks, place)
    rows = []
    unseen = [LesionMark(scan, None, LesionFate.NOT_SHOWN) for scan in hidden]
    for mark in sorted([*tracks[place].marks, *unseen], key=lambda one: one.place):
        scan, marked, brain = names[mark.place], scans[mark.place], structures[mark.place]
        state = LesionState(
            subject=subject,
            contrast=scan.contrast,
            scan=scan.id,
            session=scan.session,
            fate=mark.fate,
            fate_since_first=since_first,
            lesion=numbers[place],
            other=None if mark.other is None else numbers[mark.other],
        )
        if mark.part is not None:
            state = replace(
                state,
                volume_ml=round(float(marked.volumes_ml[mark.part]), 4),
                error_ml=round(float(marked.errors_ml[mark.part]), 4),
                centre_mm=tuple(marked.centres_mm[mark.part].round(1).tolist()),
                region=name_region(brain, marked.locate_part(mark.part)) if brain else None,
            )
        rows.append(state)
    return rows
