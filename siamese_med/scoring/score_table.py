"""The score table: every pair measured once, in parallel, each result kept in a file of its own until a scan changes.

<data>/scores/<model id>.parquet          study.pair_score.PairScore
<data>/scores/<model id>/<pair>.json      the measured columns; there only while the pair's files are whole
                        /<pair>.npz       slices for the report
                        /<pair>_change.nii.gz   the change map in the earlier scan's space
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import comparability, score_pair
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.change.score_pair import CalibratedDetector
from siamese_med.scoring.identity import baselines
from siamese_med.scoring.identity.calibration import SimilarityCalibration
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import MeasuredPair, Origin, PairScore
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.score_columns import names_of, pair_from_json, pair_to_json, read_row, score_table
from siamese_med.study.tables import SIGNIFICANCE_ATTRIBUTE
from siamese_med.study.vocabulary import SAME_PATIENT

if TYPE_CHECKING:
    import pandas as pd


SCORE_METHOD_VERSION = 5
"""Raised whenever the same scans would give other values; a new column has every pair measured anew without that."""


@dataclass(frozen=True)
class ScoringSetup:
    """What all pairs of one score table are measured with.

    Parameters
    ----------
    reader
        Reads the scans, which lie on the model's template.
    folder
        Where the result of each pair is kept.
    instrument
        The model's detector and noise floors.
    instrument_digest
        Digest of the instrument and the weights, see network.model_folder.
    config
        The `score` section, with the voxel size and the smoothing that the model was made with.
    """

    reader: ScanReader
    folder: Path
    instrument: CalibratedDetector
    instrument_digest: str
    config: ScoreConfig


@dataclass(frozen=True)
class PairJob:
    """One pair to measure: scans in the order earlier, later. `subject`: the patient of `earlier`."""

    setup: ScoringSetup
    earlier: PreparedScan
    later: PreparedScan
    same_patient: bool
    subject: str

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
            parts += [self.earlier.acquisition, self.later.acquisition]
            parts += [self.setup.instrument_digest, self.setup.config.measurement_fingerprint()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def score_pairs(
    pairs: pd.DataFrame, scans: Mapping[str, PreparedScan], curve: SimilarityCalibration, setup: ScoringSetup
) -> pd.DataFrame:
    """Score all pairs.

    Parameters
    ----------
    pairs
        The pair table, with a column `distance`: that of the two embeddings.
    scans
        The prepared scans by their id.
    curve
        Turns a distance into the probability that the scans are of one person.
    setup
        What the change of a pair is measured with.

    Returns
    -------
    pandas.DataFrame
        One row a pair, with tables.SCORE_COLUMNS.
    """
    jobs = [
        PairJob(setup, scans[pair.scan_a], scans[pair.scan_b], pair.kind in SAME_PATIENT, pair.subject_a)
        for pair in pairs.itertuples()
    ]
    found = _add_verdicts(jobs, run_pair_jobs(jobs), setup.config)
    table = score_table([_named(one, pair, curve) for one, pair in zip(found, pairs.itertuples(), strict=True)])
    table.attrs[SIGNIFICANCE_ATTRIBUTE] = setup.config.significance  # pages say by which limit a pair has changed
    return table


def _named(score: PairScore, pair: Any, curve: SimilarityCalibration) -> PairScore:
    """The score with whose it is, by a row of the pair table, and what the network says."""
    known = read_row({name: getattr(pair, name) for name in names_of(Origin.PAIR)})
    distance = float(pair.distance)
    named = score.with_values({name: getattr(known, name) for name in names_of(Origin.PAIR)})
    return replace(named, distance=distance, similarity=curve.similarity(distance))


def _add_verdicts(jobs: list[PairJob], pairs: list[MeasuredPair], config: ScoreConfig) -> list[PairScore]:
    """The scores with their verdicts, for which all pairs of a patient are looked at together."""
    patients: dict[str, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if job.same_patient:
            patients[job.subject].append(number)
    done = [pair.score for pair in pairs]
    for numbers in patients.values():
        for number, score in zip(
            numbers, score_pair.apply_multiple_testing([pairs[n] for n in numbers], config), strict=True
        ):
            done[number] = score
    return done


def run_pair_jobs(jobs: list[PairJob]) -> list[MeasuredPair]:
    """The measured pair of every job, in order; what is cached is read, the rest measured on all cores."""
    waiting = [job for job in jobs if _cached(job) is None]
    for folder in {job.setup.folder for job in waiting}:
        files.remove_stale_temporary_files(folder)
    for _ in run_in_parallel(score_and_store_pair, waiting, "scoring pairs"):
        pass
    return [pair for job in jobs if (pair := _cached(job)) is not None]


def score_and_store_pair(job: PairJob) -> None:
    """Measure one pair and keep the result.

    What was kept before goes first: slices and map are written ahead of the columns, so a run that is killed in between
    must not leave older columns beside them.
    """
    kept = job.setup.folder / f"{job.name}.json"
    kept.unlink(missing_ok=True)
    similar = baselines.score_baselines(*map(job.setup.reader.read_aligned_voxels, (job.earlier, job.later)))
    pair = _measure_change(job) if job.same_patient else _of_two_patients(job)
    pair = replace(pair, score=pair.score.with_values(similar))
    files.write_json_file(kept, {"content": job.content, "columns": pair_to_json(pair)})


def _of_two_patients(job: PairJob) -> MeasuredPair:
    reasons = comparability.reasons_of_alignment(job.earlier.ok, job.later.ok)
    return MeasuredPair(PairScore(comparable=not reasons, reasons=reasons), one_patient=False)


def _measure_change(job: PairJob) -> MeasuredPair:
    setup = job.setup
    space = setup.reader.pair_space(setup.config.spacing_mm)
    earlier, later = map(setup.reader.read_side, (job.earlier, job.later))
    pair, measured = score_pair.score_pair(earlier, later, space, setup.instrument, setup.config)
    if measured is None:
        return pair
    picture, map_file = (setup.folder / f"{job.name}{ending}" for ending in (".npz", "_change.nii.gz"))
    score_pair.write_pictures(picture, *measured, space)
    score_pair.write_change_map(map_file, earlier, *measured, space)
    paths = {
        name: str(path.relative_to(setup.reader.data)) for name, path in (("map", map_file), ("pictures", picture))
    }
    return replace(pair, score=pair.score.with_values(paths))


def _cached(job: PairJob) -> MeasuredPair | None:
    path = job.setup.folder / f"{job.name}.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    return pair_from_json(stored["columns"], job.same_patient) if stored["content"] == job.content else None
