"""Which patient is for training, validation or test. Patients are split, never scans, and nobody ever changes sides."""

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
    """Subject to split: the known stay, new ones go where most are missing, in an order drawn by the seed."""
    target: dict[str, float] = {
        Split.TRAIN: 1 - config.validation - config.test,
        Split.VALIDATION: config.validation,
        Split.TEST: config.test,
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
    """Raise LeakageError when a patient takes part in two splits."""
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
