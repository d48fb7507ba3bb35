"""Record of a model's origin: the data, how the training went, and the versions of the software."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.study.model_metrics import SplitCounts, TrainingSummary
from siamese_med.study.vocabulary import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.config import TrainConfig
    from siamese_med.training.identity_training import TrainingProgress

RECORDED_PACKAGES = ("siamese-med", "torch", "monai", "numpy", "pydicom", "nibabel")
"""Packages whose versions may change a model."""


def count_by_split(counts: pd.Series[int]) -> SplitCounts:
    """Return counts that are indexed by the name of a split; a missing split counts zero.

    Examples
    --------
    >>> import pandas as pd
    >>> count_by_split(pd.Series({"train": 8, "test": 3})).validation
    0
    """
    return SplitCounts(**{split: int(counts.get(split, 0)) for split in SPLITS})


def summarise_training(progress: TrainingProgress, config: TrainConfig) -> TrainingSummary:
    """Return how the identity training went, and from how many marked pairs the change head learned, if any.

    Parameters
    ----------
    progress
        The log of a finished training.
    config
        What it was asked to do.

    Returns
    -------
    TrainingSummary
        `seconds` and `pairs_per_second` are rounded to one decimal.
    """
    seconds = sum(epoch.seconds for epoch in progress.log)
    return TrainingSummary(
        epochs=len(progress.log),
        best_epoch=progress.best.epoch + 1,
        seconds=round(seconds, 1),
        pairs_per_second=round(sum(epoch.pairs for epoch in progress.log) / max(seconds, 1e-9), 1),
        stopped_early=len(progress.log) < config.epochs,
        **({"marked_pairs": progress.marked_pairs} if progress.marked_pairs else {}),
    )


def list_package_versions() -> dict[str, str]:
    """Return the installed version of each of RECORDED_PACKAGES, by name and in their order."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
