"""Split of the patients into training, validation and test. All scans of a patient are in one split, for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from siamese_med.errors import LeakageError
from siamese_med.study.config import PairConfig
from siamese_med.study.vocabulary import Split

if TYPE_CHECKING:
    import pandas as pd


def assign_splits(subjects: Iterable[str], known: Mapping[str, str], config: PairConfig) -> dict[str, str]:
    """Assign each patient to `train`, `validation` or `test`.

    Parameters
    ----------
    subjects
        Pseudonyms of all patients.
    known
        Splits of patients in an earlier pair table; these are kept.
    config
        Shares of validation and test, and the seed that draws the order of new patients. Each new patient goes to the
        split that lacks most.

    Examples
    --------
    >>> config = PairConfig(validation_share=0.25, test_share=0.25)
    >>> splits = assign_splits(["sub-1", "sub-2", "sub-3", "sub-4"], {"sub-3": "test"}, config)
    >>> sorted(splits.values()), splits["sub-3"]
    (['test', 'train', 'train', 'validation'], 'test')
    """
    target: dict[str, float] = {
        Split.TRAIN: 1 - config.validation_share - config.test_share,
        Split.VALIDATION: config.validation_share,
        Split.TEST: config.test_share,
    }
    everyone = set(subjects)
    splits = {subject: split for subject, split in known.items() if subject in everyone}
    counts = Counter(splits.values())
    for subject in sorted(everyone - set(splits), key=lambda name: _draw(name, config.seed)):
        total = len(splits) + 1
        split = max(target, key=lambda name: target[name] * total - counts[name])
        splits[subject] = str(split)
        counts[split] += 1
    return splits


def check_patient_leakage(pairs: pd.DataFrame) -> None:
    """Raise LeakageError if a patient of the pair table is in more than one split."""
    sides = [pairs[[column, "split"]].set_axis(["subject", "split"], axis=1) for column in ("subject_a", "subject_b")]
    seen: dict[str, set[str]] = {}
    for side in sides:
        for subject, split in side.itertuples(index=False):
            seen.setdefault(subject, set()).add(split)
    shared = sum(len(splits) > 1 for splits in seen.values())
    if shared:
        raise LeakageError(
            f"{shared} patients are in more than one split: delete the pair table and run `siamese-med pair`"
        )


def _draw(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {subject}".encode()).hexdigest()
