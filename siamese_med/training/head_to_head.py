"""Compare two models on the same validation patients: recognising patients, and seeing planted changes.

Neither model has learned weights from these patients, and both were calibrated on them, so neither has an advantage.
The starter model was calibrated on other people; the figures do not depend on that, since they only rank pairs. Test
patients are never used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from siamese_med.network.model_folder import TrainedModel
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import compute_distance_matrix, embed_scans
from siamese_med.network.starter_model import is_starter_model
from siamese_med.runtime import files
from siamese_med.scoring.change import detectors
from siamese_med.scoring.identity import verification_metrics
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import PairKind, Split
from siamese_med.training import detector_selection, model_evaluation

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

INCUMBENT_MODEL: Final = "incumbent"
CANDIDATE_MODEL: Final = "candidate"
"""The two models of a comparison: the current one, and the one that may replace it."""
COMPARISON_SEED = 0
"""Seed of planted changes and bootstrap. It is not the study's, since figures of different weeks are compared."""


@dataclass(frozen=True)
class ComparedModel:
    """A model, and the alignments of the study's scans to its template."""

    model: TrainedModel
    prepared: PreparedStudy

    @property
    def learned_from(self) -> set[str]:
        """SHA-256 of the scans of the model's training and validation patients."""
        return set(self.model.info.learned_from)

    def calibrated_on(self, scans: pd.DataFrame) -> pd.Series[bool]:
        """Return for each scan whether it may be measured by this model: it was calibrated on it, or is the starter."""
        import pandas as pd

        if is_starter_model(self.model.folder):
            return pd.Series(True, index=scans.index)
        return scans.sha256.isin(self.learned_from)

    def trained_on(self, scans: pd.DataFrame) -> set[str]:
        """Return the SHA-256 of the scans that the weights were learned from.

        An older model does not record them. For it they are all that it has learned from but the validation scans,
        which its reference.parquet names.
        """
        import pandas as pd

        if self.model.info.trained_on is not None:
            return set(self.model.info.trained_on)
        if is_starter_model(self.model.folder):
            return self.learned_from
        known = pd.read_parquet(self.model.folder / "reference.parquet", columns=["split", "scan_a", "scan_b"])
        known = known[known.split == Split.VALIDATION]
        return self.learned_from - set(scans[scans.id.isin({*known.scan_a, *known.scan_b})].sha256)


class AucComparison(TypedDict):
    """AUC of two models on the same pairs.

    `difference`: candidate minus incumbent, with `value` and the ends of its 95 % interval, `low` and `high`.
    """

    incumbent: float
    candidate: float
    difference: dict[str, float]


ComparedModels = Mapping[str, ComparedModel]
"""By INCUMBENT_MODEL and CANDIDATE_MODEL."""


def select_eligible_scans(
    scans: pd.DataFrame, contenders: ComparedModels, fixed: Iterable[str] | None = None
) -> pd.DataFrame:
    """Select the scans that both models may be measured on.

    Both models were calibrated on them, but for the starter model; neither has trained on any scan of their patients,
    they are aligned for both, and their patients have two of them.

    Parameters
    ----------
    fixed
        SHA-256 of the scans to select from; None for all.

    Returns
    -------
    pandas.DataFrame
        Rows of the scan table, in the order of their ids.
    """
    trained = set().union(*(one.trained_on(scans) for one in contenders.values()))
    barred = set(scans[scans.sha256.isin(trained)].subject)
    mine = scans[~scans.subject.isin(barred)]
    for one in contenders.values():
        aligned = one.prepared.alignments
        mine = mine[one.calibrated_on(mine) & mine.id.isin(set(aligned[aligned.ok].scan))]
    if fixed is not None:
        mine = mine[mine.sha256.isin(set(fixed))]
    return mine[mine.groupby("subject").id.transform("size") > 1].sort_values("id").reset_index(drop=True)


def choose_fixed_scans(scans: pd.DataFrame, contenders: ComparedModels) -> list[str]:
    """Choose the scans that candidates are compared on from now on, whole patients at a time.

    They are all eligible scans, or those of some patients where there are more than are needed to measure on. Returned
    is their SHA-256, sorted.
    """
    return sorted(
        model_evaluation.select_measured_scans(select_eligible_scans(scans, contenders), COMPARISON_SEED).sha256
    )


def digest_comparison_terms(study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: ComparedModels) -> str:
    """Return the SHA-256 (hex) of everything but the models that the figures depend on.

    Figures of different weeks can be compared if their terms are the same: scans, rescans, settings and alignments.
    """
    mine = set(scans.id)
    quiet = pairs[(pairs.kind == PairKind.RESCAN) & pairs.scan_a.isin(mine) & pairs.scan_b.isin(mine)]
    measured = [one.model.measures(study.config.score).calibration_fingerprint() for one in contenders.values()]
    aligned = [" ".join(one.prepared.contents(scans.id)) for one in contenders.values()]
    parts = [*scans.id, *quiet.scan_a, *quiet.scan_b, *sorted({*measured}), *sorted({*aligned})]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def compare_model_auc(
    study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: ComparedModels
) -> dict[str, AucComparison]:
    """Measure both models on the same pairs, for identity and for change.

    Returns
    -------
    dict
        By `identity` and `change`, the AUC of each model and their difference, candidate minus incumbent.

    Notes ----- The 95 % interval of a difference is that of a percentile bootstrap over patients (Efron, 1979), with
    both models on the same draws.
    """
    return {
        "identity": _identity(study, scans, contenders),
        "change": _change(study, scans, pairs, contenders),
    }


def _identity(study: Study, scans: pd.DataFrame, contenders: ComparedModels) -> AucComparison:
    """All pairs of the scans: is it one person?"""
    subjects = list(scans.subject)
    pairs = verification_metrics.ScanPairs(subjects)
    alike = {
        name: -compute_distance_matrix(one.model.network, embed_scans(one.model.network, _cohort(study, scans, one)))[
            pairs.places
        ]
        for name, one in contenders.items()
    }
    draws = map(pairs.weights, verification_metrics.draw_patients(subjects, COMPARISON_SEED))
    return _compared(alike, pairs.same, draws)


def _cohort(study: Study, scans: pd.DataFrame, one: ComparedModel) -> ScanDataset:
    return ScanDataset(one.prepared.volumes(study.data, scans.id), list(scans.subject))


def _change(study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: ComparedModels) -> AucComparison:
    """Pairs without change and the same with one planted: which is which? The same pairs for both models.

    Models on one template at one voxel size are tried together, which is the rule; else each on its own.
    """
    together: dict[tuple[str, str], dict[str, ComparedModel]] = {}
    for name, one in contenders.items():
        key = (
            files.compute_file_digest(one.prepared.template),
            one.model.measures(study.config.score).calibration_fingerprint(),
        )
        together.setdefault(key, {})[name] = one
    z: dict[str, Values] = {}
    for group in together.values():
        (first, *_) = group.values()
        config = first.model.measures(study.config.score)
        evidence = scans.assign(split=str(Split.VALIDATION))
        tried = {
            name: detectors.build_model_detector(one.model.info, one.model.folder, config)
            for name, one in group.items()
        }
        found = detector_selection.run_detector_trials(
            study.data, evidence, first.prepared, pairs, tried, config, COMPARISON_SEED
        )
        z |= found.z
    planted = ~np.isnan(z[INCUMBENT_MODEL][:, 1])
    values = {name: np.concatenate([one[:, 0], one[planted, 1]]) for name, one in z.items()}
    changed = np.repeat([False, True], [len(planted), planted.sum()])
    owner = dict(zip(scans.id, scans.subject, strict=True))
    subjects = np.array([owner[scan] for scan in found.scans])
    return _compared(values, changed, _draws(np.concatenate([subjects, subjects[planted]]), changed))


def _draws(subjects: NDArray[np.str_], changed: Flags) -> Iterable[Values]:
    """Draw patients and yield how often each value counts then; draws without both kinds are left out."""
    everyone, place = np.unique(subjects, return_inverse=True)
    rng = np.random.default_rng(COMPARISON_SEED)
    for _ in range(verification_metrics.BOOTSTRAP_RESAMPLES):
        times = np.bincount(rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)).astype(float)
        weight = times[place]
        if weight[changed].any() and weight[~changed].any():
            yield weight


def _compared(values: Mapping[str, Values], positive: Flags, draws: Iterable[Values]) -> AucComparison:
    ranks = {name: verification_metrics.rank_scores(one) for name, one in values.items()}

    def figures(weight: Values) -> dict[str, float]:
        curves = {
            name: verification_metrics.compute_ranked_roc(*rank, positive, weight) for name, rank in ranks.items()
        }
        auc = {name: float(np.trapezoid(true, false)) for name, (false, true) in curves.items()}
        return {"difference": auc[CANDIDATE_MODEL] - auc[INCUMBENT_MODEL], **auc}

    whole = figures(np.ones(len(positive)))
    apart = verification_metrics.compute_intervals(whole, map(figures, draws))["difference"]
    return {
        INCUMBENT_MODEL: whole[INCUMBENT_MODEL],
        CANDIDATE_MODEL: whole[CANDIDATE_MODEL],
        "difference": {end: at for end, at in apart.items() if at is not None},
    }
