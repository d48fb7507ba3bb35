"""Prepare what the change head learns from: the study's own rescans, and single scans.

A source is a pair of scans without change, registered as any pair is; a single scan is paired with itself. Follow-ups
with known change are synthesised from the sources, see `synthetic_follow_ups`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import pair_registration
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.vocabulary import PairKind, Split
from siamese_med.training import synthetic_follow_ups
from siamese_med.training.synthetic_follow_ups import ChangeSource

if TYPE_CHECKING:
    import pandas as pd

TRAINING_SOURCES_PER_VALIDATION_SOURCE = 4
"""There is one source of validation patients for this many of training patients."""


@dataclass(frozen=True)
class ChangeSourceJob:
    """Two scans to register, or one to pair with itself, and the .npy file for the result."""

    reader: ScanReader
    earlier: PreparedScan
    later: PreparedScan
    spacing_mm: float
    path: Path


def build_change_sources(
    usable: pd.DataFrame,
    rows: dict[str, PreparedScan],
    pairs: pd.DataFrame,
    reader: ScanReader,
    spacing_mm: float,
    most: int,
    folder: Path,
) -> tuple[list[ChangeSource], list[ChangeSource]]:
    """Register the sources of training and of validation patients, and keep them below `folder`.

    Parameters
    ----------
    usable
        Aligned scans with their split, see `training_scans.select_usable_scans`.
    rows
        The same scans with their alignment, by id.
    pairs
        The pair table; its rescans come first.
    spacing_mm
        Voxel edge at which change is measured.
    most
        Sources of training patients, at most; of validation patients a quarter of that.

    Returns
    -------
    tuple
        Sources for training and for validation. A file that exists already is used as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for split, count in (
        (Split.TRAIN, most),
        (Split.VALIDATION, max(1, most // TRAINING_SOURCES_PER_VALIDATION_SOURCE)),
    ):
        chosen = list(_select_scan_pairs(usable[usable.split == split], pairs))[:count]
        jobs = [
            ChangeSourceJob(reader, rows[a], rows[b], spacing_mm, folder / f"{split}-{number:04d}.npy")
            for number, (a, b) in enumerate(chosen)
        ]
        found.append(list(run_in_parallel(_write_registered_source, jobs, f"laying out {split} exercises")))
    return found[0], found[1]


def _select_scan_pairs(scans: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Rescans first, then a scan of each patient and contrast, every patient's first scan before anyone's second."""
    quiet = pairs[(pairs.kind == PairKind.RESCAN) & pairs.scan_a.isin(scans.id) & pairs.scan_b.isin(scans.id)]
    contrast = scans.set_index("id").contrast
    quiet = quiet[contrast.reindex(quiet.scan_a).to_numpy() == contrast.reindex(quiet.scan_b).to_numpy()]
    yield from zip(quiet.scan_a, quiet.scan_b, strict=True)
    single = scans[~scans.id.isin(quiet.scan_a)].drop_duplicates(["subject", "contrast"])
    turn = single.groupby("subject").cumcount()
    for scan in single.assign(turn=turn).sort_values(["turn", "id"]).id:
        yield scan, scan


def _write_registered_source(exercise: ChangeSourceJob) -> ChangeSource:
    if exercise.path.is_file():
        return synthetic_follow_ups.read_change_source(exercise.path, exercise.spacing_mm)
    earlier, later = (exercise.reader.read_side(row) for row in (exercise.earlier, exercise.later))
    regions = earlier.region, later.region
    laid = pair_registration.register_pair(earlier.scan, later.scan, regions, exercise.spacing_mm)
    return synthetic_follow_ups.write_change_source(exercise.path, laid.a, laid.b, laid.inside, exercise.spacing_mm)
