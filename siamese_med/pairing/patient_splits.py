"""Split of the patients into training, validation and test. All scans of a patient are in one split, for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import InputError, LeakageError
from siamese_med.runtime import files
from siamese_med.runtime.untrusted_input import read_untrusted_json, read_untrusted_table
from siamese_med.study.config import PairConfig
from siamese_med.study.vocabulary import SPLITS, Split

SPLITS_FILE = "splits.json"
"""File beside the pair table: the split of every patient there ever was. A patient may be in no pair for a while."""

if TYPE_CHECKING:
    import pandas as pd


def assign_splits(subjects: Iterable[str], known: Mapping[str, str], config: PairConfig) -> dict[str, str]:
    """Assign each patient to `train`, `validation` or `test`.

    Parameters
    ----------
    subjects
        Pseudonyms of all patients.
    known
        Splits that patients have already; these are kept.
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


def read_known_splits(pairs: Path) -> dict[str, str]:
    """Read the split of each patient of a study.

    Parameters
    ----------
    pairs
        The pair table. Its splits count where an earlier version has left no SPLITS_FILE beside it.

    Raises
    ------
    InputError
        One of the two files cannot be read.
    """
    known: dict[str, str] = {}
    if pairs.is_file():
        earlier = read_untrusted_table(pairs, ("subject_a", "subject_b", "split"))
        for side in (earlier.subject_b, earlier.subject_a):
            known.update(zip(side, earlier.split, strict=True))
    kept = pairs.with_name(SPLITS_FILE)
    if not kept.is_file():
        return known
    try:
        found = read_untrusted_json(kept)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(split in SPLITS for split in found.values()):
        raise InputError(
            f"{SPLITS_FILE} in the data folder cannot be read: remove it, the pair table has most splits too"
        )
    return {**known, **found}


def write_splits(pairs: Path, splits: Mapping[str, str]) -> None:
    """Write the split of each patient beside the pair table."""
    files.write_json_file(pairs.with_name(SPLITS_FILE), dict(splits))


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
            f"{shared} patients are in more than one split: delete the pair table and {SPLITS_FILE} beside it, and run "
            "`siamese-med pair`"
        )


def _draw(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {subject}".encode()).hexdigest()
