"""The score table: every pair measured once, in parallel, each result kept in a file of its own until a scan changes.

<data>/scores/<model id>.parquet          tables.SCORE_COLUMNS
<data>/scores/<model id>/<pair>.json      the measured columns; there only while the pair's files are whole
                        /<pair>.npz       slices for the report
                        /<pair>_change.nii.gz   the change map in the earlier scan's space
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import noise_floor, pair_registration, score_pair
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace
from siamese_med.scoring.change.score_pair import CalibratedDetector, PairScan
from siamese_med.scoring.identity import baselines
from siamese_med.scoring.identity.calibration import make_calibration
from siamese_med.study.config import ScoreConfig
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.tables import SAME_PATIENT, SCORE_COLUMNS, SIGNIFICANCE_ATTRIBUTE

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.model_info import ModelInfo

SCORE_METHOD_VERSION = 5
"""Raised whenever the same scans would give other columns."""


class ScoringModel(Protocol):
    """What is needed of a trained model to score pairs, see network.model_folder.Model."""

    @property
    def info(self) -> ModelInfo: ...
    @property
    def template(self) -> Path: ...
    @property
    def instrument(self) -> str: ...


@dataclass(frozen=True)
class PairJob:
    """One pair to measure: scans in the order earlier, later. `instrument`: see network.model_folder."""

    data: Path
    folder: Path
    template: Path
    earlier: PreparedScan
    later: PreparedScan
    same_patient: bool
    subject: str
    floors: tuple[NoiseFloor, NoiseFloor]
    detector: ChangeDetector
    instrument: str
    config: ScoreConfig

    @property
    def name(self) -> str:
        """A file name for the pair, short enough for any file system."""
        text = f"{self.earlier.id} {self.later.id}"
        return f"pair-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    @property
    def content(self) -> str:
        """Changes with whatever the measured columns depend on, and with nothing else."""
        parts: list[Any] = [SCORE_METHOD_VERSION, *((scan.content, scan.ok) for scan in (self.earlier, self.later))]
        if self.same_patient:  # of two patients no change is measured
            parts += [
                self.earlier.acquisition,
                self.later.acquisition,
                self.instrument,
                self.config.measurement_fingerprint(),
            ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def score_pairs(
    pairs: pd.DataFrame,
    rows: dict[str, PreparedScan],
    model: ScoringModel,
    detector: ChangeDetector,
    folder: Path,
    data: Path,
    config: ScoreConfig,
) -> pd.DataFrame:
    """Scores of all pairs; `pairs` carries the network's distances."""
    import pandas as pd

    curve, floors = make_calibration(model.info), noise_floor.make_floors(model.info)
    instrument = model.instrument  # once: it is a digest over all of the model's noise floors
    jobs = [
        PairJob(
            data=data,
            folder=folder,
            template=model.template,
            earlier=rows[pair.scan_a],
            later=rows[pair.scan_b],
            same_patient=pair.kind in SAME_PATIENT,
            subject=pair.subject_a,
            floors=floors,
            detector=detector,
            instrument=instrument,
            config=config,
        )
        for pair in pairs.itertuples()
    ]
    records = _add_verdicts(jobs, run_pair_jobs(jobs), config)
    table = pd.DataFrame(
        [
            {**pair._asdict(), "similarity": curve.similarity(float(pair.distance)), **record}
            for pair, record in zip(pairs.itertuples(index=False), records, strict=True)
        ],
        columns=list(SCORE_COLUMNS),
    )
    table["interval_days"] = table.interval_days.astype("Int64")
    table.attrs[SIGNIFICANCE_ATTRIBUTE] = config.significance  # the pages say by which limit a pair is called changed
    return table


def _add_verdicts(jobs: list[PairJob], records: list[dict[str, Any]], config: ScoreConfig) -> list[dict[str, Any]]:
    """The columns with their verdicts, for which all pairs of a patient are looked at together."""
    patients: dict[str, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if job.same_patient:
            patients[job.subject].append(number)
    done = list(records)
    for numbers in patients.values():
        for number, columns in zip(
            numbers, score_pair.apply_multiple_testing([records[n] for n in numbers], config), strict=True
        ):
            done[number] = columns
    return done


def run_pair_jobs(jobs: list[PairJob]) -> list[dict[str, Any]]:
    """The columns of every job, in order; what is cached is read, the rest measured on all cores."""
    waiting = [job for job in jobs if _cached(job) is None]
    for folder in {job.folder for job in waiting}:
        files.remove_stale_temporary_files(folder)
    for _ in run_in_parallel(score_and_store_pair, waiting, "scoring pairs"):
        pass
    return [record for job in jobs if (record := _cached(job)) is not None]


def score_and_store_pair(job: PairJob) -> None:
    """Measure one pair and keep the result.

    What was kept before goes first: slices and map are written ahead of the columns, so a run that is killed in between
    must not leave older columns beside them.
    """
    kept = job.folder / f"{job.name}.json"
    kept.unlink(missing_ok=True)
    columns: dict[str, Any] = baselines.score_baselines(
        *(_aligned_voxels(job, scan) for scan in (job.earlier, job.later))
    )
    columns |= dict.fromkeys(("verdict", "reference", "transform", "map", "pictures"))
    columns |= {"comparable": True, "reasons": [], "components": []}
    if job.same_patient:
        columns |= _measure_change(job)
    else:
        failed = not (job.earlier.ok and job.later.ok)
        columns |= {"comparable": not failed, "reasons": ["alignment_failed"] if failed else []}
    files.write_json_file(kept, {"content": job.content, "columns": columns})


def _measure_change(job: PairJob) -> dict[str, Any]:
    space = load_pair_space(job.template, job.config.spacing_mm)
    earlier, later = read_pair_scan(job.data, job.earlier), read_pair_scan(job.data, job.later)
    instrument = CalibratedDetector(job.detector, *job.floors)
    columns, measured = score_pair.score_pair(earlier, later, space, instrument, job.config)
    if measured is None:
        return columns
    picture, map_file = job.folder / f"{job.name}.npz", job.folder / f"{job.name}_change.nii.gz"
    score_pair.write_pictures(picture, *measured, space)
    score_pair.write_change_map(map_file, earlier, *measured, space)
    return {
        **columns,
        "map": str(map_file.relative_to(job.data)),
        "pictures": str(picture.relative_to(job.data)),
    }


def load_pair_space(template: Path, spacing_mm: float) -> PairSpace:
    """The grid on which the pairs of one template are compared, made once a process."""
    return _load_pair_space(template, files.read_file_signature(template), spacing_mm)


@lru_cache(maxsize=2)
def _load_pair_space(template: Path, _version: tuple[int, int, int], spacing_mm: float) -> PairSpace:
    return pair_registration.build_pair_space(volume.read_volume(template), spacing_mm)


def read_pair_scan(data: Path, prepared: PreparedScan) -> PairScan:
    """Read one scan of a pair."""
    scan = volume.read_volume(data / prepared.path)
    bright = Volume(undo_monochrome1(scan.voxels, prepared.flags), scan.affine)
    return PairScan(bright, np.asarray(prepared.matrix), *prepared.acquisition, prepared.ok)


def _aligned_voxels(job: PairJob, prepared: PreparedScan) -> Any:
    return np.load(job.data / prepared.volume, mmap_mode="r")


def _cached(job: PairJob) -> dict[str, Any] | None:
    path = job.folder / f"{job.name}.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    columns: dict[str, Any] = stored["columns"]
    return columns if stored["content"] == job.content else None
