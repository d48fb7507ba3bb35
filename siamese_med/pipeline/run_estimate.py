"""Cost of a run, from what there is to do: CPU time, wall time and disk by stage. All constants are here.

They hold within about a factor of two for scans of whole heads. Change is measured on a grid of the model's own voxel
size, whatever the voxels of the scans are: `compare` takes 56 CPU-seconds for voxels of 1 mm and 43 for 2 mm
(docs/results-cost.md). So the cost of a comparison follows the volume of that grid's voxels, and only reading and
storing scans follow the size of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from siamese_med.runtime.parallel import MIN_PARALLEL_JOBS

REFERENCE_SPACING_MM = 1.5
"""Voxel edge at which comparisons were timed; the cost goes with the number of voxels."""

START_SECONDS = 10.0
"""CPU time and wall time of the start: imports and the model. Source: `benchmarks.nightly`, docs/results-cost.md."""
INGEST_SECONDS_PER_SCAN = 0.4
INGEST_SECONDS_PER_MB = 0.05
"""CPU time per megabyte of input. Source: 127 CPU-s for 1,000 scans in 2.4 GB of DICOM, docs/scale.md; the seconds a
scan are from 11 scans of MS patients in 31 MB: 7 CPU-s with the start."""
PREPARE_SECONDS_PER_SCAN = 2.0
"""Brain segmentation and alignment. Source: `prepare` of 11 scans of MS patients, 25 CPU-s with the start."""
RESCAN_SECONDS_PER_SCAN = 25.0
PAIR_SECONDS = 8.0
"""CPU time of the simulated rescans of a scan, and of a pair, at `REFERENCE_SPACING_MM`.

Source: on idle cores `compare` of two scans takes 56 CPU-s and a run of six scans in 15 pairs 236
(docs/results-cost.md), which gives 20 and 6; on a machine with load 9, 10 scans in 5 pairs took about 42 and 15. These
lie in between."""
OTHER_PATIENT_SECONDS = 0.3
"""CPU time of a pair of two patients, of which no change is measured. Source: 160 scans, docs/design-identity.md."""
TRAIN_SECONDS_PER_STEP = 1.6
"""Source: 64 steps of 32 scans in 82 to 127 s, docs/results-same-person.md."""
TRAIN_SECONDS_PER_CHANGE_STEP = 0.7
"""Source: 600 steps in 400 CPU-s, docs/results-simulated-change.md."""
REPORT_SECONDS = 2.0
REPORT_SECONDS_PER_PAIR = 0.3
"""Source: 2.4 s for five pairs of two patients."""

PREPARED_MB_PER_SCAN = 0.67
PAIR_MB = 0.75
CATALOGUE_MB_PER_SCAN = 0.02
MODEL_MB = 13.0
REPORTS_MB = 0.5
REPORTS_MB_PER_PAIR = 0.35
"""Disk. Source: `du` of data folder and pages of two MS patients (11 scans, 5 pairs) and of five tumour patients (10
scans, 5 pairs), and of the starter model's folder."""


@dataclass(frozen=True)
class RunWork:
    """Work that is still to do in a run.

    Parameters
    ----------
    new_scans, input_mb, scans_mb
        Scans to ingest, the megabytes of their files, and those that they will take.
    to_prepare
        Scans to lay on a template, each once for every template.
    to_rescan
        Scans of which rescans are simulated, since the model has no unchanged pairs like theirs.
    to_compare, other_pairs
        Pairs of one patient and of two patients without a result.
    shown_pairs
        Pairs of one patient on the pages.
    train_steps, change_steps
        Steps of a training; 0 where nothing is trained.
    spacing_mm
        Voxel edge at which change is measured.
    """

    new_scans: int
    input_mb: float
    scans_mb: float
    to_prepare: int
    to_rescan: int
    to_compare: int
    other_pairs: int
    shown_pairs: int
    train_steps: int
    change_steps: int
    spacing_mm: float = REFERENCE_SPACING_MM


class StageEstimate(TypedDict):
    """Cost of one stage; megabytes are those that it adds."""

    stage: str
    cpu_minutes: float
    wall_minutes: float
    data_mb: float
    reports_mb: float


def estimate_stages(work: RunWork, cores: int, ingest_workers: int = 0) -> list[StageEstimate]:
    """Estimate the cost of each stage of a run; `train` is left out where nothing is trained.

    Parameters
    ----------
    cores
        Number of processes that work side by side; a stage with few jobs uses one.
    ingest_workers
        The same for `ingest`; 0 for `cores`.

    Examples
    --------
    >>> work = RunWork(2, 20, 20, 2, 2, 1, 0, 1, 0, 0)
    >>> [(one["stage"], one["cpu_minutes"]) for one in estimate_stages(work, cores=2)]
    [('start', 0.17), ('ingest', 0.03), ('prepare', 0.07), ('score', 0.97), ('report', 0.04)]
    """
    voxels = (REFERENCE_SPACING_MM / work.spacing_mm) ** 3
    ingest = work.new_scans * INGEST_SECONDS_PER_SCAN + work.input_mb * INGEST_SECONDS_PER_MB
    rescans = work.to_rescan * RESCAN_SECONDS_PER_SCAN * voxels
    pairs = work.to_compare * PAIR_SECONDS * voxels + work.other_pairs * OTHER_PATIENT_SECONDS
    paired = work.to_compare + work.other_pairs
    train = work.train_steps * TRAIN_SECONDS_PER_STEP + work.change_steps * TRAIN_SECONDS_PER_CHANGE_STEP
    report = REPORT_SECONDS + work.shown_pairs * REPORT_SECONDS_PER_PAIR
    prepare = work.to_prepare * PREPARE_SECONDS_PER_SCAN
    score_wall = rescans / _side_by_side(cores, work.to_rescan) + pairs / _side_by_side(cores, paired)
    ingest_wall = ingest / max(1, min(ingest_workers or cores, work.new_scans))
    catalogue = work.new_scans * CATALOGUE_MB_PER_SCAN
    reports = REPORTS_MB + work.shown_pairs * REPORTS_MB_PER_PAIR
    found = [
        _stage("start", START_SECONDS, START_SECONDS),
        _stage("ingest", ingest, ingest_wall, work.scans_mb + catalogue),
        _stage(
            "prepare", prepare, prepare / _side_by_side(cores, work.to_prepare), work.to_prepare * PREPARED_MB_PER_SCAN
        ),
        _stage("train", train, train, MODEL_MB if train else 0.0),
        _stage("score", rescans + pairs, score_wall, work.to_compare * PAIR_MB),
        _stage("report", report, report, 0.0, reports),
    ]
    return [one for one in found if train or one["stage"] != "train"]


def _side_by_side(cores: int, jobs: int) -> int:
    return 1 if jobs < MIN_PARALLEL_JOBS else max(1, min(cores, jobs))


def _stage(name: str, cpu: float, wall: float, data_mb: float = 0.0, reports_mb: float = 0.0) -> StageEstimate:
    """A stage from its seconds and megabytes."""
    return {
        "stage": name,
        "cpu_minutes": round(cpu / 60, 2),
        "wall_minutes": round(wall / 60, 2),
        "data_mb": round(data_mb, 1),
        "reports_mb": round(reports_mb, 1),
    }
