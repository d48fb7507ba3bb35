"""Select the change detector of a new model, by trials on pairs whose truth is known, and calibrate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.scoring.change import detectors, labelled_changes, noise_floor, null_pairs, simulated_rescans
from siamese_med.scoring.change.labelled_changes import LabelledPair
from siamese_med.scoring.change.null_pairs import DetectorTrials
from siamese_med.scoring.change.pair_measurement import find_pair_stratum
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import ScanReader
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
"""Splits whose rescans may serve as the no-change reference. Test patients stay unseen.

A change head does best on the patients that it was trained on, and of a plug-in nothing is known: for these only the
validation split remains.
"""


@dataclass(frozen=True)
class ChangeCalibration:
    """The detector that gives the verdicts, and the noise floors of its figure and of local growth."""

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
    """Select the detector that sees planted changes of validation patients best, and measure its noise floor.

    A detector that `score.detector` names is selected whatever the others reach; what they reach is recorded beside it.

    Parameters
    ----------
    usable
        See `training_scans.select_usable_scans`.
    folder
        The model folder in the making, with the trained change head.
    practised
        The validation log of the change head; empty where it was not trained, so that it is not tried.

    Returns
    -------
    ChangeCalibration
        The choice, with the AUC of every detector, and the noise floors: see `scoring.change.noise_floor`.
    """
    rivals = detectors.build_candidate_detectors(folder if practised else None, study.config.score)
    named = detectors.named_detector(study.config.score)
    ready = {detectors.RESIDUAL_DETECTOR, detectors.PRETRAINED_DETECTOR}
    splits = NOISE_FLOOR_SPLITS if rivals.keys() <= ready else NOISE_FLOOR_SPLITS[1:]
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
        found.floors[simulated_rescans.GROWTH].to_record(),
    )


def evaluate_on_study_labels(
    study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame, folder: Path, info: ModelInfo
) -> LabelAgreement | None:
    """Measure how well the change score agrees with the study's own labels, on validation and test patients.

    Returns
    -------
    LabelAgreement or None
        The AUC of the change z for visits that the study's manifest calls changed against those that it calls
        unchanged; None where one of the two kinds is missing.
    """
    mine = pairs[pairs.kind.isin((PairKind.RESCAN, PairKind.CHANGED)) & pairs.split.isin(SPLITS[1:])]
    rows = prepared.scans(usable)
    floors = dict(zip(("change", simulated_rescans.GROWTH), noise_floor.make_floors(info), strict=True))
    known = [
        (pair, (rows[pair.scan_a], rows[pair.scan_b]))
        for pair in mine.itertuples()
        if _has_both_scans(pair, rows)
        and rows[pair.scan_a].contrast == rows[pair.scan_b].contrast
        and floors["change"].of(find_pair_stratum(rows[pair.scan_a], rows[pair.scan_b]))
    ]
    if len({pair.kind for pair, _ in known}) < 2:
        return None
    detector = detectors.build_model_detector(info, folder, study.config.score)
    reader = ScanReader(study.data)
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
    """Try detectors on pairs without change, as they are and with a change planted.

    Parameters
    ----------
    evidence
        The scans that may be used, with their split; those of validation patients are used first.
    tried
        The detectors by name.
    seed
        Of the planted changes.

    Returns
    -------
    DetectorTrials
        Noise floors, and the AUC of every detector.
    """
    evidence = evidence.sort_values(["split", "id"], ascending=[False, True])
    rows = prepared.scans(evidence)
    quiet = pairs[pairs.kind == PairKind.RESCAN]
    known = [(rows[pair.scan_a], rows[pair.scan_b]) for pair in quiet.itertuples() if _has_both_scans(pair, rows)]
    one_each = [rows[scan] for scan in evidence.groupby(["subject", "modality", "contrast"], sort=False).id.first()]
    return null_pairs.measure_null_pairs(known, one_each, ScanReader(data), tried, config, seed)


def _has_both_scans(pair: Any, rows: Mapping[str, PreparedScan]) -> bool:
    return pair.scan_a in rows and pair.scan_b in rows
