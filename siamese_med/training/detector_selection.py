"""Detectors of a model in the making, tried on pairs whose truth is known: which one speaks, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.scoring.change import detectors, labelled_changes, noise_floor, null_pairs
from siamese_med.scoring.change.labelled_changes import LabelledPair
from siamese_med.scoring.change.null_pairs import DetectorTrials
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.change.score_pair import find_pair_stratum
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import DetectorChoice, LossCheck, ModelInfo, RecordedNoiseFloor
from siamese_med.study.model_metrics import LabelAgreement
from siamese_med.study.prepared_scans import PreparedScan, PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import SPLITS, PairKind, Split
from siamese_med.training.change_training import ChangeValidation

if TYPE_CHECKING:
    import pandas as pd

NOISE_FLOOR_SPLITS = (Split.TRAIN, Split.VALIDATION)
"""Splits whose rescans may serve as the no-change reference; test patients stay unseen. A learned detector is at its
best on what it has learned from, so for one that leaves validation alone."""


@dataclass(frozen=True)
class ChangeCalibration:
    """The detector that gives the verdicts, and what it and local growth come to on pairs without change."""

    change: DetectorChoice
    change_reference: RecordedNoiseFloor
    growth_reference: RecordedNoiseFloor


def select_change_detector(
    study: Study,
    usable: pd.DataFrame,
    prepared: PreparedStudy,
    pairs: pd.DataFrame,
    folder: Path,
    practised: Sequence[ChangeValidation],
) -> ChangeCalibration:
    """The noise floors, and which detector gives the verdicts: the better on validation patients' planted changes.

    One that `score.detector` names gives them whatever the others reach; what they reach is recorded beside it.
    """
    rivals = detectors.build_candidate_detectors(folder if practised else None, study.config.score)
    named = detectors.named_detector(study.config.score)
    splits = NOISE_FLOOR_SPLITS if len(rivals) == 1 else NOISE_FLOOR_SPLITS[1:]
    evidence = usable[usable.split.isin(splits)]
    found = run_detector_trials(
        study.data, evidence, prepared, pairs, rivals, study.config.score, study.config.train.seed
    )
    chosen = named.name if named else max(rivals, key=lambda name: found.auc[name])
    return ChangeCalibration(
        DetectorChoice(
            detector=chosen,
            planted=found.n,
            auc={name: found.auc[name] for name in rivals},
            practised=tuple(LossCheck(**vars(check)) for check in practised),
        ),
        found.floors[chosen].to_record(),
        found.floors[null_pairs.GROWTH].to_record(),
    )


def evaluate_on_study_labels(
    study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame, folder: Path, info: ModelInfo
) -> LabelAgreement | None:
    """How the change score agrees with the study's own labels, on patients that were not learned from; None without."""
    mine = pairs[pairs.kind.isin((PairKind.RESCAN, PairKind.CHANGED)) & pairs.split.isin(SPLITS[1:])]
    rows = prepared.scans(usable)
    floors = dict(zip(("change", null_pairs.GROWTH), noise_floor.make_floors(info), strict=True))
    known = [
        (pair, (rows[pair.scan_a], rows[pair.scan_b]))
        for pair in mine.itertuples()
        if _has_both_scans(pair, rows) and floors["change"].of(find_pair_stratum(rows[pair.scan_a], rows[pair.scan_b]))
    ]
    if len({pair.kind for pair, _ in known}) < 2:
        return None
    detector = detectors.build_model_detector(info, folder, study.config.score)
    reader = ScanReader(study.data, prepared.template)
    found = null_pairs.measure_real_pairs(
        [sides for _, sides in known], reader, {"change": detector}, study.config.score
    )
    judged = [
        LabelledPair(
            pair.subject_a,
            pair.kind == PairKind.CHANGED,
            max(floors[name].references[where].z(finding) for name, finding in findings.items()),
        )
        for (pair, _), (where, findings) in zip(known, found, strict=True)
    ]
    return labelled_changes.measure_label_agreement(judged, study.config.train.seed)


def run_detector_trials(
    data: Path,
    evidence: pd.DataFrame,
    prepared: PreparedStudy,
    pairs: pd.DataFrame,
    tried: Mapping[str, ChangeDetector],
    config: ScoreConfig,
    seed: int,
) -> DetectorTrials:
    """Detectors on pairs without change of the scans of `evidence`, also with changes planted; validation first."""
    evidence = evidence.sort_values(["split", "id"], ascending=[False, True])
    rows = prepared.scans(evidence)
    quiet = pairs[pairs.kind == PairKind.RESCAN]
    known = [(rows[pair.scan_a], rows[pair.scan_b]) for pair in quiet.itertuples() if _has_both_scans(pair, rows)]
    one_each = [rows[scan] for scan in evidence.groupby(["subject", "modality", "contrast"], sort=False).id.first()]
    return null_pairs.measure_null_pairs(known, one_each, ScanReader(data, prepared.template), tried, config, seed)


def _has_both_scans(pair: Any, rows: Mapping[str, PreparedScan]) -> bool:
    return pair.scan_a in rows and pair.scan_b in rows
