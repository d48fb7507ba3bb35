"""Two models on the same validation patients: how well each tells persons apart, and planted changes from rescans.

Neither model may have learned weights from these patients, and both were calibrated on them, so that neither has an
advantage. Test patients are never looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import detectors, files, models, trials
from siamese_med.network.cohort import Cohort
from siamese_med.network.model import Model
from siamese_med.network.siamese import distance_matrix, embed
from siamese_med.prepared import Prepared
from siamese_med.records import Study
from siamese_med.scoring import metrics

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

OLD, NEW = "incumbent", "candidate"
SEED = 0
"""Of the planted changes and of the bootstrap: not the study's, since figures of different weeks are compared."""


@dataclass(frozen=True)
class Contender:
    """A model, and the study's scans as they lie on its template."""

    model: Model
    prepared: Prepared

    @property
    def learned_from(self) -> set[str]:
        """SHA-256 of the scans of its training and validation patients."""
        return set(self.model.about["learned_from"])

    def trained_on(self, scans: pd.DataFrame) -> set[str]:
        """SHA-256 of the scans that weights came from; a model made before says of which scans they did not."""
        import pandas as pd

        if "trained_on" in self.model.about:
            return set(self.model.about["trained_on"])
        known = pd.read_parquet(self.model.folder / "reference.parquet", columns=["split", "scan_a", "scan_b"])
        known = known[known.split == "validation"]
        return self.learned_from - set(scans[scans.id.isin({*known.scan_a, *known.scan_b})].sha256)


Contenders = Mapping[str, Contender]
"""By OLD and NEW."""


def eligible(scans: pd.DataFrame, contenders: Contenders, fixed: Iterable[str] | None = None) -> pd.DataFrame:
    """Scans that both models may be measured on, of patients with two of them; of those whose SHA-256 is `fixed`.

    Both were calibrated on them, neither has trained on any scan of their patients, and they are aligned for both.
    """
    trained = set().union(*(one.trained_on(scans) for one in contenders.values()))
    barred = set(scans[scans.sha256.isin(trained)].subject)
    mine = scans[~scans.subject.isin(barred)]
    for one in contenders.values():
        aligned = one.prepared.alignments
        mine = mine[mine.sha256.isin(one.learned_from) & mine.id.isin(set(aligned[aligned.ok].scan))]
    if fixed is not None:
        mine = mine[mine.sha256.isin(set(fixed))]
    return mine[mine.groupby("subject").id.transform("size") > 1].sort_values("id").reset_index(drop=True)


def chosen(scans: pd.DataFrame, contenders: Contenders) -> list[str]:
    """SHA-256 of the scans to be fixed: all that are eligible, or as many as one measures on, by patients."""
    return sorted(models.measurable(eligible(scans, contenders), SEED).sha256)


def terms(study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: Contenders) -> str:
    """Digest of all that figures depend on but the models: with the same terms, those of two weeks are comparable."""
    mine = set(scans.id)
    quiet = pairs[(pairs.kind == "rescan") & pairs.scan_a.isin(mine) & pairs.scan_b.isin(mine)]
    measured = [one.model.measures(study.config.score).learning() for one in contenders.values()]
    aligned = [" ".join(one.prepared.contents(scans.id)) for one in contenders.values()]
    parts = [*scans.id, *quiet.scan_a, *quiet.scan_b, *sorted({*measured}), *sorted({*aligned})]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def measure(study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: Contenders) -> dict[str, Any]:
    """AUC of both models and their difference (new less old), for identity and for change.

    Each difference has a 95 % interval from a bootstrap over patients (percentiles), both models on the same draws.
    """
    return {
        "identity": _identity(study, scans, contenders),
        "change": _change(study, scans, pairs, contenders),
    }


def _identity(study: Study, scans: pd.DataFrame, contenders: Contenders) -> dict[str, Any]:
    """All pairs of the scans: is it one person?"""
    subjects = list(scans.subject)
    pairs = metrics.Pairs(subjects)
    alike = {
        name: -distance_matrix(one.model.network, embed(one.model.network, _cohort(study, scans, one)))[pairs.places]
        for name, one in contenders.items()
    }
    draws = map(pairs.weights, metrics.patient_draws(subjects, SEED))
    return _compared(alike, pairs.same, draws)


def _cohort(study: Study, scans: pd.DataFrame, one: Contender) -> Cohort:
    return Cohort(one.prepared.volumes(study.data, scans.id), list(scans.subject))


def _change(study: Study, scans: pd.DataFrame, pairs: pd.DataFrame, contenders: Contenders) -> dict[str, Any]:
    """Pairs without change and the same with one planted: which is which? The same pairs for both models.

    Models on one template at one voxel size are tried together, which is the rule; else each on its own.
    """
    together: dict[tuple[str, str], dict[str, Contender]] = {}
    for name, one in contenders.items():
        key = files.digest(one.prepared.template), one.model.measures(study.config.score).learning()
        together.setdefault(key, {})[name] = one
    z: dict[str, Values] = {}
    for group in together.values():
        (first, *_) = group.values()
        config = first.model.measures(study.config.score)
        evidence = scans.assign(split="validation")
        tried = {name: detectors.of_model(one.model.about, one.model.folder, config) for name, one in group.items()}
        found = trials.planted(study.data, evidence, first.prepared, pairs, tried, config, SEED)
        z |= found.z
    planted = ~np.isnan(z[OLD][:, 1])
    values = {name: np.concatenate([one[:, 0], one[planted, 1]]) for name, one in z.items()}
    changed = np.repeat([False, True], [len(planted), planted.sum()])
    owner = dict(zip(scans.id, scans.subject, strict=True))
    subjects = np.array([owner[scan] for scan in found.scans])
    return _compared(values, changed, _draws(np.concatenate([subjects, subjects[planted]]), changed))


def _draws(subjects: NDArray[np.str_], changed: Flags) -> Iterable[Values]:
    """How often each value counts where its patient is drawn so often; draws without both kinds are left out."""
    everyone, place = np.unique(subjects, return_inverse=True)
    rng = np.random.default_rng(SEED)
    for _ in range(metrics.RESAMPLES):
        times = np.bincount(rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)).astype(float)
        weight = times[place]
        if weight[changed].any() and weight[~changed].any():
            yield weight


def _compared(values: Mapping[str, Values], positive: Flags, draws: Iterable[Values]) -> dict[str, Any]:
    ranks = {name: metrics.ranking(one) for name, one in values.items()}

    def figures(weight: Values) -> dict[str, float]:
        curves = {name: metrics.ranked_roc(*rank, positive, weight) for name, rank in ranks.items()}
        auc = {name: float(np.trapezoid(true, false)) for name, (false, true) in curves.items()}
        return {"difference": auc[NEW] - auc[OLD], **auc}

    found = metrics.intervals(figures(np.ones(len(positive))), map(figures, draws))
    return {OLD: found[OLD]["value"], NEW: found[NEW]["value"], "difference": found["difference"]}
