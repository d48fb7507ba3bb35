"""Sampling of training batches: a few patients with a few scans each, or explicit pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True)
class ScanBatch:
    """Scans of one training batch.

    Parameters
    ----------
    scans
        Positions (b,) of the scans in the dataset.
    pairs
        Explicit pairs as positions in the batch: anchors and positives of same-patient pairs, then both members of
        different-patient pairs. None means all pairs of the batch.
    """

    scans: Index
    pairs: tuple[Index, Index, Index, Index] | None = None


def sample_by_patient(
    labels: Sequence[int], patients: int, scans_each: int, steps: int, rng: np.random.Generator
) -> Iterator[ScanBatch]:
    """Sample batches of a few patients with a few scans each.

    Every patient has the same weight, however many scans there are. At least half of the patients in a batch have two
    scans or more; patients with a single scan only serve as negatives of others.

    Parameters
    ----------
    labels
        Patient of each scan.
    patients, scans_each
        Patients in a batch, and the largest number of scans of each.
    steps
        Number of batches.
    rng
        Source of all draws.

    Yields
    ------
    ScanBatch
        One batch without explicit pairs.

    Examples
    --------
    >>> [batch] = sample_by_patient([0, 0, 0, 1, 1, 1], 2, 2, 1, np.random.default_rng(0))
    >>> len(batch.scans), batch.pairs
    (4, None)
    """
    members = _scans_by_patient(labels)
    repeated = [name for name, scans in members.items() if len(scans) > 1]
    for _ in range(steps):
        anchors = list(rng.permutation(repeated)[: -(-patients // 2)])
        others = [name for name in rng.permutation(list(members)) if name not in anchors]
        chosen = anchors + others[: patients - len(anchors)]
        yield ScanBatch(np.concatenate([rng.permutation(members[name])[:scans_each] for name in chosen]))


def sample_by_pairs(
    same: Sequence[tuple[int, int]],
    different: Sequence[tuple[int, int]],
    size: int,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[ScanBatch]:
    """Sample batches of explicit pairs, half of them of one patient and half of two.

    Parameters
    ----------
    same, different
        Pairs of one patient and of two patients, as positions in the dataset.
    size
        Largest number of scans in a batch, at least 4. Each scan is embedded once, however many pairs it is in.
    steps
        Number of batches.
    rng
        Source of all draws.

    Yields
    ------
    ScanBatch
        One batch with its pairs.
    """
    half = max(1, size // 4)
    for _ in range(steps):
        positives = np.asarray(same)[rng.integers(len(same), size=half)]
        negatives = np.asarray(different)[rng.integers(len(different), size=half)]
        scans, places = np.unique(np.concatenate([positives, negatives]), return_inverse=True)
        places = places.reshape(-1, 2)
        yield ScanBatch(scans, (places[:half, 0], places[:half, 1], places[half:, 0], places[half:, 1]))


def _scans_by_patient(labels: Sequence[int]) -> dict[int, Index]:
    array = np.asarray(labels)
    return {int(label): np.flatnonzero(array == label) for label in np.unique(array)}
