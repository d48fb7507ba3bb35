"""Calibrate a trained network on validation patients, then measure it once on test patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.network.siamese import (
    SiameseNetwork,
    compute_distance_matrix,
    compute_part_distances,
    embed_scans,
    project_embeddings,
)
from siamese_med.scoring.identity import calibration, evaluation, wrong_patient
from siamese_med.scoring.identity.patient_evidence import EvidenceCurve
from siamese_med.study.model_metrics import IdentityFigures
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import Split
from siamese_med.training.training_scans import load_scan_dataset

if TYPE_CHECKING:
    import pandas as pd

TARGET_MEASURED_SCANS = 600
"""Validation and test scans that a model is measured on: whole patients are drawn until there are so many."""
EMBEDDING_PARTS = ("learned", "edges")
"""Keys of the parts of an embedding in metrics.json, in the order of `siamese.compute_part_distances`."""


@dataclass(frozen=True)
class ModelEvaluation:
    """The result of calibration and measurement.

    Parameters
    ----------
    curve
        From distance to similarity, from validation patients.
    evidence
        From distance to the log odds of a patient, which the wrong-patient alarm uses; from validation patients.
    reference
        Distance and similarity of every validation and test pair.
    figures
        How well network and baselines tell test patients apart.
    """

    curve: calibration.SimilarityCalibration
    evidence: EvidenceCurve
    reference: pd.DataFrame
    figures: IdentityFigures


def evaluate_model(study: Study, usable: pd.DataFrame, network: SiameseNetwork) -> ModelEvaluation:
    """Calibrate on validation patients, then measure once on test patients.

    Parameters
    ----------
    usable
        See `training_scans.select_usable_scans`.

    Returns
    -------
    ModelEvaluation
        The curves come from validation patients, the figures from test patients.
    """
    import pandas as pd

    seed, rate = study.config.train.seed, study.config.score.false_match_rate
    split = {name: select_measured_scans(usable[usable.split == name], seed) for name in (Split.VALIDATION, Split.TEST)}
    embedded = {name: embed_scans(network, load_scan_dataset(part, study.data)) for name, part in split.items()}
    distance = {name: compute_distance_matrix(network, embeddings) for name, embeddings in embedded.items()}
    known, unseen = split[Split.VALIDATION], split[Split.TEST]
    curve = calibration.calibrate_similarity(distance[Split.VALIDATION], list(known.subject), rate)
    evidence = wrong_patient.calibrate_evidence_curve(
        project_embeddings(network, embedded[Split.VALIDATION]), list(known.subject), list(known.session), rate, seed
    )
    baselines = evaluation.measure_baselines(list(load_scan_dataset(unseen, study.data).volumes))
    parts = dict(zip(EMBEDDING_PARTS, compute_part_distances(network, embedded[Split.TEST]), strict=True))
    figures = evaluation.evaluate_test_patients(unseen, distance[Split.TEST], baselines, curve, seed, parts)
    tables = [
        evaluation.build_reference_table(str(name), list(part.id), list(part.subject), distance[name], curve, found)
        for name, part, found in ((Split.VALIDATION, known, {}), (Split.TEST, unseen, baselines))
    ]
    return ModelEvaluation(curve, evidence, pd.concat(tables, ignore_index=True), figures)


def select_measured_scans(scans: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw patients until they have TARGET_MEASURED_SCANS scans or more, and return all scans of these patients.

    The number of pairs grows with the square of the number of scans. A cohort with fewer scans is taken whole.
    """
    order = np.random.default_rng(seed).permutation(scans.subject.unique())
    counts = scans.subject.value_counts()[order].cumsum()
    return scans[scans.subject.isin(set(counts.index[counts - counts.diff().fillna(counts) < TARGET_MEASURED_SCANS]))]
