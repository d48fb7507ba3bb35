"""The score table: every pair measured once, in parallel, each result kept in a file of its own until a scan changes.

<data>/scores/<model id>.parquet          records.SCORE_COLUMNS
<data>/scores/<model id>/<pair>.json      the measured columns; written last, so it marks the pair done
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
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import files, volume
from siamese_med.config import ScoreConfig
from siamese_med.intensity import upright
from siamese_med.parallel import in_parallel
from siamese_med.records import SAME_PATIENT, SCORE_COLUMNS
from siamese_med.scoring import baselines, comparison, floor, overlay
from siamese_med.scoring.comparison import Instrument, Side
from siamese_med.scoring.overlay import Detector, PairSpace
from siamese_med.scoring.similarity import Calibration
from siamese_med.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 4
"""Raised whenever the same scans would give other columns."""


@dataclass(frozen=True)
class ScanRow:
    """What a worker needs of one scan; paths are relative to the data folder."""

    id: str
    sha256: str
    modality: str
    contrast: str
    scanner: str
    path: str
    volume: str
    matrix: list[list[float]]
    ok: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One pair to measure: scans in the order earlier, later."""

    data: Path
    folder: Path
    template: Path
    earlier: ScanRow
    later: ScanRow
    same_patient: bool
    subject: str
    references: tuple[dict[str, Any], dict[str, Any]]
    detector: Detector
    config: ScoreConfig

    @property
    def name(self) -> str:
        """A file name for the pair, short enough for any file system."""
        text = f"{self.earlier.id} {self.later.id}"
        return f"pair-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    @property
    def content(self) -> str:
        """Changes with whatever the result depends on."""
        parts = [self.earlier.sha256, self.later.sha256, str(FORMAT), str(self.same_patient), self.config.fingerprint()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def scan_rows(scans: pd.DataFrame, alignments: pd.DataFrame) -> dict[str, ScanRow]:
    """The two tables joined, by scan id."""
    merged = scans.merge(alignments, left_on="id", right_on="scan")
    return {
        row.id: ScanRow(
            row.id,
            row.sha256,
            row.modality,
            row.contrast,
            row.scanner,
            row.path,
            row.volume,
            [[float(v) for v in line] for line in row.matrix],
            bool(row.ok),
            tuple(row.flags),
        )
        for row in merged.itertuples()
    }


def score(
    pairs: pd.DataFrame,
    rows: dict[str, ScanRow],
    model: tuple[dict[str, Any], Path],
    detector: Detector,
    folder: Path,
    data: Path,
    config: ScoreConfig,
) -> pd.DataFrame:
    """Scores of all pairs; `pairs` carries the network's distances, `model` is its description and its template."""
    import pandas as pd

    about, template = model
    curve = Calibration(**about["calibration"])
    jobs = [
        Job(
            data=data,
            folder=folder,
            template=template,
            earlier=rows[pair.scan_a],
            later=rows[pair.scan_b],
            same_patient=pair.kind in SAME_PATIENT,
            subject=pair.subject_a,
            references=(about["change_reference"], about["growth_reference"]),
            detector=detector,
            config=config,
        )
        for pair in pairs.itertuples()
    ]
    records = _concluded(jobs, run(jobs), config)
    table = pd.DataFrame(
        [
            {**pair._asdict(), "similarity": curve.similarity(float(pair.distance)), **record}
            for pair, record in zip(pairs.itertuples(index=False), records, strict=True)
        ],
        columns=list(SCORE_COLUMNS),
    )
    table["interval_days"] = table.interval_days.astype("Int64")
    return table


def _concluded(jobs: list[Job], records: list[dict[str, Any]], config: ScoreConfig) -> list[dict[str, Any]]:
    """The columns with their verdicts, for which all pairs of a patient are looked at together."""
    patients: dict[str, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if job.same_patient:
            patients[job.subject].append(number)
    done = list(records)
    for numbers in patients.values():
        for number, columns in zip(numbers, comparison.concluded([records[n] for n in numbers], config), strict=True):
            done[number] = columns
    return done


def run(jobs: list[Job]) -> list[dict[str, Any]]:
    """The columns of every job, in order; what is cached is read, the rest measured on all cores."""
    waiting = [job for job in jobs if _cached(job) is None]
    for folder in {job.folder for job in waiting}:
        files.remove_leftovers(folder)
    for _ in in_parallel(measure, waiting, "scoring pairs"):
        pass
    return [record for job in jobs if (record := _cached(job)) is not None]


def measure(job: Job) -> None:
    """Measure one pair and keep the result."""
    columns: dict[str, Any] = baselines.scores(_prepared(job, job.earlier), _prepared(job, job.later))
    columns |= dict.fromkeys(("verdict", "reference", "transform", "map", "pictures"))
    columns |= {"comparable": True, "reasons": [], "components": []}
    if job.same_patient:
        columns |= _measure_change(job)
    else:
        failed = not (job.earlier.ok and job.later.ok)
        columns |= {"comparable": not failed, "reasons": ["alignment_failed"] if failed else []}
    files.write_json(job.folder / f"{job.name}.json", {"content": job.content, "columns": columns})


def _measure_change(job: Job) -> dict[str, Any]:
    space = space_on(job.template, job.config.spacing_mm)
    earlier, later = side(job.data, job.earlier), side(job.data, job.later)
    instrument = Instrument(job.detector, *(floor.from_json(one) for one in job.references))
    columns, measured = comparison.judge(earlier, later, space, instrument, job.config)
    if measured is None:
        return columns
    picture, map_file = job.folder / f"{job.name}.npz", job.folder / f"{job.name}_change.nii.gz"
    comparison.write_pictures(picture, *measured, space)
    comparison.write_map(map_file, earlier, *measured, space)
    return {
        **columns,
        "map": str(map_file.relative_to(job.data)),
        "pictures": str(picture.relative_to(job.data)),
    }


@lru_cache(maxsize=2)
def space_on(template: Path, spacing_mm: float) -> PairSpace:
    """The grid on which the pairs of one template are compared, made once a process."""
    return overlay.pair_space(volume.read(template), spacing_mm)


def side(data: Path, row: ScanRow) -> Side:
    """Read one scan of a pair."""
    scan = volume.read(data / row.path)
    bright = Volume(upright(scan.voxels, row.flags), scan.affine)
    return Side(bright, np.asarray(row.matrix), row.modality, row.contrast, row.scanner, row.ok)


def _prepared(job: Job, row: ScanRow) -> Any:
    return np.load(job.data / row.volume, mmap_mode="r")


def _cached(job: Job) -> dict[str, Any] | None:
    path = job.folder / f"{job.name}.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    columns: dict[str, Any] = stored["columns"]
    return columns if stored["content"] == job.content else None
