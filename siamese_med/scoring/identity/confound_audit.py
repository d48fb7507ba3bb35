"""Audit for confounds: can patients be told apart without their anatomy?

Each shortcut (header, background, outline, histogram, thumbnail) gets a classifier that sees nothing else. It learns
from the training patients of the model and is measured on its test patients. If a shortcut works, the cohort itself
gives patients away, for example because each of them stays with one scanner. Then no score on this cohort shows that a
network has learned anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from siamese_med.imaging import volume
from siamese_med.scoring.identity import confounds, verification_metrics
from siamese_med.scoring.identity.confounds import NetworkView
from siamese_med.scoring.identity.verification_metrics import ScanPairs
from siamese_med.study.model_metrics import ConfoundFigures, Estimate
from siamese_med.study.thresholds import MAX_SHORTCUT_AUC

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

NEGATIVES_PER_POSITIVE = 3
"""Pairs of two patients per pair of one patient in the training of a classifier. The ratio shifts its scores, not its
AUC."""
MAX_POSITIVE_PAIRS = 2000
"""Largest number of pairs of one patient in the training of a classifier, to limit the time. Source: our choice."""
CROSS_VALIDATION_FOLDS = 3
"""Folds of the training patients, on which the kind of classifier is chosen."""


class ConfoundClassifier(Protocol):
    """The methods of a scikit-learn classifier that the audit calls."""

    def fit(self, features: Values, same: Flags) -> object:
        """Learn from features (pairs, features) and whether each pair is of one patient."""

    def predict_proba(self, features: Values) -> Values:
        """Return the probabilities (pairs, 2) of two patients and of one."""


def audit_confounds(
    train: pd.DataFrame, test: pd.DataFrame, data: Path, template: Path, shown: NetworkView, seed: int
) -> ConfoundFigures:
    """Measure the area under the ROC curve (AUC) of every shortcut on the pairs of the test patients.

    Parameters
    ----------
    train, test
        Scans of the training and of the test patients, with `tables.SCAN_COLUMNS` and `volume`.
    data
        The data folder.
    template
        NIfTI of the template.
    shown
        From an aligned volume to what the network is shown of it. The verdict (`auc`, `failed`) rests on that, because
        the network cannot use what it is not shown; `in_scans` has the AUC on whole scans.
    seed
        Of the drawn pairs, the classifiers and the bootstrap.

    Returns
    -------
    ConfoundFigures
        A shortcut without any input, such as the background of scans that have none, has no figure.
    """
    found = _measure_confounds(train, test, data, template, shown, seed)
    return ConfoundFigures(
        limit=MAX_SHORTCUT_AUC,
        patients=int(test.subject.nunique()),
        auc=found,
        in_scans=_measure_confounds(train, test, data, template, None, seed),
        failed=tuple(name for name, auc in found.items() if auc.value is not None and auc.value > MAX_SHORTCUT_AUC),
    )


def _measure_confounds(
    train: pd.DataFrame, test: pd.DataFrame, data: Path, template: Path, shown: NetworkView | None, seed: int
) -> dict[str, Estimate]:
    known, unseen = ScanPairs(list(train.subject)), ScanPairs(list(test.subject))
    learned = _draw_training_pairs(known, seed)
    places = (known.places[0][learned], known.places[1][learned])
    described = _describe_pairs(train, test, data, template, shown, places, unseen)
    found = {}
    for name, features in described.items():
        if features is None:
            found[name] = Estimate()
            continue
        score = _fit_best_classifier(features[0], known, learned, seed).predict_proba(features[1])[:, 1]
        found[name] = verification_metrics.make_estimate(
            verification_metrics.bootstrap_verification(_matrix(score, unseen), unseen.subjects, seed)["auc"]
        )
    return found


def _draw_training_pairs(pairs: ScanPairs, seed: int) -> NDArray[np.intp]:
    """Positions of the pairs of one patient, and of NEGATIVES_PER_POSITIVE times as many pairs of two."""
    rng = np.random.default_rng(seed)
    same, different = (np.flatnonzero(kind) for kind in (pairs.same, ~pairs.same))
    same = rng.permutation(same)[:MAX_POSITIVE_PAIRS]
    return np.concatenate([same, rng.permutation(different)[: NEGATIVES_PER_POSITIVE * len(same)]])


def _describe_pairs(
    train: pd.DataFrame,
    test: pd.DataFrame,
    data: Path,
    template: Path,
    shown: NetworkView | None,
    places: confounds.Places,
    unseen: ScanPairs,
) -> dict[str, tuple[Values, Values] | None]:
    """Features of the training and of the test pairs, by shortcut; None for a shortcut without any input."""
    grid = volume.read_volume(template)
    seen = [confounds.extract_confound_views(_volumes(part, data), grid, shown) for part in (train, test)]
    features: dict[str, tuple[Values, Values] | None] = {
        "header": (confounds.compare_headers(train, places), confounds.compare_headers(test, unseen.places))
    }
    for name, of_train in seen[0].items():
        of_test = seen[1][name]
        if of_train is None or of_test is None:
            features[name] = None
            continue
        found = confounds.fit_projection(of_train)
        features[name] = (found.pairs(of_train, places), found.pairs(of_test, unseen.places))
    return features


def _volumes(scans: pd.DataFrame, data: Path) -> Sequence[NDArray[np.generic]]:
    return [np.load(data / path, mmap_mode="r") for path in scans.volume]


def _fit_best_classifier(
    features: Values, pairs: ScanPairs, learned: NDArray[np.intp], seed: int
) -> ConfoundClassifier:
    """Choose the kind of classifier by cross-validation over training patients, and fit it to all training pairs."""
    same = pairs.same[learned]
    patient = np.unique(np.asarray(pairs.subjects), return_inverse=True)[1]
    fold = np.random.default_rng(seed).permutation(patient.max() + 1) % CROSS_VALIDATION_FOLDS
    sides = fold[patient][np.stack([place[learned] for place in pairs.places])]
    kinds = _classifier_factories(seed)
    merit = [
        np.mean([_fold_auc(kind, features, same, sides, fold) for fold in range(CROSS_VALIDATION_FOLDS)])
        for kind in kinds
    ]
    best: ConfoundClassifier = kinds[int(np.argmax(merit))]()
    best.fit(features, same)
    return best


def _fold_auc(kind: Any, features: Values, same: Flags, sides: NDArray[np.intp], fold: int) -> float:
    """AUC on the pairs of the patients of one fold; 0.5 if one kind of pairs is missing."""
    inside, outside = (sides == fold).all(0), (sides != fold).all(0)
    if not (0 < same[inside].sum() < inside.sum() and 0 < same[outside].sum() < outside.sum()):
        return 0.5
    classifier = kind()
    classifier.fit(features[outside], same[outside])
    false_accepts, true_accepts = verification_metrics.compute_roc(
        classifier.predict_proba(features[inside])[:, 1], same[inside]
    )
    return float(np.trapezoid(true_accepts, false_accepts))


def _classifier_factories(seed: int) -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return [
        lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        lambda: HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, max_bins=64, random_state=seed
        ),
    ]


def _matrix(score: Values, pairs: ScanPairs) -> Values:
    matrix = np.zeros((len(pairs.subjects),) * 2)
    matrix[pairs.places] = score
    return np.asarray(matrix + matrix.T)
