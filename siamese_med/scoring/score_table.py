"""The score table: all pairs of a study, measured in parallel. A pair is measured again only if its scans change.

==========================================  ================================================================
File below the data folder                  Content
==========================================  ================================================================
`scores/<model id>.parquet`                 the table; its columns are those of `study.pair_score.PairScore`
`scores/<model id>/<pair>.json`             the measured columns of a pair; written last
`scores/<model id>/<pair>.npz`              slices for the report, see `change.pair_slices`
`scores/<model id>/<pair>_change.nii.gz`    the change map in the space of the earlier scan
`scores/<model id>/rescans-<digest>.json`   simulated rescans of a scan, see `rescan_store`
`findings/<subject>.npz`                    where the findings of a patient lie, see `findings`
==========================================  ================================================================

Pairs that the model has no unchanged pairs for are compared with simulated rescans of their own scans. These are made
first, once a scan, so the cost grows with the number of scans, not with that of pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.errors import InputError
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring import findings, scan_poses
from siamese_med.scoring.change import comparability, pair_measurement, pair_scoring
from siamese_med.scoring.change.noise_floor import SAME_SCANNER
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.identity import baselines
from siamese_med.scoring.identity.calibration import SimilarityCalibration
from siamese_med.scoring.rescan_store import RescanStore
from siamese_med.study import score_tables
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import MeasuredPair, Origin, PairScore
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.score_columns import PATHS, names_of, pair_from_json, pair_to_json, read_row, score_table
from siamese_med.study.tables import METHOD_ATTRIBUTE, SIGNIFICANCE_ATTRIBUTE, Study
from siamese_med.study.vocabulary import SAME_PATIENT

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.model_info import ModelInfo


SCORE_METHOD_VERSION = 19
"""Version of the measurement. It is raised when the same scans would give other values, so that stored results are not
used any more. A new column does not need that: pairs without it are measured again."""
UNRECORDED_METHOD_VERSION = 19
"""Version that a score table without METHOD_ATTRIBUTE is taken to be of: the last that was not recorded."""


@dataclass(frozen=True)
class ScoringSetup:
    """The tools and settings that all pairs of one score table share.

    Parameters
    ----------
    reader
        Reads the scans, which lie on the model's template.
    folder
        Folder for the result of each pair.
    instrument
        The model's detector and noise floors.
    instrument_digest
        Digest of the detector, the noise floors and the weights, see `network.model_folder`.
    config
        The `score` section, with the voxel size and the smoothing that the model was made with.
    """

    reader: ScanReader
    folder: Path
    instrument: CalibratedDetector
    instrument_digest: str
    config: ScoreConfig

    @property
    def rescans(self) -> RescanStore:
        """The store of simulated rescans that were measured with this instrument and these settings."""
        parts = [str(SCORE_METHOD_VERSION), self.instrument_digest, self.config.measurement_fingerprint()]
        return RescanStore(self.folder, " ".join(parts))


@dataclass(frozen=True)
class RescanJob:
    """One scan to simulate rescans of, for a worker process: by one simulated scanner (`same_scanner`) or by two."""

    setup: ScoringSetup
    scan: PreparedScan
    same_scanner: bool


@dataclass(frozen=True)
class PairJob:
    """One pair to measure, for a worker process; `subject` is the patient of the earlier scan."""

    setup: ScoringSetup
    earlier: PreparedScan
    later: PreparedScan
    same_patient: bool
    subject: str

    @property
    def name(self) -> str:
        """File name of the pair without its ending, see `name_pair`."""
        return name_pair(self.earlier.id, self.later.id)

    @property
    def content(self) -> str:
        """Digest of all that the measured columns depend on; a stored result with another digest is not used."""
        parts: list[object] = [SCORE_METHOD_VERSION, *((scan.content, scan.ok) for scan in (self.earlier, self.later))]
        if self.same_patient:  # of two patients no change is measured
            parts += [self.earlier.acquisition, self.later.acquisition]
            parts += [self.setup.instrument_digest, self.setup.config.measurement_fingerprint()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def name_pair(earlier: str, later: str) -> str:
    """File name of a pair without its ending, from a digest of both ids: short enough for any file system.

    Examples
    --------
    >>> name_pair("sub-1_ses-01_T1w", "sub-1_ses-02_T1w")
    'pair-358c9bd60ce02e0e1516'
    """
    return f"pair-{hashlib.sha256(f'{earlier} {later}'.encode()).hexdigest()[:20]}"


def score_pairs(
    pairs: pd.DataFrame, scans: Mapping[str, PreparedScan], curve: SimilarityCalibration, setup: ScoringSetup
) -> pd.DataFrame:
    """Score all pairs of a study: similarity for every pair, change and verdict for pairs of one patient.

    Parameters
    ----------
    pairs
        The pair table, with a column `distance`: that of the two embeddings.
    scans
        The prepared scans by their id.
    curve
        Converts a distance to the probability that both scans show one person.
    setup
        The model's change detector and the settings.

    Returns
    -------
    pandas.DataFrame
        One row per pair, in the order of `pairs`, with the columns of docs/columns.md. The significance level of the
        verdicts is in its attribute `tables.SIGNIFICANCE_ATTRIBUTE`.
    """
    jobs = [
        PairJob(setup, scans[pair.scan_a], scans[pair.scan_b], pair.kind in SAME_PATIENT, pair.subject_a)
        for pair in pairs.itertuples()
    ]
    found = add_verdicts(jobs, run_pair_jobs(jobs), setup.config)
    named = [
        _named(one, pair, curve, job.earlier.ok and job.later.ok)
        for one, pair, job in zip(found, pairs.itertuples(), jobs, strict=True)
    ]
    table = score_table(
        findings.number_findings(setup.reader.data, named, scan_poses.list_shared_frames(scans.values()))
    )
    table.attrs[SIGNIFICANCE_ATTRIBUTE] = setup.config.significance  # pages say by which limit a pair has changed
    table.attrs[METHOD_ATTRIBUTE] = SCORE_METHOD_VERSION
    return table


def read_tables_of_this_method(study: Study, info: ModelInfo) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the score table and the owner table of a model for pages, which describe the present method.

    Raises
    ------
    EmptyInputError
        The model has no scores yet.
    InputError
        A table was edited, or the scores are of another SCORE_METHOD_VERSION.
    """
    scores, owners = score_tables.read_score_tables(study, info)
    if scores.attrs.get(METHOD_ATTRIBUTE, UNRECORDED_METHOD_VERSION) != SCORE_METHOD_VERSION:
        raise InputError("the scores were measured by another version of siamese-med: run `siamese-med score` first")
    return scores, owners


def _named(score: PairScore, pair: Any, curve: SimilarityCalibration, placed: bool) -> PairScore:
    """Add the columns of the pair table and the distance of the embeddings, and the similarity if both are placed."""
    known = read_row({name: getattr(pair, name) for name in names_of(Origin.PAIR)})
    distance = float(pair.distance)
    named = score.with_values({name: getattr(known, name) for name in names_of(Origin.PAIR)})
    return replace(named, distance=distance, similarity=curve.similarity(distance) if placed else None)


def add_verdicts(jobs: list[PairJob], pairs: list[MeasuredPair], config: ScoreConfig) -> list[PairScore]:
    """Return the scores with verdicts, which are given together to the pairs that end with one visit of a patient.

    So the verdicts on a visit stay when a later one comes. The scores are in the order of `jobs`, whose measured
    `pairs` are given in the same order.
    """
    visits: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if job.same_patient:
            visits[job.subject, job.later.session].append(number)
    done = [pair.score for pair in pairs]
    for numbers in visits.values():
        for number, score in zip(
            numbers, pair_scoring.apply_multiple_testing([pairs[n] for n in numbers], config), strict=True
        ):
            done[number] = score
    return done


def run_pair_jobs(jobs: list[PairJob]) -> list[MeasuredPair]:
    """Measure pairs on all cores, except those with a stored result; return the results in the order of the jobs.

    It can be stopped and called again: results that were stored are read.
    """
    done = {number: pair for number, job in enumerate(jobs) if (pair := _cached(job)) is not None}
    waiting = [job for number, job in enumerate(jobs) if number not in done]
    for folder in {job.setup.folder for job in waiting}:
        files.remove_stale_temporary_files(folder)
    for _ in run_in_parallel(measure_and_store_rescans, list_rescan_jobs(waiting), "simulating rescans"):
        pass
    for _ in run_in_parallel(score_and_store_pair, waiting, "scoring pairs"):
        pass
    return [done.get(number) or _read_measured(job) for number, job in enumerate(jobs)]


def list_rescan_jobs(pairs: Sequence[PairJob]) -> list[RescanJob]:
    """List the scans to rescan before pairs are measured, each content and kind of scanner once.

    They are those of pairs for which the model has no unchanged pairs. Whether a pair is too noisy for those of the
    model shows only when it is measured, and then its scans are rescanned in place.
    """
    found: dict[tuple[str, bool], RescanJob] = {}
    for pair in pairs:
        stratum = pair_measurement.find_pair_stratum(pair.earlier, pair.later)
        known = pair.setup.instrument.find_references(stratum)
        if known or not pair.same_patient or comparability.reasons_before_measuring(pair.earlier, pair.later):
            continue
        for scan in (pair.earlier, pair.later):
            same_scanner = stratum.scanner == SAME_SCANNER
            found[scan.content, same_scanner] = RescanJob(pair.setup, scan, same_scanner)
    return list(found.values())


def measure_and_store_rescans(job: RescanJob) -> None:
    """Measure the simulated rescans of one scan and store them, unless they are stored."""
    setup = job.setup
    source = setup.reader.read_side(job.scan)
    setup.rescans.measure_rescans(source, job.same_scanner, setup.config.spacing_mm, setup.instrument.detector)


def score_and_store_pair(job: PairJob) -> None:
    """Measure one pair and store the result: change map and slices first, then the columns.

    Stored columns of an earlier measurement are deleted first. Otherwise a run that is killed in between would leave
    them beside a newer map.
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
    earlier, later = map(setup.reader.read_side, (job.earlier, job.later))
    instrument = replace(setup.instrument, rescans=setup.rescans.measure_rescans)
    pair, measured = pair_scoring.score_pair(earlier, later, instrument, setup.config)
    if measured is None:
        return pair
    picture, map_file = (setup.folder / f"{job.name}{ending}" for ending in (".npz", "_change.nii.gz"))
    pair_scoring.write_pictures(picture, (earlier, later), pair.score, *measured)
    pair_scoring.write_change_map(map_file, earlier, *measured)
    paths = {
        name: str(path.relative_to(setup.reader.data)) for name, path in (("map", map_file), ("pictures", picture))
    }
    return replace(pair, score=pair.score.with_values(paths))


def _read_measured(job: PairJob) -> MeasuredPair:
    """Return the result of a pair that has just been measured."""
    pair = _cached(job)
    if pair is None:
        raise InputError("a stored score vanished while the scores were made: run the same command again")
    return pair


def _cached(job: PairJob) -> MeasuredPair | None:
    """Return the stored result of a pair; None where there is none, it is damaged, or its map or slices are gone."""
    try:
        stored = json.loads((job.setup.folder / f"{job.name}.json").read_bytes())
        if stored["content"] != job.content:
            return None
        pair = pair_from_json(stored["columns"], job.same_patient)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    written = [getattr(pair.score, name) for name in PATHS] if pair else []
    whole = all((job.setup.reader.data / path).is_file() for path in written if path)
    return pair if whole else None
